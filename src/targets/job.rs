//! Runs one command of the configuration for a target: argv and no shell, its secrets resolved last and taken out of what it says.

use super::TargetError;
use crate::{
    command::{self, Cut, Ended, Leftovers},
    model::{service::SecretRef, text::visible},
    shim::{
        redact::Redactor,
        secrets::{self, Secret},
    },
};
use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How much of standard output is kept as the answer.
const ANSWER_BYTES: usize = 1 << 20;
/// How much of all output goes into the record.
const RECORDED_CHARS: usize = 4_000;

/// One command.
#[derive(Debug, Clone)]
pub struct Job {
    /// The argv, every place filled in.
    pub argv: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// The folder whose name marks the commands of this workspace.
    pub marks: PathBuf,
    /// Whether what it leaves running is what it was run for; otherwise that is found by its mark, and ended.
    pub deploys: bool,
    /// The service's variables, secret references among them.
    pub env: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// The argv.
    pub argv: Vec<String>,
    /// The exit code; none when it was ended by a signal.
    pub exit_code: Option<i32>,
    /// How long it took, milliseconds.
    pub millis: u64,
    /// What it wrote to standard output, from the beginning, secrets taken out.
    #[serde(skip)]
    pub answer: String,
    /// The last of all its output, secrets taken out.
    pub output: String,
    /// Processes that had left its group and were ended with it.
    pub left_running: usize,
}

/// What a job has written on both outputs.
#[derive(Debug, PartialEq)]
pub struct Written {
    /// Its lines, secrets taken out; of more than 10 MiB the last.
    pub text: String,
    /// Whether there was more before.
    pub is_cut: bool,
}

/// Runs a job to its end for all that it writes; fails as [`run`] does.
pub async fn written(job: Job) -> Result<Written, TargetError> {
    let (_, ended, redactor) = finished(job, |_, _| {}).await?;
    let is_cut = ended.left_out > 0;
    let text = shown(&redactor, ended.output.into_bytes(), usize::MAX);
    // The first line says what is left out, and is not the command's.
    let text = if is_cut { text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()) } else { text };
    Ok(Written { text, is_cut })
}

/// Runs a job to its end. `on_started` is told its process group and start time, for [`command::kill_leftover`] after a crash; another exit code than 0, a signal or too long a time is an error that says what it wrote.
pub async fn run(job: Job, on_started: impl FnOnce(u32, u64) + Send) -> Result<JobReport, TargetError> {
    let (mut report, ended, redactor) = finished(job, on_started).await?;
    report.answer = shown(&redactor, ended.stdout, usize::MAX);
    Ok(report)
}

async fn finished(job: Job, on_started: impl FnOnce(u32, u64) + Send) -> Result<(JobReport, Ended, Redactor), TargetError> {
    let (environment, redactor) = resolved(&job.env).await?;
    // What a deploying command leaves running is the service: no sweep after a crash may find it by this mark.
    let marks = if job.deploys { job.marks.with_file_name("deploys") } else { job.marks.clone() };
    let mark = marks.join(format!("{:032x}", rand::random::<u128>()));
    let begun = Instant::now();
    let cancel = CancellationToken::new();
    // A caller that is gone, as an aborted deployment's step is, takes the command along.
    let _ends_with_the_caller = cancel.clone().drop_guard();
    let started = command::run(
        command::Job {
            command: &job.argv,
            folder: &job.folder,
            environment: environment.into_iter().chain([command::marked(&mark)]).collect(),
            leftovers: if job.deploys { Leftovers::Keep } else { Leftovers::End(&mark) },
            keeps_stdout: ANSWER_BYTES,
            deadline: begun + job.timeout,
            cancel: &cancel,
        },
        on_started,
    );
    let program = visible(job.argv.first().map_or("", String::as_str), 200);
    let ended = started.await.with_context(|| format!("starting `{program}`"))?;
    let report = JobReport {
        argv: job.argv,
        exit_code: ended.exit_code,
        millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        answer: String::new(),
        output: shown(&redactor, ended.output.clone().into_bytes(), RECORDED_CHARS),
        left_running: ended.left_running,
    };
    let fault = match (ended.cut, ended.exit_code, ended.signal) {
        (Some(Cut::Timeout), ..) => format!("did not end within {} s and was killed", job.timeout.as_secs_f32()),
        (Some(Cut::Cancelled), ..) => "was cancelled and killed".to_owned(),
        (None, Some(0), _) => return Ok((report, ended, redactor)),
        (None, Some(code), _) => format!("ended with exit code {code}"),
        (None, None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    };
    Err(TargetError::Failed(anyhow!("`{program}` {fault}: {}", report.output)))
}

/// Returns the whole environment of a command with these variables, and what takes their secrets out of what it says.
pub(super) async fn resolved(env: &BTreeMap<String, String>) -> Result<(Vec<(OsString, OsString)>, Redactor), TargetError> {
    let (values, redactor) = revealed(env.values().cloned().collect()).await?;
    let own = env.keys().zip(values).map(|(name, value)| (name.into(), value.into()));
    Ok((command::allowed_environment().into_iter().chain(own).collect(), redactor))
}

/// Returns the values with each secret reference among them resolved, and what takes the secrets out of a text.
pub(super) async fn revealed(values: Vec<String>) -> Result<(Vec<String>, Redactor), TargetError> {
    let resolving = tokio::task::spawn_blocking(move || {
        let mut found = Vec::<Secret>::new();
        let reveal = |value: String| match SecretRef::parse(&value) {
            Some(reference) => {
                let secret = secrets::resolve(&reference).map_err(|error| TargetError::Secret(format!("{error:#}")))?;
                let value = secret.expose().to_owned();
                found.push(secret);
                Ok(value)
            }
            None => Ok(value),
        };
        let values = values.into_iter().map(reveal).collect::<Result<Vec<_>, TargetError>>()?;
        Ok((values, Redactor::new(found.iter())))
    });
    resolving.await.map_err(anyhow::Error::from)?
}

/// Returns the last of an output as it may be recorded.
fn shown(redactor: &Redactor, mut output: Vec<u8>, most: usize) -> String {
    redactor.redact(&mut output);
    let text = String::from_utf8_lossy(&output);
    let from = text.char_indices().rev().nth(most.saturating_sub(1)).map_or(0, |(at, _)| at);
    text[from..].trim_end().to_owned()
}
