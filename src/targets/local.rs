//! Processes on this machine, each under its own shim: the only place that starts, asks and buries shims.

use super::{Capabilities, InstanceSpec, LogCursor, LogPage, Observed, StopReport, Target, TargetError, capacity};
use crate::{
    model::{
        Epoch, InstanceId, Lease, Sha256,
        capacity::{Capacity, Holds},
        service,
        service::SecretRef,
    },
    shim::{
        control::{self, Op, Reply},
        identity, log,
        spec::{LogPolicy, RestartPolicy, Spec, Status, read_json, write_json},
    },
};
use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// How long a shim may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a shim may take to come up; commands that print secrets come on top.
const START: Duration = Duration::from_secs(30);
/// How long an instance may take to end when its shim is asked to end by a signal.
const GRACE: Duration = Duration::from_secs(10);
/// How often something that is awaited is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where a local target keeps what.
#[derive(Debug, Clone)]
pub struct LocalPaths {
    /// The `interlock` binary; shims are run from it.
    pub exe: PathBuf,
    /// One folder per instance.
    pub instances_dir: PathBuf,
    /// Control sockets; short, for a socket's path must fit 108 bytes.
    pub run_dir: PathBuf,
    /// Where instances start.
    pub workspace: PathBuf,
    /// The machine's boot; `None` asks the kernel.
    pub boot_id: Option<String>,
}

/// Processes on this machine, each under its own shim.
pub struct LocalTarget {
    paths: LocalPaths,
    boot_id: String,
    log: LogPolicy,
    restart: RestartPolicy,
    /// Two starts at once would look at the same ports.
    starting: tokio::sync::Mutex<()>,
}

/// `instance.json`: what this target was told, beside the shim's own files.
#[derive(Serialize, Deserialize)]
struct Installed {
    spec: InstanceSpec,
    port: u16,
    argv: Vec<String>,
}

impl LocalTarget {
    /// Returns the target over these folders; they are made when first needed.
    pub fn new(paths: LocalPaths) -> Self {
        let boot_id = paths.boot_id.clone().unwrap_or_else(identity::boot_id);
        LocalTarget { paths, boot_id, log: LogPolicy::default(), restart: RestartPolicy::default(), starting: Default::default() }
    }

    /// Replaces how output is kept and how instances are started again.
    pub fn with_policies(mut self, log: LogPolicy, restart: RestartPolicy) -> Self {
        (self.log, self.restart) = (log, restart);
        self
    }

