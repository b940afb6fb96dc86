//! A holder's workers: the one that serves, one that is about to take over, and those that end what they have in flight.

use super::{
    lineage::own_socket,
    link::{self, Word},
};
use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a worker may take to end; a little more than it grants its requests.
const GRACE: Duration = Duration::from_secs(15);

/// How long a new worker may take until it serves.
const READY: Duration = Duration::from_secs(20);

/// The workers of one holder.
pub struct Crew {
    dir: PathBuf,
    control_path: PathBuf,
    sockets: Option<(TcpListener, UnixListener)>,
    /// The program the last worker that served was asked to run.
    exe: Option<PathBuf>,
    current: Option<Worker>,
    candidate: Option<Candidate>,
    leaving: Vec<Worker>,
    events: mpsc::Receiver<(i32, Event)>,
    noting: mpsc::Sender<(i32, Event)>,
}

struct Worker {
    pid: i32,
    exe: Option<PathBuf>,
    link: OwnedWriteHalf,
    stop: CancellationToken,
}

struct Candidate {
    worker: Worker,
    deadline: Instant,
}

enum Event {
    Said(Word),
    Ended { how: String, is_well: bool },
}

/// What has happened.
pub enum News {
    /// Nothing that the holder must know.
    Nothing,
    /// A worker ended unasked, and another is there.
    Lost {
        /// How.
        how: String,
    },
    /// The worker that served ended unasked, or could not be started, and no other is there.
    Gone {
        /// How.
        how: String,
    },
}

impl Crew {
    /// Returns a crew of nobody.
    pub fn new(dir: PathBuf, control_path: PathBuf, listener: TcpListener, control: UnixListener) -> Self {
        let (noting, events) = mpsc::channel(64);
        Crew {
            dir,
            control_path,
            sockets: Some((listener, control)),
            exe: None,
            current: None,
            candidate: None,
            leaving: Vec::new(),
            events,
            noting,
        }
    }

    /// Starts the worker that serves.
    pub fn start(&mut self, lost: u64) -> News {
        match self.launch(self.exe.clone(), None, lost) {
            Ok(worker) => {
                self.current = Some(worker);
                News::Nothing
            }
            Err(err) => {
                // The program of the last upgrade may be gone; our own is not.
                self.exe = None;
                News::Gone { how: format!("{err:#}") }
            }
        }
    }

    /// Returns until when a worker that is to take over must be ready.
    pub fn candidate_deadline(&self) -> Option<Instant> {
        self.candidate.as_ref().map(|candidate| candidate.deadline)
    }

    /// Ends a worker that did not come to serve, and says so to the one that asked for it.
    pub fn give_up_candidate(&mut self, why: &str) -> News {
        if let Some(candidate) = self.candidate.take() {
            candidate.worker.stop.cancel();
            self.leaving.push(candidate.worker);
            self.refuse(why);
        }
        News::Nothing
    }

    /// Waits for the next thing that happens to a worker.
    pub async fn news(&mut self, lost: u64) -> News {
        let (pid, event) = self.events.recv().await.expect("we keep a sender ourselves");
        match event {
            Event::Said(Word::Start { exe, predecessor }) => {
                if self.is_current(pid) {
                    self.prepare(exe, &predecessor, lost);
                }
                News::Nothing
            }
            Event::Said(Word::Ready) => {
                self.promote(pid);
                News::Nothing
            }
            Event::Said(Word::Failed { .. }) => News::Nothing,
            Event::Ended { how, is_well } => self.ended(pid, how, is_well),
        }
    }

    /// Ends everybody.
    pub async fn end(mut self) -> anyhow::Result<()> {
        // The sockets go first: a successor can have them while the last requests end.
        self.sockets = None;
        let candidate = self.candidate.take().map(|candidate| candidate.worker);
        let workers: Vec<_> = self.current.take().into_iter().chain(candidate).chain(self.leaving.drain(..)).collect();
        workers.iter().for_each(|worker| worker.stop.cancel());
        let mut left = workers.len();
        while left > 0 {
            if let Some((_, Event::Ended { .. })) = self.events.recv().await {
                left -= 1;
            }
        }
        workers.iter().for_each(|worker| _ = fs::remove_file(own_socket(&self.control_path, worker.pid)));
        Ok(())
    }

    fn is_current(&self, pid: i32) -> bool {
        self.current.as_ref().is_some_and(|worker| worker.pid == pid)
    }

    fn prepare(&mut self, exe: Option<PathBuf>, predecessor: &Path, lost: u64) {
        if self.candidate.is_some() {
            return self.refuse("another worker is just starting");
        }
        match self.launch(exe, Some(predecessor), lost) {
            Ok(worker) => self.candidate = Some(Candidate { worker, deadline: Instant::now() + READY }),
            Err(err) => self.refuse(&format!("{err:#}")),
        }
    }

