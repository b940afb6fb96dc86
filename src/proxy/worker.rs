//! The worker: takes the sockets from its holder, loads the state, serves until told to end.

use super::{
    WorkerArgs,
    commands::Commands,
    forward::{self, Origin},
    guard::{self, Guard, Tunnel},
    probe,
    state::{self, Saved},
    switch::Switch,
};
use anyhow::{Context, bail, ensure};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The most clients at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;

/// How long a client's connection may be idle between requests.
const IDLE: Duration = Duration::from_secs(75);

/// How long requests in flight may take when the worker is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until told to end.
pub fn run(args: WorkerArgs) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("binding the worker to its holder")?;
    // The holder may have ended before that call; then nobody would ever tell.
    ensure!(getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == args.holder), "the holder has ended");
    allow_many_files();
    let mut passed = ListenFd::from_env();
    let (Some(listener), Some(control)) = (passed.take_tcp_listener(0)?, passed.take_unix_listener(1)?) else {
        bail!("no sockets were passed: only a holder starts a worker");
    };
    listener.set_nonblocking(true)?;
    control.set_nonblocking(true)?;
    // One thread: a switch then happens between two requests, and an idle proxy stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the worker")?;
    let served = runtime.block_on(async { serve(args, TcpListener::from_std(listener)?, UnixListener::from_std(control)?).await });
    runtime.shutdown_background();
    served
}

async fn serve(args: WorkerArgs, listener: TcpListener, control: UnixListener) -> anyhow::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let listen = listener.local_addr()?;
    let (saved, source) = Saved::load(&args.dir, &state::boot_id());
    let switch = Arc::new(Switch::new());
    switch.install(&saved.split);
    switch.probe.send_replace(saved.probe.clone());
    let commands =
        Commands { switch: switch.clone(), saved: saved.into(), source, dir: args.dir, listen, holder: args.holder, lost: args.lost };
    let (stop, clients) = (CancellationToken::new(), TaskTracker::new());
    let accepting = tokio::spawn(accept(listener, switch.clone(), stop.clone(), clients.clone()));
    let commanding = tokio::spawn(command(control, Arc::new(commands)));
    let probing = tokio::spawn(probe::run(switch.clone(), listen));
    let tidying = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            switch.tidy();
        }
    });
    told.recv().await;
    // The sockets go first, so that a successor can have the address while the last requests end here.
    stop.cancel();
    for task in [accepting, commanding, probing, tidying] {
        task.abort();
        let _ = task.await;
    }
    clients.close();
    let _ = timeout(GRACE, clients.wait()).await;
    Ok(())
}

async fn accept(listener: TcpListener, switch: Arc<Switch>, stop: CancellationToken, clients: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        match listener.accept().await {
            Ok((stream, client)) => {
                let (switch, stop) = (switch.clone(), stop.clone());
                clients.spawn(async move {
                    connection(stream, client, switch, stop).await;
                    drop(place);
                });
            }
            Err(err) => {
                // Out of files, mostly: some will be free again soon.
                tracing::warn!("cannot accept a connection: {err}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, switch: Arc<Switch>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let tunnel = Tunnel::default();
    let origin = Origin { switch, client, tunnel: tunnel.clone() };
    let service = service_fn(move |request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(forward::serve(origin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(super::framing::MAX_HEAD)
        .serve_connection(TokioIo::new(Guard::new(stream, tunnel, guard::HEAD_DEADLINE)), service)
        .with_upgrades();
    tokio::pin!(connection);
    // How a connection ends is the client's affair, or was counted where it failed.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn command(control: UnixListener, commands: Arc<Commands>) {
    loop {
        match control.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                tokio::spawn(async move {
                    if let Err(err) = commands.serve(stream).await {
                        tracing::debug!("a control connection broke off: {err:#}");
                    }
                });
            }
            Err(err) => {
                tracing::warn!("cannot accept a control connection: {err}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Two files a client; the default of 1024 would be reached long before the limit of clients.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