    /// Removes what is left of an instance that does not run: folder, log, socket.
    pub fn remove(&self, instance: &InstanceId) -> Result<(), TargetError> {
        let dir = self.dir(instance)?;
        if Status::read(&dir)?.is_some_and(|status| status.boot_id == self.boot_id && status.shim.is_alive()) {
            return Err(anyhow!("instance `{instance}` still runs").into());
        }
        let _ = fs::remove_file(self.socket(instance));
        match fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(anyhow!(err).context("removing the instance's folder").into()),
            _ => Ok(()),
        }
    }

    fn dir(&self, instance: &InstanceId) -> Result<PathBuf> {
        let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        let name = instance.as_str();
        anyhow::ensure!(
            !name.is_empty() && !name.starts_with('.') && name.len() <= 200 && name.chars().all(safe),
            "`{name}` cannot name a folder"
        );
        Ok(self.paths.instances_dir.join(name))
    }

    fn socket(&self, instance: &InstanceId) -> PathBuf {
        self.paths.run_dir.join(format!("{}.sock", Sha256::of(instance.as_str().as_bytes()).short()))
    }

    /// Asks the shim; `None` when no shim runs, in this boot.
    async fn ask(&self, instance: &InstanceId, op: Op, patience: Duration) -> Result<Option<Reply>> {
        let (socket, dir) = (self.socket(instance), self.dir(instance)?);
        let lives =
            || -> Result<bool> { Ok(Status::read(&dir)?.is_some_and(|status| status.boot_id == self.boot_id && status.shim.is_alive())) };
        let deadline = Instant::now() + patience;
        loop {
            match control::call(&socket, op, patience).await {
                Ok(Reply::Refused { message }) => bail!("the shim of `{instance}` refused: {message}"),
                Ok(reply) => return Ok(Some(reply)),
                Err(_) if !lives()? => return Ok(None),
                // It may be about to listen, or to listen again.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Err(err) => return Err(err.context(format!("the shim of `{instance}`"))),
            }
        }
    }

    /// Returns the shim's own word where it gives one, else what it last wrote.
    async fn status(&self, instance: &InstanceId) -> Result<Option<Status>> {
        match self.ask(instance, Op::Status, PATIENCE).await {
            Ok(Some(Reply::Status(status))) => Ok(Some(*status)),
            _ => Status::read(&self.dir(instance)?),
        }
    }

    fn observed(&self, installed: Installed, status: Option<Status>) -> Observed {
        let running = status.as_ref().is_some_and(|status| status.is_running(&self.boot_id));
        let address = address(status.as_ref().map_or(installed.port, |status| status.port));
        let (instance, version, digest) = (installed.spec.id, installed.spec.version, installed.spec.digest);
        let port_taken = status.as_ref().is_some_and(|status| status.port_taken);
        let (restarts, last_exit, epoch, process) = match status {
            Some(status) => (status.restarts, status.last_exit, status.epoch, status.instance),
            None => (0, None, Epoch(0), None),
        };
        let pid = process.filter(|_| running).map(|process| process.pid);
        let argv = installed.argv;
        Observed { instance, version, digest, running, address, argv, pid, restarts, last_exit, port_taken, epoch, run: None }
    }

    async fn look(&self, instance: &InstanceId) -> Result<Option<Observed>> {
        let Some(installed) = read_json::<Installed>(&self.dir(instance)?.join("instance.json"))? else { return Ok(None) };
        Ok(Some(self.observed(installed, self.status(instance).await?)))
    }

    /// Kills what a dead shim's instance left behind, and waits until it is gone.
    async fn bury(&self, status: &Status) -> Result<()> {
        let Some(instance) = status.instance.filter(|_| status.boot_id == self.boot_id) else { return Ok(()) };
        let deadline = Instant::now() + GRACE;
        loop {
            let rest = instance.session();
            if rest.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "process {} does not end", rest[0].pid);
            rest.iter().for_each(|process| process.signal(Signal::KILL));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns a free port: the wanted one if it is, and never one of another instance.
    fn port(&self, wanted: Option<u16>) -> Result<u16> {
        if let Some(port) = wanted.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
            return Ok(port);
        }
        let folders = fs::read_dir(&self.paths.instances_dir).into_iter().flatten().flatten();
        let taken: Vec<u16> = folders
            .filter_map(|folder| read_json::<Installed>(&folder.path().join("instance.json")).ok()?.map(|found| found.port))
            .collect();
        for _ in 0..100 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?.local_addr()?.port();
            if !taken.contains(&port) {
                return Ok(port);
            }
        }
        bail!("no free port on 127.0.0.1")
    }

    fn install(&self, epoch: Epoch, instance: &InstanceSpec, dir: &Path, port: u16) -> Result<()> {
        let (release, number) = (instance.release_dir.display().to_string(), port.to_string());
        let places = [("release", release.as_str()), ("port", &number), ("version", &instance.version)];
        let argv: Vec<String> = instance.spec.command.iter().map(|word| service::fill(word, &places)).collect();
        let spec = Spec {
            argv: argv.clone(),
            env: instance.spec.env.clone(),
            cwd: self.paths.workspace.clone(),
            port,
            control: self.socket(&instance.id),
            boot_id: self.boot_id.clone(),
            epoch,
            grace_ms: GRACE.as_millis() as u64,
            log: self.log,
            restart: self.restart,
        };
        spec.write(dir)?;
        write_json(&dir.join("instance.json"), &Installed { spec: instance.clone(), port, argv })
    }

    /// Starts a shim and waits until it has tried to start the instance once.
    async fn spawn(&self, instance: &InstanceSpec, dir: &Path) -> Result<(), TargetError> {
        let words = dir.join("shim.log");
        let errors =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&words).context("opening the shim's log")?;
        let mut shim = tokio::process::Command::new(&self.paths.exe)
            .args(["shim", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting `{} shim`", self.paths.exe.display()))?;
        let commands = instance.spec.secrets().filter(|(_, reference)| matches!(reference, SecretRef::Exec(_))).count() as u32;
        let deadline = Instant::now() + START + Duration::from_secs(10) * commands;
        let pid = shim.id().map(|pid| pid as i32);
        let outcome = loop {
            if let Ok(Some(_)) = shim.try_wait() {
                let said = fs::read_to_string(&words).unwrap_or_default();
                break Err(anyhow!("the shim of `{}` ended: {}", instance.id, said.trim()).into());
            }
            if let Ok(Reply::Status(status)) = control::call(&self.socket(&instance.id), Op::Status, PATIENCE).await
                && Some(status.shim.pid) == pid
            {
                match (&status.fault, status.instance) {
                    (Some(fault), None) if fault.starts_with("secret `") => break Err(TargetError::Secret(fault.clone())),
                    (Some(fault), None) => break Err(anyhow!("{fault}").into()),
                    _ if status.launched || status.last_exit.is_some() => break Ok(()),
                    _ => {}
                }
            }
            if Instant::now() >= deadline {
                break Err(anyhow!("the shim of `{}` does not answer", instance.id).into());
            }
            tokio::time::sleep(LOOK).await;
        };
        // Only waited for, so that no zombie stays; it lives on without us.
        tokio::spawn(async move { shim.wait().await });
        outcome
    }
}

