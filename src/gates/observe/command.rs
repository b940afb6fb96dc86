//! One command in its own process group: its output kept, and all of it ended when it ends, is cancelled or takes too long.

use super::leftovers;
use crate::gates::formats::MAX_REPORT_BYTES;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{ChildStderr, ChildStdout},
};
use tokio_util::sync::CancellationToken;

const MAX_OUTPUT_BYTES: usize = 10 * 1024 * 1024;
/// Between asking a group to end and ending it.
const GRACE: Duration = Duration::from_secs(5);
/// For the last output to arrive once everything is ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// What is run, where, and until when.
pub struct Job<'a> {
    /// The argv, not empty.
    pub command: &'a [String],
    /// The working directory.
    pub folder: &'a Path,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The value of the marker in that environment.
    pub run_folder: &'a Path,
    /// Whether standard output is the report, and kept from its beginning.
    pub keeps_stdout: bool,
    /// When it is killed.
    pub deadline: Instant,
    /// Kills it when cancelled.
    pub cancel: &'a CancellationToken,
}

/// How it ended.
pub struct Ended {
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it was ended from here.
    pub cut: Option<Cut>,
    /// Standard output from its beginning; one byte more than a report may have when it is larger.
    pub stdout: Vec<u8>,
    /// The last of standard output and standard error.
    pub output: String,
}

/// Why a command was ended from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It took too long.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
}

/// Runs the command to its end.
pub async fn run(job: Job<'_>, on_started: impl FnOnce(u32, u64) + Send) -> io::Result<Ended> {
    let mut child = prepared(&job).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child.id();
    let mut group = Group { child, run_folder: job.run_folder.to_owned(), is_ended: false };
    on_started(pid, leftovers::start_time(pid).unwrap_or(0));

    let kept = Arc::new(Mutex::new(Kept::default()));
    let stdout = ChildStdout::from_std(stdout.expect("standard output is a pipe"))?;
    let stderr = ChildStderr::from_std(stderr.expect("standard error is a pipe"))?;
    let pumps = [tokio::spawn(pump(stdout, kept.clone(), job.keeps_stdout)), tokio::spawn(pump(stderr, kept.clone(), false))];

    // The leader is not reaped yet: as long as it is not, its group's number cannot be another's.
    let leader = group.pid();
    let mut exited = tokio::task::spawn_blocking(move || {
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))
    });
    let cut = tokio::select! {
        biased;
        _ = &mut exited => None,
        () = job.cancel.cancelled() => Some(Cut::Cancelled),
        () = tokio::time::sleep_until(job.deadline.into()) => Some(Cut::Timeout),
    };
    if cut.is_some() {
        let _ = kill_process_group(group.pid(), Signal::TERM);
        let _ = tokio::time::timeout(GRACE, &mut exited).await;
    }
    let status = tokio::task::spawn_blocking(move || group.end()).await.map_err(io::Error::other)??;
    for mut pump in pumps {
        if tokio::time::timeout(LAST_OUTPUT, &mut pump).await.is_err() {
            pump.abort();
        }
    }
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let (stdout, output) = (std::mem::take(&mut kept.stdout), kept.tail());
    Ok(Ended { exit_code: status.code(), signal: status.signal(), cut, stdout, output })
}

fn prepared(job: &Job<'_>) -> Command {
    let (program, arguments) = job.command.split_first().expect("the argv is not empty");
    // `./check` is the checkout's, wherever the server was started.
    let program = if program.contains('/') { job.folder.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(job.folder).env_clear().envs(job.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// A process group that ends with this value.
struct Group {
    child: Child,
    run_folder: PathBuf,
    is_ended: bool,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a child's id is not zero")
    }

    /// Ends the group and whatever has left it, then reaps the leader.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.is_ended = true;
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let status = self.child.wait();
        leftovers::kill_marked(&self.run_folder);
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_ended {
            let _ = self.end();
        }
    }
}

#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    last: VecDeque<u8>,
    left_out: u64,
}

impl Kept {
    fn push(&mut self, bytes: &[u8], is_report: bool) {
        if is_report {
            let room = (MAX_REPORT_BYTES as usize + 1).saturating_sub(self.stdout.len());
            self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.last.extend(bytes);
        let excess = self.last.len().saturating_sub(MAX_OUTPUT_BYTES);
        self.last.drain(..excess);
        self.left_out += excess as u64;
    }

    fn tail(&mut self) -> String {
        let text = String::from_utf8_lossy(self.last.make_contiguous());
        match self.left_out {
            0 => text.into_owned(),
            count => format!("… {count} bytes before this are left out\n{text}"),
        }
    }
}

async fn pump(mut reader: impl AsyncRead + Unpin, kept: Arc<Mutex<Kept>>, is_report: bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count], is_report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_output_and_the_first_of_a_report_are_kept() {
        let mut kept = Kept::default();
        for _ in 0..40 {
            kept.push(&vec![b'a'; 1024 * 1024], true);
        }
        kept.push(b"end", false);
        assert_eq!(kept.stdout.len() as u64, MAX_REPORT_BYTES + 1);
        let tail = kept.tail();
        assert!(tail.ends_with("aend") && tail.starts_with("… 31457283 bytes"), "{}", &tail[..40]);
        assert!(tail.len() < MAX_OUTPUT_BYTES + 100);
    }
}
