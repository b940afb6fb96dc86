//! Reaching the server, and starting it when none runs.

use crate::{
    config::Workspace,
    error::{Code, Error},
    model::text,
    server::start_time_of,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    // Reaps the server when it ends before this process does.
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_millis(5);

/// Connects to a socket of the workspace's server; starts the server when none answers.
///
/// Two that start at once do no harm: one server gets the workspace's lock, the other ends, and both callers reach the first.
pub async fn connect(workspace: &Workspace, socket: PathBuf) -> Result<UnixStream, Error> {
    let (until, mut started) = (Instant::now() + PATIENCE, None);
    loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) if is_answered(&stream) => return Ok(stream),
            // It is ending and holds its socket still; the next connection is to the next server.
            Ok(_) => {}
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock) => {}
            Err(err) => return Err(unavailable(format!("cannot connect to `{}`: {err}", socket.display()))),
        }
        match &mut started {
            None => started = Some(Started::server(workspace)?),
            // A server that was ending kept the workspace from it.
            Some(server) => {
                if server.is_superfluous()? {
                    started = None;
                }
            }
        }
        if Instant::now() > until {
            return Err(unavailable(format!("the server does not answer on `{}`", socket.display())));
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Tells whether a process stands behind the socket. A killed one's accepts until its last thread has ended, and nobody ever answers.
fn is_answered(stream: &UnixStream) -> bool {
    let listener = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    // Who listens in another namespace of processes has no number here.
    listener.is_none_or(|pid| pid == 0 || start_time_of(pid).is_some())
}

/// A server that was told to start.
struct Started {
    child: Child,
    said: PathBuf,
}

impl Started {
    fn server(workspace: &Workspace) -> Result<Self, Error> {
        let fault = |err: io::Error| unavailable(format!("cannot start the server: {err}"));
        workspace.prepare().map_err(|err| unavailable(format!("cannot start the server: {err:#}")))?;
        let said = workspace.logs_dir().join(format!("start-{}.log", std::process::id()));
        let child = Command::new(std::env::current_exe().map_err(fault)?)
            .args(["serve", "--detached", "--workspace"])
            .arg(&workspace.root)
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).map_err(fault)?)
            .spawn()
            .map_err(fault)?;
        Ok(Started { child, said })
    }

    /// Tells whether it has ended because one runs already; fails with what it said when it has ended for another reason.
    fn is_superfluous(&mut self) -> Result<bool, Error> {
        match self.child.try_wait() {
            Ok(Some(status)) if status.code() == Some(Code::ServerRunning.exit().into()) => Ok(true),
            Ok(Some(status)) => Err(error_in(&self.said, &status.to_string())),
            _ => Ok(false),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The open file stays with the server; its name is needed no more.
        let _ = fs::remove_file(&self.said);
    }
}

/// Reads the error a server wrote before it ended.
fn error_in(said: &Path, status: &str) -> Error {
    let said = fs::read_to_string(said).unwrap_or_default();
    let line = |prefix: &str| said.lines().rev().find_map(|line| line.strip_prefix(prefix));
    match line("error: ").and_then(|error| error.split_once(": ")) {
        Some((code, message)) => {
            let error = Error::new(super::code_of(code), message);
            let hint = line("hint: ").unwrap_or_default().to_owned();
            if hint.is_empty() { error } else { error.hint(hint) }
        }
        None => unavailable(format!("the server ended at its start ({status}): {}", text::visible_line(said.trim(), 400))),
    }
}

fn unavailable(message: String) -> Error {
    Error::new(Code::ServerUnavailable, message)
}