    fn promote(&mut self, pid: i32) {
        if let Some(candidate) = self.candidate.take_if(|candidate| candidate.worker.pid == pid) {
            self.exe = candidate.worker.exe.clone();
            self.leaving.extend(self.current.replace(candidate.worker));
        }
    }

    fn ended(&mut self, pid: i32, how: String, is_well: bool) -> News {
        let _ = fs::remove_file(own_socket(&self.control_path, pid));
        if let Some(index) = self.leaving.iter().position(|worker| worker.pid == pid) {
            let worker = self.leaving.swap_remove(index);
            // One that was told to end, or has ended what it had, is not lost; nor is one that never served.
            return if is_well || worker.stop.is_cancelled() { News::Nothing } else { News::Lost { how } };
        }
        if self.candidate.as_ref().is_some_and(|candidate| candidate.worker.pid == pid) {
            self.candidate = None;
            self.refuse(&format!("it ended at its start ({how})"));
            return News::Nothing;
        }
        if !self.is_current(pid) {
            return News::Nothing;
        }
        self.current = None;
        match self.candidate.take() {
            // It takes over in any case, from what is on the disk if it must.
            Some(candidate) => {
                self.exe = candidate.worker.exe.clone();
                self.current = Some(candidate.worker);
                if is_well { News::Nothing } else { News::Lost { how } }
            }
            None => News::Gone { how },
        }
    }

    /// Says to the worker that serves why no other took over.
    fn refuse(&mut self, why: &str) {
        eprintln!("no other worker took over: {why}");
        if let Some(current) = &self.current {
            // A line is shorter than the socket's buffer, and lost only with its reader.
            let _ = current.link.try_write(&link::line(&Word::Failed { why: why.to_owned() }));
        }
    }

    fn launch(&self, exe: Option<PathBuf>, predecessor: Option<&Path>, lost: u64) -> anyhow::Result<Worker> {
        let (listener, control) = self.sockets.as_ref().context("the sockets are closed")?;
        let (ours, theirs) = StdStream::pair().context("making a worker's link")?;
        ours.set_nonblocking(true)?;
        let sockets = [listener.try_clone()?.into(), control.try_clone()?.into()];
        let mappings = sockets.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
        let mut command = Command::new(exe.clone().map_or_else(program, Ok)?);
        command
            .arg("proxy-worker")
            .arg("--dir")
            .arg(&self.dir)
            .args(["--holder", &std::process::id().to_string(), "--lost", &lost.to_string()])
            .env("LISTEN_FDS", "2")
            // Without it, the allocator gives memory back to the kernel and takes it again at one request in ten. Other systems' ignore it.
            .env("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=8388608:glibc.malloc.top_pad=1048576")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .fd_mappings(mappings)
            .context("passing the sockets")?;
        if let Some(predecessor) = predecessor {
            command.arg("--predecessor").arg(predecessor);
        }
        let child = command.spawn().context("starting a worker")?;
        // Its copies of the sockets and of its link's other end are closed with the command.
        drop(command);
        let pid = child.id().context("a worker that has ended already")? as i32;
        let (read, link) = UnixStream::from_std(ours)?.into_split();
        let stop = CancellationToken::new();
        tokio::spawn(watch(child, pid, BufReader::new(read).lines(), stop.clone(), self.noting.clone()));
        Ok(Worker { pid, exe, link, stop })
    }
}

/// Returns our own program; replaced on the disk by an upgrade, the new one.
fn program() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("finding the program")?;
    if exe.exists() {
        return Ok(exe);
    }
    // So says the system of a file that was replaced.
    let replaced = exe.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from).filter(|path| path.exists());
    Ok(replaced.unwrap_or_else(|| "/proc/self/exe".into()))
}

/// Tells what a worker says and how it ends, and ends it when asked to.
async fn watch(
    mut child: Child,
    pid: i32,
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    stop: CancellationToken,
    noting: mpsc::Sender<(i32, Event)>,
) {
    let mut is_talking = true;
    let status = loop {
        tokio::select! {
            // What it said before it ended comes before its end.
            biased;
            line = lines.next_line(), if is_talking => match line {
                Ok(Some(line)) => {
                    if let Some(word) = link::understand(&line) {
                        let _ = noting.send((pid, Event::Said(word))).await;
                    }
                }
                _ => is_talking = false,
            },
            status = child.wait() => break status,
            () = stop.cancelled() => {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = kill_process(pid, Signal::TERM);
                }
                break match timeout(GRACE, child.wait()).await {
                    Ok(status) => status,
                    Err(_) => {
                        let _ = child.start_kill();
                        child.wait().await
                    }
                };
            }
        }
    };
    let is_well = status.as_ref().is_ok_and(std::process::ExitStatus::success);
    let how = status.map_or_else(|err| err.to_string(), |status| status.to_string());
    let _ = noting.send((pid, Event::Ended { how, is_well })).await;
}
