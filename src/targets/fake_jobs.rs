//! Commands of the configuration in a world in memory: each goes as a test says.

use super::{Job, JobReport, TargetError};
use anyhow::anyhow;

/// How a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobAnswer {
    /// It ends well, and says this.
    Says(String),
    /// It ends with exit code 1, and says this.
    Fails(String),
    /// It takes all the time it has, and is killed.
    Hangs,
    /// It ends well, and so many processes had left its group.
    Leaves(usize),
    /// It really runs, on this machine.
    Runs,
}

/// Says how a command goes, by its argv.
pub type Jobs = dyn Fn(&[String]) -> JobAnswer + Send + Sync;

/// Returns how a command went; without a word about it, it ends well and says nothing.
pub async fn answered(job: Job, jobs: Option<&Jobs>) -> Result<JobReport, TargetError> {
    let program = job.argv[0].clone();
    let (answer, left_running) = match jobs.map_or(JobAnswer::Says(String::new()), |jobs| jobs(&job.argv)) {
        JobAnswer::Says(answer) => (answer, 0),
        JobAnswer::Leaves(count) => (String::new(), count),
        JobAnswer::Runs => return super::job::run(job, |_, _| {}).await,
        JobAnswer::Fails(said) => return Err(anyhow!("`{program}` ended with exit code 1: {said}").into()),
        JobAnswer::Hangs => {
            tokio::time::sleep(job.timeout).await;
            return Err(anyhow!("`{program}` did not end within {} s and was killed", job.timeout.as_secs_f32()).into());
        }
    };
    Ok(JobReport { argv: job.argv, exit_code: Some(0), millis: 1, output: answer.clone(), answer, left_running })
}
