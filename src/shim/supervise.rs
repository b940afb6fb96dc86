//! The shim's one loop: start the instance, wait for its end, wait a little, start it again; and answer the control socket meanwhile.

use super::{
    control::{self, Command, Op, Reply},
    identity::{self, Process},
    log::{LogWriter, drain},
    redact::Redactor,
    secrets::{self, Secret},
    spec::{Spec, Status},
};
use crate::model::{Epoch, service::SecretRef};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions};
use std::{
    fs::File,
    os::fd::OwnedFd,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    signal::unix::{Signal as SignalStream, SignalKind, signal},
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

/// What an instance's environment takes over from the shim's.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER"];

struct Shim {
    dir: PathBuf,
    spec: Spec,
    status: Status,
    log: Arc<Mutex<LogWriter>>,
    /// The files of the log that the status on disk may name.
    named: Vec<File>,
    turned: Arc<Notify>,
    commands: mpsc::Receiver<Command>,
    terminate: SignalStream,
    stopping: Option<Stopping>,
}

struct Stopping {
    deadline: Instant,
    callers: Vec<oneshot::Sender<Reply>>,
}

/// Tells whether somebody listens on a port of this machine, or keeps it.
fn is_taken(port: u16) -> bool {
    let bound = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port));
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Runs the instance of a folder until somebody asks to stop.
pub async fn supervise(dir: PathBuf, spec: Spec) -> Result<()> {
    // Handled and not ignored: an ignored signal would be ignored by the instance too.
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangups.recv().await.is_some() {} });
    // The same for a write beyond RLIMIT_FSIZE: it fails like one on a full disk, and ends nobody.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let terminate = signal(SignalKind::terminate())?;
    let children = signal(SignalKind::child())?;
    // Processes the instance leaves behind become ours, so that a stop finds them all.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));

    let before = Status::read(&dir).unwrap_or_default();
    let log = LogWriter::open(&dir, spec.log, before.as_ref());
    let seen = before.as_ref().map_or(Epoch(0), |status| status.epoch);
    let status = Status {
        shim: Process::me(),
        instance: None,
        boot_id: spec.boot_id.clone(),
        launched: false,
        restarts: 0,
        last_exit: None,
        port_taken: false,
        fault: None,
        epoch: seen.max(spec.epoch),
        port: spec.port,
        log_start: log.start,
        log_inode: log.inode,
        stopped: false,
    };
    status.write(&dir)?;
    let named = log.held().into_iter().collect();
    let control = spec.control.clone();
    let (commands, replies) = control::serve(control.clone())?;
    let log = Arc::new(Mutex::new(log));
    let mut shim = Shim { dir, spec, status, log, named, turned: Arc::default(), commands, terminate, stopping: None };
    let graceful = shim.run(children).await;

    let _ = std::fs::remove_file(&control);
    shim.status.stopped = true;
    shim.status.launched = false;
    shim.record();
    for caller in shim.stopping.take().map(|stopping| stopping.callers).unwrap_or_default() {
        let _ = caller.send(Reply::Stopped { graceful });
    }
    drop(shim);
    replies.close();
    let _ = tokio::time::timeout(Duration::from_secs(2), replies.wait()).await;
    Ok(())
}

