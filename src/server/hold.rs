//! The hold on a workspace: a lock that one server has, and a socket on which it shows that it is alive.
//!
//! Whoever has the lock is the server, and nobody else does anything. A second server that waits ([`wait`]) takes over as soon as the
//! lock is free, and ends a server that no longer answers. It ends it instead of only outrunning it: woken in the middle of a step, a
//! server that knows nothing of its heir could still start a command or an instance, or write a file, and none of these asks for an epoch.

use super::cannot;
use crate::{
    config::Workspace,
    error::{Code, Error},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// A killed server's threads, and a child it was just starting, have the lock for a moment longer than it is seen to live.
const PATIENCE: Duration = Duration::from_millis(700);
/// For how long a lock that another has is tried between two questions.
const LOOK: Duration = Duration::from_millis(100);
/// How often the server is asked whether it is alive, and how long it may take to say so.
const PULSE: Duration = Duration::from_secs(1);
/// How often in a row it may be silent. Counted, and not measured: a machine that stood still all along has asked nothing.
const SILENT: u32 = 10;

/// The hold on a workspace; dropped, another server may start there.
pub struct Hold {
    pulse: JoinHandle<()>,
    socket: PathBuf,
    // Last: the socket is gone before another server may have its own.
    _lock: File,
}

impl Hold {
    /// Takes the workspace; `server_running` when another server has it.
    pub(super) async fn take(workspace: &Workspace) -> Result<Self, Error> {
        let lock = lock_file(&workspace.lock_file())?;
        match is_locked(&lock, &workspace.lock_file(), PATIENCE).await? {
            true => Self::with(lock, workspace.pulse_socket()),
            false => Err(is_held(workspace, ask(&workspace.pulse_socket()).await)),
        }
    }

    fn with(lock: File, socket: PathBuf) -> Result<Self, Error> {
        let listener = super::socket(&socket)?;
        Ok(Hold { pulse: tokio::spawn(beat(listener)), socket, _lock: lock })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pulse.abort();
        let _ = fs::remove_file(&self.socket);
    }
}

/// Answers whoever asks, from among the server's own tasks: when these stand still, so does the answer.
async fn beat(listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => _ = stream.write_all(b"1").await,
            // Out of file descriptors, most likely.
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// What the server of a workspace says when it is asked whether it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    /// It is: this process.
    Beats(Option<i32>),
    /// Nothing, although this process listens.
    Silent(Option<i32>),
    /// It cannot be asked: it is just starting or ending, or it is from before there was a pulse.
    Unknown,
}

async fn ask(socket: &Path) -> Pulse {
    let Ok(mut stream) = UnixStream::connect(socket).await else { return Pulse::Unknown };
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
    match timeout(PULSE, stream.read_u8()).await {
        Ok(Ok(_)) => Pulse::Beats(process),
        Ok(Err(_)) => Pulse::Unknown,
        Err(_) => Pulse::Silent(process),
    }
}

fn is_held(workspace: &Workspace, pulse: Pulse) -> Error {
    let root = workspace.root.display();
    let named = |process: Option<i32>| process.map_or(String::new(), |pid| format!(", process {pid}"));
    match pulse {
        Pulse::Silent(process) => Error::new(Code::ServerRunning, format!("a server has `{root}` and does not answer{}", named(process)))
            .hint("`interlock serve --standby` takes over from it"),
        Pulse::Beats(process) => Error::new(Code::ServerRunning, format!("a server runs in `{root}`{}", named(process))),
        Pulse::Unknown => Error::new(Code::ServerRunning, format!("a server runs in `{root}`")),
    }
}

/// How a server that waited has come to the workspace.
pub(super) struct Taken {
    /// The hold.
    pub hold: Hold,
    /// The silent server that was ended for it.
    pub ended: Option<i32>,
}

/// Waits until the workspace is free, and takes it. A server that has been silent for 10 s is ended.
pub(super) async fn wait(workspace: &Workspace) -> Result<Taken, Error> {
    let (path, socket) = (workspace.lock_file(), workspace.pulse_socket());
    let lock = lock_file(&path)?;
    let (mut asked, mut silent, mut ended) = (None::<Instant>, (None, 0), None);
    while !is_locked(&lock, &path, LOOK).await? {
        if asked.is_some_and(|asked| asked.elapsed() < PULSE) {
            continue;
        }
        let is_first = asked.replace(Instant::now()).is_none();
        let pulse = ask(&socket).await;
        let held = is_held(workspace, pulse).message;
        if is_first {
            eprintln!("standby: {held}; waiting for its end");
        }
        silent = match pulse {
            Pulse::Silent(process) if process == silent.0 => (process, silent.1 + 1),
            Pulse::Silent(process) => (process, 1),
            Pulse::Beats(_) | Pulse::Unknown => (None, 0),
        };
        if silent.1 > 0 && silent.1 % SILENT == 0 {
            match end(silent.0, &socket).await {
                Ok(()) => ended = silent.0,
                Err(why) => eprintln!("standby: {held}, and it cannot be ended from here: {why}"),
            }
        }
    }
    Ok(Taken { hold: Hold::with(lock, socket)?, ended })
}

/// Kills the process that listens and does not answer. A process that is stopped, or stuck in the kernel, never runs again after this.
async fn end(process: Option<i32>, socket: &Path) -> Result<(), String> {
    let pid = process.and_then(Pid::from_raw).ok_or("its process is not seen from here")?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).map_err(|err| err.to_string())?;
    // Asked once more with the process in hand: the number may have become another's.
    match ask(socket).await {
        Pulse::Silent(still) if still == process => pidfd_send_signal(descriptor, Signal::KILL).map_err(|err| err.to_string()),
        _ => Err("it has just changed".into()),
    }
}

fn lock_file(path: &Path) -> Result<File, Error> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(|err| cannot("open", path, &err))
}

async fn is_locked(file: &File, path: &Path, patience: Duration) -> Result<bool, Error> {
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(Duration::from_millis(10)).await,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(err)) => return Err(cannot("lock", path, &err)),
        }
    }
}

/// Takes a SQLite database for this server alone, by a lock beside it; `server_running` when a server of another workspace has it.
pub(super) async fn database(file: &Path) -> Result<File, Error> {
    // One file may have many names.
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let path = real.with_extension("server.lock");
    let lock = lock_file(&path)?;
    match is_locked(&lock, &path, PATIENCE).await? {
        true => Ok(lock),
        false => Err(Error::new(Code::ServerRunning, format!("the server of another workspace has the database `{}`", file.display()))
            .hint("stop that server, or give each workspace a database of its own")),
    }
}
