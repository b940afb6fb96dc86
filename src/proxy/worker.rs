//! The worker: takes the sockets from its holder and the state from the disk or from the worker before, and serves until told to end or
//! until another takes over.

use super::{
    WorkerArgs,
    access::AccessLog,
    build::build_of,
    client::ProxyClient,
    commands::{Commands, Door},
    control::{Heir, Operation},
    lineage::{Lineage, Takeover, own_socket, path_of},
    link::{Link, Word},
    listener::Listener,
    routes::Routes,
    state::{self, Saved},
    switch::Ending,
};
use anyhow::{Context, bail, ensure};
use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

/// The most clients at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;

/// How long requests in flight may take when the worker is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long clients are asked to connect again before their idle connections are closed: a request sent into a close would be lost.
const LAME_DUCK: Duration = Duration::from_secs(2);

/// How long websockets are left alone once another worker serves, patience permitting.
const WEBSOCKET_GRACE: Duration = Duration::from_secs(10);

/// How long what was told to end may take to do so.
const ENDING: Duration = Duration::from_secs(5);

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
    let control_path = path_of(&control.local_addr()?).context("a control socket without a name")?;
    // One thread: a switch then happens between two requests, and an idle proxy stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the worker")?;
    let own = own_socket(&control_path, std::process::id() as i32);
    let served = runtime.block_on(async { serve(args, TcpListener::from_std(listener)?, UnixListener::from_std(control)?, &own).await });
    runtime.shutdown_background();
    let _ = fs::remove_file(&own);
    served
}

async fn serve(args: WorkerArgs, listener: TcpListener, control: UnixListener, own: &Path) -> anyhow::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    // A write beyond RLIMIT_FSIZE would end the worker; with a handler it fails like one on a full disk, and is refused.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let mut link = Link::from_stdin();
    let _ = fs::remove_file(own);
    let own_socket = UnixListener::bind(own).with_context(|| format!("listening on `{}`", own.display()))?;
    let takeover = match &args.predecessor {
        Some(predecessor) => Takeover::begin(predecessor).await.inspect_err(|err| tracing::warn!("nothing was handed over: {err:#}")).ok(),
        None => None,
    };
    let (saved, source, secret, lineage) = match (&takeover, &args.predecessor) {
        (Some(Takeover { handed, .. }), Some(predecessor)) => {
            let lineage = Lineage::of(predecessor, handed.counters.clone());
            (handed.saved.clone(), super::control::StateSource::Saved, handed.probe_secret.clone(), lineage)
        }
        _ => {
            let (saved, source) = Saved::load(&args.dir, &state::boot_id());
            (saved, source, format!("{:032x}", rand::random::<u128>()), Lineage::default())
        }
    };
    let routes = Arc::new(Routes::new(listener.local_addr()?, secret, AccessLog::in_folder(&args.dir)));
    routes.restore(&saved, source);
    let customers = Listener::new(routes.clone(), None, MAX_CONNECTIONS);
    let accepting = tokio::spawn(customers.clone().accept(listener));
    if let Some(takeover) = takeover {
        // Both accept for a moment: what the address takes is never without one of us.
        let heir = Heir { worker: std::process::id() as i32, control: own.to_owned() };
        if let Err(err) = takeover.finish(heir).await {
            tracing::warn!("the worker before did not hear that another serves: {err:#}");
        }
    }
    if let Some(link) = &mut link {
        link.say(&Word::Ready).await?;
    }
    let commands = Arc::new(Commands {
        routes: routes.clone(),
        saved: saved.into(),
        source,
        dir: args.dir,
        own: own.to_owned(),
        holder: args.holder,
        build: build_of(Path::new("/proc/self/exe")),
        lost: args.lost.into(),
        lineage: lineage.into(),
        link: link.into(),
        heir: watch::Sender::new(None),
        patience_ms: 30_000.into(),
    });
    let on_own = tokio::spawn(command(own_socket, commands.clone(), Door::Own));
    let commanding = tokio::spawn(command(control, commands.clone(), Door::Shared));
    let tidying = tokio::spawn(tidy(routes.clone()));
    let mut heir = commands.heir.subscribe();
    tokio::select! {
        _ = told.recv() => {}
        Ok(_) = heir.wait_for(Option::is_some) => {
            end([accepting, commanding]).await;
            tokio::select! {
                _ = told.recv() => {}
                () = leave(&commands, &customers) => {
                    routes.access.flush();
                    return Ok(());
                }
            }
            return last_requests(&routes, &customers).await;
        }
    }
    // The sockets go first, so that a successor can have the address while the last requests end here.
    routes.leave();
    end([accepting, commanding, on_own, tidying]).await;
    last_requests(&routes, &customers).await
}

async fn last_requests(routes: &Routes, customers: &Listener) -> anyhow::Result<()> {
    customers.stop.cancel();
    customers.clients.close();
    let _ = timeout(GRACE, customers.clients.wait()).await;
    routes.access.flush();
    Ok(())
}

/// Another worker serves: clients are asked to connect again, what is in flight ends, and what was counted is handed on.
async fn leave(commands: &Commands, customers: &Listener) {
    #[cfg(debug_assertions)]
    if std::env::var_os("INTERLOCK_FAULT_NO_LAME_DUCK").is_some() {
        return;
    }
    let (routes, patience) = (&commands.routes, Duration::from_millis(commands.patience_ms.load(Relaxed)));
    let began = Instant::now();
    sleep(LAME_DUCK).await;
    customers.stop.cancel();
    customers.clients.close();
    let told = |ending: Ending| routes.all().iter().for_each(|(_, switch)| switch.tell(ending));
    while began.elapsed() < patience + LAME_DUCK + ENDING {
        let in_flight: u64 = routes.all().iter().map(|(_, switch)| switch.in_flight()).sum();
        if in_flight == 0 && customers.clients.is_empty() {
            break;
        }
        // Told again and again: a request that was on its way in has its own ear.
        if began.elapsed() >= patience.min(WEBSOCKET_GRACE) {
            told(Ending::Websockets);
        }
        if began.elapsed() >= patience {
            told(Ending::Requests);
        }
        sleep(Duration::from_millis(20)).await;
    }
    // The one before us has at most as long; what it counted comes to us first.
    let patience = Instant::now() + patience + LAME_DUCK + ENDING;
    while commands.lineage.lock().await.predecessor.is_some() && Instant::now() < patience {
        sleep(Duration::from_millis(50)).await;
    }
    let heir = commands.heir.borrow().clone();
    let counters = serde_json::to_value(commands.counters().await).unwrap_or_default();
    if let Some(heir) = heir
        && let Err(err) = ProxyClient::new(&heir.control).pass_on(Operation::Inherit { counters }).await
    {
        tracing::warn!("what was counted here is lost: {err}");
    }
}

async fn end<const N: usize>(tasks: [JoinHandle<()>; N]) {
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
}

/// Closes idle connections to instances that nobody will use.
async fn tidy(routes: Arc<Routes>) {
    let mut ticks = interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        routes.all().iter().for_each(|(_, switch)| switch.tidy());
    }
}

async fn command(control: UnixListener, commands: Arc<Commands>, door: Door) {
    loop {
        match control.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                tokio::spawn(async move {
                    if let Err(err) = commands.serve(stream, door).await {
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