impl Shim {
    /// Starts the instance again and again; returns, once asked to stop, whether it ended by itself.
    async fn run(&mut self, mut children: SignalStream) -> bool {
        let policy = self.spec.restart;
        let mut wait_ms = policy.first_ms;
        loop {
            let began = Instant::now();
            let started = self.start().await;
            if self.stopping.is_some() && self.status.instance.is_none() {
                kill_rest(None).await;
                return true;
            }
            let how = match started {
                Ok(main) => match self.attend(ended(&mut children, main.pid)).await {
                    Some(how) => how,
                    None => return self.finish(main, &mut children).await,
                },
                Err(fault) => {
                    self.status.fault = Some(fault.clone());
                    fault
                }
            };
            if let Some(main) = self.status.instance {
                self.status.last_exit = Some(how.clone());
                kill_rest(Some(main)).await;
                self.status.port_taken = is_taken(self.spec.port);
            }
            self.status.launched = false;
            if began.elapsed() >= Duration::from_millis(policy.reset_ms) {
                wait_ms = policy.first_ms;
            }
            self.note(&format!("ended: {how}; starting again in {wait_ms} ms"));
            self.record();
            if self.attend(tokio::time::sleep(Duration::from_millis(wait_ms))).await.is_none() {
                return true;
            }
            wait_ms = (wait_ms * 2).min(policy.max_ms);
            self.status.restarts += 1;
        }
    }

    /// Resolves the secrets and starts the program.
    async fn start(&mut self) -> Result<Process, String> {
        self.status.instance = None;
        self.status.fault = None;
        let configured = self.spec.env.clone();
        // On a thread of its own, so that a slow command does not make the shim deaf.
        let resolved = match configured.values().any(|value| SecretRef::parse(value).is_some()) {
            true => self
                .attend(tokio::task::spawn_blocking(move || resolve(configured)))
                .await
                .ok_or("stopped")?
                .expect("resolving does not panic"),
            false => resolve(configured),
        };
        let (plain, secret) = resolved.map_err(|err| format!("{err:#}"))?;
        let (main, mut ready) = self.spawn(plain, secret).map_err(|err| format!("{err:#}"))?;
        self.status.instance = Some(main);
        self.record();
        let mut fault = String::new();
        let launched = async { ready.read_to_string(&mut fault).await };
        self.attend(launched).await;
        match fault.is_empty() {
            true => self.status.launched = true,
            false => {
                self.note(&fault);
                self.status.fault = Some(fault);
            }
        }
        self.record();
        Ok(main)
    }

