//! The holder: owns the sockets, keeps a worker running, does nothing else.

use super::{
    EXIT_PORT_TAKEN, HolderArgs, HolderIdentity,
    control::PROTOCOL,
    state::{boot_id, start_time, write_durably},
};
use anyhow::{Context, anyhow};
use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    fs::Mode,
    process::{setsid, umask},
};
use std::{
    fs::{self, DirBuilder},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::DirBuilderExt, net::UnixListener},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::{
    net::TcpSocket,
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A worker that lived this long is replaced without a pause.
const SETTLED: Duration = Duration::from_secs(5);

/// How long a worker may take to end; a little more than it grants its requests.
const WORKER_GRACE: Duration = Duration::from_secs(15);

/// The kernel's queue of connections while no worker accepts.
const BACKLOG: u32 = 4096;

/// Holds the address until told to end.
pub fn run(args: HolderArgs) -> anyhow::Result<()> {
    // Out of the starter's session, so that its end is not ours. Started from a shell we may lead a group already: then this is one.
    let _ = setsid();
    // Sockets and files are for the owner alone.
    umask(Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the holder")?;
    runtime.block_on(hold(args))
}

async fn hold(args: HolderArgs) -> anyhow::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    DirBuilder::new().recursive(true).mode(0o700).create(&args.dir).with_context(|| format!("creating `{}`", args.dir.display()))?;
    let listener = match bind(args.listen) {
        Ok(listener) => listener,
        Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => {
            eprintln!("port_taken {}", args.listen);
            std::process::exit(EXIT_PORT_TAKEN);
        }
        Err(err) => return Err(err).with_context(|| format!("listening on {}", args.listen)),
    };
    // The address is the lock: whoever has it owns the control socket too, so one that lies here is a dead holder's.
    let _ = fs::remove_file(&args.control);
    let control = UnixListener::bind(&args.control).with_context(|| format!("listening on `{}`", args.control.display()))?;
    let mut lost = read_lost(&args.dir);
    if HolderIdentity::read(&args.dir).is_some_and(|before| before.boot_id == boot_id()) {
        // A holder that ends as told removes its file; this one did not, and took its worker along.
        lost += 1;
        write_lost(&args.dir, lost)?;
    }
    let pid = std::process::id() as i32;
    let start_time = start_time(pid).ok_or_else(|| anyhow!("the system does not say when this process started"))?;
    let identity = HolderIdentity { pid, start_time, boot_id: boot_id(), listen: listener.local_addr()?, protocol: PROTOCOL };
    write_durably(&args.dir.join("proxy.json"), &serde_json::to_vec(&identity)?)?;

    let mut pause = Duration::ZERO;
    loop {
        let started = Instant::now();
        let mut worker = start_worker(&args.dir, &listener, &control, lost);
        let how = tokio::select! {
            _ = told.recv() => {
                // Names go before the sockets: a successor may make its own while our last requests end.
                let _ = fs::remove_file(&args.control);
                let _ = fs::remove_file(args.dir.join("proxy.json"));
                drop((listener, control));
                return match worker {
                    Ok(worker) => end(worker).await,
                    Err(_) => Ok(()),
                };
            }
            how = ended(&mut worker) => how,
        };
        lost += 1;
        eprintln!("a worker ended unasked: {how}; {lost} so far");
        if let Err(err) = write_lost(&args.dir, lost) {
            eprintln!("cannot note the lost worker: {err:#}");
        }
        if started.elapsed() >= SETTLED {
            pause = Duration::ZERO;
        }
        if wait_or_told(pause, &mut told).await {
            let _ = fs::remove_file(&args.control);
            let _ = fs::remove_file(args.dir.join("proxy.json"));
            return Ok(());
        }
        pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    }
}

fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)?.into_std()
}

fn start_worker(dir: &Path, listener: &TcpListener, control: &UnixListener, lost: u64) -> anyhow::Result<Child> {
    let exe = std::env::current_exe().context("finding the program")?;
    // Replaced on disk by an upgrade, the old path is gone for a moment; the running program can still be started.
    let exe = if exe.exists() { exe } else { "/proc/self/exe".into() };
    let sockets = [listener.try_clone()?.into(), control.try_clone()?.into()];
    let mappings = sockets.into_iter().zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    let mut command = Command::new(exe);
    command
        .arg("proxy-worker")
        .arg("--dir")
        .arg(dir)
        .args(["--holder", &std::process::id().to_string(), "--lost", &lost.to_string()])
        .env("LISTEN_FDS", "2")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS_FIRST_FD")
        .stdin(Stdio::null())
        .fd_mappings(mappings)
        .context("passing the sockets")?;
    command.spawn().context("starting a worker")
}

async fn ended(worker: &mut anyhow::Result<Child>) -> String {
    match worker {
        Ok(worker) => worker.wait().await.map_or_else(|err| err.to_string(), |status| status.to_string()),
        Err(err) => format!("{err:#}"),
    }
}

async fn end(mut worker: Child) -> anyhow::Result<()> {
    if let Some(pid) = worker.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if timeout(WORKER_GRACE, worker.wait()).await.is_err() {
        worker.kill().await.context("ending the worker")?;
    }
    Ok(())
}

async fn wait_or_told(pause: Duration, told: &mut Signal) -> bool {
    tokio::select! {
        _ = told.recv() => true,
        () = sleep(pause) => false,
    }
}

fn read_lost(dir: &Path) -> u64 {
    fs::read_to_string(dir.join("lost")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write_lost(dir: &Path, lost: u64) -> anyhow::Result<()> {
    let fresh = dir.join("lost.tmp");
    write_durably(&fresh, lost.to_string().as_bytes())?;
    fs::rename(&fresh, dir.join("lost")).context("noting a lost worker")
}