#[async_trait]
impl Target for LocalTarget {
    fn capabilities(&self) -> Capabilities {
        Capabilities { warm_rollback: true, logs: true, fencing: true, restores: true }
    }

    async fn observe(&self, instance: &InstanceId) -> Result<Option<Observed>, TargetError> {
        Ok(self.look(instance).await?)
    }

    async fn list(&self) -> Result<Vec<Observed>, TargetError> {
        let folders = fs::read_dir(&self.paths.instances_dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = folders.filter_map(|folder| folder.file_name().into_string().ok()).collect();
        names.sort();
        let mut found = Vec::new();
        for name in names {
            found.extend(self.look(&InstanceId(name)).await?);
        }
        Ok(found)
    }

    async fn start(&self, lease: &Lease, instance: &InstanceSpec) -> Result<Observed, TargetError> {
        let _alone = self.starting.lock().await;
        let dir = self.dir(&instance.id)?;
        for folder in [&dir, &self.paths.run_dir] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).context("making the instance's folder")?;
        }
        let installed: Option<Installed> = read_json(&dir.join("instance.json"))?;
        let same = installed.as_ref().is_some_and(|installed| installed.spec == *instance);
        match self.ask(&instance.id, Op::Fence { epoch: lease.epoch }, PATIENCE).await? {
            Some(Reply::StaleEpoch { given, seen }) => return Err(TargetError::StaleEpoch { given, seen }),
            Some(_) if same => return Ok(self.look(&instance.id).await?.context("the instance was just there")?),
            Some(_) => _ = self.stop(lease, &instance.id, GRACE).await?,
            None => {}
        }
        if let Some(status) = Status::read(&dir)? {
            if lease.epoch < status.epoch {
                return Err(TargetError::StaleEpoch { given: lease.epoch, seen: status.epoch });
            }
            self.bury(&status).await?;
        }
        // The same port again: the router still knows it.
        let port = self.port(installed.map(|installed| installed.port))?;
        self.install(lease.epoch, instance, &dir, port)?;
        if let Err(err) = self.spawn(instance, &dir).await {
            // A start that failed leaves nothing that would start by itself later.
            let _ = self.stop(lease, &instance.id, Duration::ZERO).await;
            return Err(err);
        }
        Ok(self.look(&instance.id).await?.context("the instance was just installed")?)
    }

    async fn stop(&self, lease: &Lease, instance: &InstanceId, grace: Duration) -> Result<StopReport, TargetError> {
        let stop = Op::Stop { epoch: lease.epoch, grace_ms: grace.as_millis() as u64 };
        let reply = self.ask(instance, stop, grace + Duration::from_secs(20)).await;
        let status = Status::read(&self.dir(instance)?)?;
        let graceful = match reply {
            Ok(Some(Reply::StaleEpoch { given, seen })) => return Err(TargetError::StaleEpoch { given, seen }),
            Ok(Some(Reply::Stopped { graceful })) => graceful,
            Ok(_) => match &status {
                Some(status) if lease.epoch < status.epoch => {
                    return Err(TargetError::StaleEpoch { given: lease.epoch, seen: status.epoch });
                }
                _ => true,
            },
            // A shim that does not answer is ended like a killed one: the kernel takes the instance with it.
            Err(_) => false,
        };
        if let Some(status) = status.filter(|status| status.boot_id == self.boot_id) {
            let deadline = Instant::now() + Duration::from_secs(5);
            while graceful && status.shim.is_alive() && Instant::now() < deadline {
                tokio::time::sleep(LOOK).await;
            }
            status.shim.signal(Signal::KILL);
            self.bury(&status).await?;
        }
        Ok(StopReport { graceful })
    }

    async fn logs(&self, instance: &InstanceId, from: LogCursor) -> Result<LogPage, TargetError> {
        let dir = self.dir(instance)?;
        let read = move || match from {
            LogCursor::Tail(lines) => log::read(&dir, None, lines),
            LogCursor::Offset(offset) => log::read(&dir, Some(offset), usize::MAX),
        };
        let (lines, next) = tokio::task::spawn_blocking(read).await.context("reading the log")?.context("reading the log")?;
        Ok(LogPage { lines, next, is_cut: false })
    }

    async fn capacity(&self, releases: &Path) -> Result<Option<Capacity>, TargetError> {
        let folders = [(Holds::Releases, releases.to_owned()), (Holds::Instances, self.paths.instances_dir.clone())];
        let running: Vec<_> = self.list().await?.into_iter().filter_map(|observed| Some((observed.instance, observed.pid?))).collect();
        let look = move || {
            let mut capacity = capacity::of_this_machine(&folders);
            let used =
                running.into_iter().filter_map(|(instance, pid)| Some((instance, capacity::memory_of(identity::Process::of(pid)?)?)));
            capacity.used_bytes.extend(used);
            capacity
        };
        Ok(Some(tokio::task::spawn_blocking(look).await.context("looking at what this machine has left")?))
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