    fn spawn(&self, plain: Vec<(String, String)>, secrets: Vec<(String, Secret)>) -> Result<(Process, pipe::Receiver)> {
        let redactor = Arc::new(Redactor::new(secrets.iter().map(|(_, secret)| secret)));
        let (ready, theirs) = std::io::pipe().context("making a pipe")?;
        // By this name a shim whose binary was replaced on disk still finds itself.
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(["shim-launch", "--parent", &self.status.shim.pid.to_string(), "--"]).args(&self.spec.argv);
        command.env_clear().envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("PORT", self.spec.port.to_string()).envs(plain).envs(secrets.iter().map(|(name, secret)| (name, secret.expose())));
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the launcher")?;
        let main = Process::of(child.id() as i32).context("looking at the launcher")?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().expect("piped")))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stderr.take().expect("piped")))?;
        for output in [stdout, stderr] {
            tokio::spawn(drain(output, redactor.clone(), self.log.clone(), self.turned.clone()));
        }
        Ok((main, pipe::Receiver::from_owned_fd(OwnedFd::from(ready))?))
    }

    /// Waits for something while answering callers; `None` when one of them asked to stop.
    async fn attend<T>(&mut self, event: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(event);
        while self.stopping.is_none() {
            tokio::select! {
                outcome = &mut event => return Some(outcome),
                () = self.heard() => {}
            }
        }
        None
    }

    /// Takes one command, signal or turn of the log.
    async fn heard(&mut self) {
        tokio::select! {
            Some(command) = self.commands.recv() => self.answer(command),
            _ = self.terminate.recv() => self.stop_within(self.spec.grace_ms, None),
            () = self.turned.notified() => self.record(),
        }
    }

    fn answer(&mut self, Command { op, reply }: Command) {
        if let Op::Fence { epoch } | Op::Stop { epoch, .. } = op {
            if epoch < self.status.epoch {
                let _ = reply.send(Reply::StaleEpoch { given: epoch, seen: self.status.epoch });
                return;
            }
            if epoch > self.status.epoch {
                self.status.epoch = epoch;
                self.record();
            }
        }
        match op {
            Op::Status => drop(reply.send(Reply::Status(Box::new(self.status.clone())))),
            Op::Version => drop(reply.send(Reply::Version { version: env!("CARGO_PKG_VERSION").into() })),
            Op::Fence { .. } => drop(reply.send(Reply::Fenced)),
            Op::Stop { grace_ms, .. } => self.stop_within(grace_ms, Some(reply)),
        }
    }

    fn stop_within(&mut self, grace_ms: u64, caller: Option<oneshot::Sender<Reply>>) {
        let deadline = Instant::now() + Duration::from_millis(grace_ms);
        let stopping = self.stopping.get_or_insert(Stopping { deadline, callers: Vec::new() });
        stopping.deadline = stopping.deadline.min(deadline);
        stopping.callers.extend(caller);
    }

    /// Asks the instance to end, waits for all of it, kills what is left; returns whether nothing was.
    async fn finish(&mut self, main: Process, children: &mut SignalStream) -> bool {
        // The launcher may not lead its session yet; then it is alone.
        for process in main.session() {
            process.signal(Signal::TERM);
        }
        let mut end = None;
        let graceful = loop {
            end = end.or_else(|| reap(main.pid));
            if end.is_some() && main.session().is_empty() {
                break true;
            }
            let deadline = self.stopping.as_ref().map_or_else(Instant::now, |stopping| stopping.deadline);
            tokio::select! {
                _ = children.recv() => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                () = self.heard() => {}
                () = tokio::time::sleep_until(deadline) => break false,
            }
        };
        self.status.last_exit = Some(match end {
            Some(how) => how,
            None => {
                main.signal(Signal::KILL);
                ended(children, main.pid).await
            }
        });
        kill_rest(Some(main)).await;
        graceful
    }

    fn record(&mut self) {
        let log = self.log.lock().expect("no writer panics");
        (self.status.log_start, self.status.log_inode) = (log.start, log.inode);
        let held = log.held();
        drop(log);
        match self.status.write(&self.dir) {
            Ok(()) => self.named.clear(),
            // A full disk must not end the instance; the control socket still tells the truth.
            Err(err) => {
                eprintln!("{err:#}");
                self.named.truncate(1);
            }
        }
        self.named.extend(held);
    }

    fn note(&self, text: &str) {
        self.log.lock().expect("no writer panics").append(format!("[interlock] {text}\n").as_bytes());
    }
}

type Environment = (Vec<(String, String)>, Vec<(String, Secret)>);

fn resolve(configured: std::collections::BTreeMap<String, String>) -> Result<Environment> {
    let (mut plain, mut secret) = (Vec::new(), Vec::new());
    for (name, value) in configured {
        match SecretRef::parse(&value) {
            Some(reference) => secret.push((name, secrets::resolve(&reference)?)),
            None => plain.push((name, value)),
        }
    }
    Ok((plain, secret))
}

/// Waits until the process ends; returns how.
async fn ended(children: &mut SignalStream, pid: i32) -> String {
    loop {
        if let Some(how) = reap(pid) {
            return how;
        }
        children.recv().await;
    }
}

/// Takes in every child that ended, adopted ones too; returns how `pid` did, if it was among them.
fn reap(pid: i32) -> Option<String> {
    let mut how = None;
    while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(child) == Pid::from_raw(pid) {
            how = Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit {code}"),
                (_, Some(signal)) => format!("signal {signal}"),
                _ => "ended".to_owned(),
            });
        }
    }
    how
}

/// Kills whatever the ended instance left: its session, and what it started outside of it.
async fn kill_rest(main: Option<Process>) {
    // Bounded, for a process that hangs in the kernel.
    for _ in 0..500 {
        let mut rest = main.map(|main| main.session()).unwrap_or_default();
        rest.extend(identity::children());
        if rest.is_empty() {
            return;
        }
        for process in rest {
            process.signal(Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        reap(0);
    }
}
