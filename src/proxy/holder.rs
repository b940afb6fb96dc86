//! The holder: owns the sockets, keeps a worker running, starts the next one at an upgrade, does nothing else.

use super::{
    EXIT_PORT_TAKEN, HolderArgs, HolderIdentity,
    control::PROTOCOL,
    crew::{Crew, News},
    state::{boot_id, start_time, write_durably},
};
use anyhow::{Context, anyhow};
use rustix::{
    fs::Mode,
    process::{setsid, umask},
};
use std::{
    fs::{self, DirBuilder},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::DirBuilderExt, net::UnixListener},
    path::Path,
    time::Duration,
};
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A worker that lived this long is replaced without a pause.
const SETTLED: Duration = Duration::from_secs(5);

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
    // A write beyond RLIMIT_FSIZE fails like one on a full disk, and ends nobody.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
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

    let mut crew = Crew::new(args.dir.clone(), args.control.clone(), listener, control);
    let mut started = Instant::now();
    let (mut pause, mut start_at) = (Duration::ZERO, Some(started));
    loop {
        let patience = crew.candidate_deadline();
        let news = tokio::select! {
            _ = told.recv() => {
                // Names go before the sockets: a successor may make its own while our last requests end.
                let _ = fs::remove_file(&args.control);
                let _ = fs::remove_file(args.dir.join("proxy.json"));
                return crew.end().await;
            }
            () = sleep_until(start_at.unwrap_or_else(Instant::now)), if start_at.is_some() => {
                (start_at, started) = (None, Instant::now());
                crew.start(lost)
            }
            () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => crew.give_up_candidate("it was not ready in time"),
            news = crew.news(lost) => news,
        };
        let (how, is_replaced) = match news {
            News::Nothing => continue,
            News::Lost { how } => (how, true),
            News::Gone { how } => (how, false),
        };
        lost += 1;
        eprintln!("a worker ended unasked: {how}; {lost} so far");
        if let Err(err) = write_lost(&args.dir, lost) {
            eprintln!("cannot note the lost worker: {err:#}");
        }
        if is_replaced {
            continue;
        }
        if started.elapsed() >= SETTLED {
            pause = Duration::ZERO;
        }
        start_at = Some(Instant::now() + pause);
        pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    }
}

fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)?.into_std()
}

fn read_lost(dir: &Path) -> u64 {
    fs::read_to_string(dir.join("lost")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write_lost(dir: &Path, lost: u64) -> anyhow::Result<()> {
    let fresh = dir.join("lost.tmp");
    write_durably(&fresh, lost.to_string().as_bytes())?;
    fs::rename(&fresh, dir.join("lost")).context("noting a lost worker")
}
