//! A figure from a command: its standard output is a number, or a JSON document with one in it.

use super::{HEAD, MAX_BYTES, MetricsSource, NoData, Pointer, SourceError, figure};
use crate::model::{service::fill, text::visible_line};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{ChildStderr, ChildStdout},
    task::spawn_blocking,
};

/// For the last output to arrive once the group is ended; a process that left the group may hold the pipe for ever.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// Runs an argv without a shell, in its own process group, which ends with it.
#[derive(Debug, Clone)]
pub struct CommandSource {
    argv: Vec<String>,
    folder: PathBuf,
    environment: Vec<(OsString, OsString)>,
    pointer: Option<Pointer>,
    timeout: Duration,
}

impl CommandSource {
    /// Returns a source that runs this in `folder`, with exactly this environment. Without a pointer the output is the number.
    pub fn new(
        argv: &[String],
        folder: PathBuf,
        environment: Vec<(OsString, OsString)>,
        pointer: Option<Pointer>,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(CommandSource { argv: argv.to_vec(), folder, environment, pointer, timeout }),
            _ => Err(SourceError::EmptyCommand),
        }
    }

    fn spawn(&self, places: &[(&str, &str)]) -> io::Result<Group> {
        let argv: Vec<String> = self.argv.iter().map(|word| fill(word, places)).collect();
        let (program, arguments) = argv.split_first().expect("the argv is not empty");
        // `./measure` is the folder's, wherever the server was started.
        let program = if program.contains('/') { self.folder.join(program) } else { PathBuf::from(program) };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Ok(Group { child: command.spawn()?, is_ended: false })
    }
}

#[async_trait]
impl MetricsSource for CommandSource {
    async fn read(&self, places: &[(&str, &str)]) -> Result<f64, NoData> {
        let cannot = |err: io::Error| NoData::CannotRun { message: format!("cannot run `{}`: {err}", visible_line(&self.argv[0], 80)) };
        let mut group = self.spawn(places).map_err(cannot)?;
        let stdout = ChildStdout::from_std(group.child.stdout.take().expect("standard output is a pipe")).map_err(cannot)?;
        let stderr = ChildStderr::from_std(group.child.stderr.take().expect("standard error is a pipe")).map_err(cannot)?;
        let (mut stdout, mut stderr) = (tokio::spawn(read_to(stdout, MAX_BYTES)), tokio::spawn(read_to(stderr, MAX_BYTES)));

        // The leader is not reaped here: as long as it is not, its group's number cannot be another's.
        let leader = group.pid();
        let exited = spawn_blocking(move || {
            rustix::io::retry_on_intr(|| waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))
        });
        let ended = tokio::time::timeout(self.timeout, exited).await;
        let status = spawn_blocking(move || group.end()).await.map_err(io::Error::other).and_then(|ended| ended).map_err(cannot)?;
        let output = tokio::time::timeout(LAST_OUTPUT, &mut stdout).await;
        let errors = tokio::time::timeout(LAST_OUTPUT, &mut stderr).await;
        stdout.abort();
        stderr.abort();
        // Whether it then ended by the closed pipe or by its time: too much is what is said.
        let output = output.ok().and_then(Result::ok);
        if output.as_ref().is_some_and(|output| output.len() > MAX_BYTES) {
            return Err(NoData::TooLarge { limit: MAX_BYTES as u64 });
        }
        let (Ok(_), Some(output)) = (ended, output) else {
            return Err(NoData::TimedOut { after_ms: self.timeout.as_millis() as u64 });
        };
        if !status.success() {
            let how =
                status.signal().map_or_else(|| format!("exit {}", status.code().unwrap_or_default()), |signal| format!("signal {signal}"));
            return Err(NoData::Failed { how, stderr: last(&errors.ok().and_then(Result::ok).unwrap_or_default()) });
        }
        match &self.pointer {
            Some(pointer) => pointer.figure(&output),
            None => figure(&String::from_utf8_lossy(&output)),
        }
    }
}

/// A process group that ends with this value.
struct Group {
    child: Child,
    is_ended: bool,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a child's id is not zero")
    }

    /// Ends the group, then reaps the leader. A leader that has exited already keeps its status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.is_ended = true;
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_ended {
            let _ = self.end();
        }
    }
}

/// Returns what comes, and at most one byte more than `limit`; the pipe is closed then, which ends most writers.
async fn read_to(reader: impl AsyncRead + Unpin, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = reader.take(limit as u64 + 1).read_to_end(&mut bytes).await;
    bytes
}

/// Returns the end of an output, on one line.
fn last(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4 * HEAD)..]).into_owned();
    let skipped = text.chars().count().saturating_sub(HEAD);
    visible_line(text.chars().skip(skipped).collect::<String>().trim(), HEAD)
}
