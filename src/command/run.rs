//! Runs one command to its end.

use super::leftovers;
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
    /// What becomes of processes it leaves behind.
    pub leftovers: Leftovers<'a>,
    /// How many bytes of standard output are kept from its beginning, beside the last of all output; one more tells that there was more.
    pub keeps_stdout: usize,
    /// When it is killed.
    pub deadline: Instant,
    /// Kills it when cancelled.
    pub cancel: &'a CancellationToken,
}

/// What becomes of processes that outlive a command which ended by itself; one that is cut is always ended with its group.
#[derive(Debug, Clone, Copy)]
pub enum Leftovers<'a> {
    /// They are ended: those of its group, and all that carry this value of the marker, which stands in its environment.
    End(&'a Path),
    /// They are what it was run for.
    Keep,
}

/// How it ended.
pub struct Ended {
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it was ended from here.
    pub cut: Option<Cut>,
    /// Standard output from its beginning, as far as it is kept.
    pub stdout: Vec<u8>,
    /// The last of standard output and standard error.
    pub output: String,
    /// How many bytes before that are left out; then its first line says so.
    pub left_out: u64,
    /// Processes that had left its group, and were ended with it.
    pub left_running: usize,
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
    let marked = match job.leftovers {
        Leftovers::End(folder) => Some(folder.to_owned()),
        Leftovers::Keep => None,
    };
    let mut group = Group { child, marked, is_ended: false };
    on_started(pid, leftovers::start_time(pid).unwrap_or(0));

    let kept = Arc::new(Mutex::new(Kept::default()));
    let stdout = ChildStdout::from_std(stdout.expect("standard output is a pipe"))?;
    let stderr = ChildStderr::from_std(stderr.expect("standard error is a pipe"))?;
    let pumps = [tokio::spawn(pump(stdout, kept.clone(), job.keeps_stdout)), tokio::spawn(pump(stderr, kept.clone(), 0))];

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
    let (status, left_running) =
        tokio::task::spawn_blocking(move || if cut.is_none() && group.marked.is_none() { group.let_go() } else { group.end() })
            .await
            .map_err(io::Error::other)?;
    let status = status?;
    for mut pump in pumps {
        if tokio::time::timeout(LAST_OUTPUT, &mut pump).await.is_err() {
            pump.abort();
        }
    }
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let (stdout, output, left_out) = (std::mem::take(&mut kept.stdout), kept.tail(), kept.left_out);
    Ok(Ended { exit_code: status.code(), signal: status.signal(), cut, stdout, output, left_out, left_running })
}

fn prepared(job: &Job<'_>) -> Command {
    let (program, arguments) = job.command.split_first().expect("the argv is not empty");
    // `./check` is the folder's, wherever the server was started.
    let program = if program.contains('/') { job.folder.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(job.folder).env_clear().envs(job.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

/// A process group that ends with this value.
struct Group {
    child: Child,
    marked: Option<PathBuf>,
    is_ended: bool,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a child's id is not zero")
    }

    /// Ends the group and whatever has left it, which it counts, then reaps the leader.
    fn end(&mut self) -> (io::Result<ExitStatus>, usize) {
        self.is_ended = true;
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let status = self.child.wait();
        (status, self.marked.as_deref().map_or(0, leftovers::kill_marked))
    }

    /// Reaps the leader, which has ended, and leaves the others alone.
    fn let_go(&mut self) -> (io::Result<ExitStatus>, usize) {
        self.is_ended = true;
        (self.child.wait(), 0)
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
    fn push(&mut self, bytes: &[u8], keeps: usize) {
        let room = keeps.saturating_sub(self.stdout.len());
        self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
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

async fn pump(mut reader: impl AsyncRead + Unpin, kept: Arc<Mutex<Kept>>, keeps: usize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count], keeps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_output_and_the_first_of_a_report_are_kept() {
        let mut kept = Kept::default();
        for _ in 0..40 {
            kept.push(&vec![b'a'; 1024 * 1024], 1000);
        }
        kept.push(b"end", 0);
        assert_eq!(kept.stdout.len(), 1000);
        let tail = kept.tail();
        assert!(tail.ends_with("aend") && tail.starts_with("… 31457283 bytes"), "{}", &tail[..40]);
        assert!(tail.len() < MAX_OUTPUT_BYTES + 100);
    }
}
