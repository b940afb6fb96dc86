//! `interlock serve`: one server per workspace, its two sockets and its one loopback listener. Composes what lies below; decides nothing.

mod exposition;
mod guard;
mod hold;
mod identity;
mod metrics;
mod people;
mod record;

pub use hold::Hold;
use hold::Taken;
pub use identity::{Running, start_time_of};
use record::Record;

use crate::{
    config::Workspace,
    engine::{Engine, adapters::RealAdapters},
    error::{Code, Error},
    mcp,
    model::{Clock, Sha256, SystemClock, Via},
    operations::{Registry, Toolset, asked_in},
    phases,
    rpc::{self, Extra},
    store::Store,
    telemetry,
    web::{self, Doors, Pages},
};
use axum::{
    Json, Router,
    http::{StatusCode, header},
    middleware,
    routing::get,
};
use serde_json::json;
use std::{fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader},
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long open connections may take to end after a stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The workspace.
    pub workspace: Workspace,
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it waits for the end of a server that runs in the workspace, and takes over from it.
    pub standby: bool,
    /// The toolsets agents are offered, and none beside; when absent the core, and to those who ask every other.
    pub toolsets: Option<Vec<Toolset>>,
}

/// What a server offers.
pub struct Offer {
    /// The operations.
    pub registry: Arc<Registry>,
    /// Further methods of `api.sock`.
    pub extras: Vec<Extra>,
    /// The phases.
    pub phases: Arc<[phases::Prompt]>,
}

/// Serves a workspace until SIGTERM or SIGINT.
pub async fn run(options: ServeOptions) -> Result<(), Error> {
    let stop = stop_on_signals().map_err(Error::internal)?;
    let workspace = &options.workspace;
    prepare(workspace)?;
    let Taken { hold, ended } = match options.standby {
        true => match stop.run_until_cancelled(hold::wait(workspace)).await {
            Some(taken) => taken?,
            None => return Ok(()),
        },
        false => Taken { hold: Hold::take(workspace).await?, ended: None },
    };
    telemetry::to_files(&workspace.logs_dir(), "server").map_err(Error::internal)?;
    if let Some(process) = ended {
        tracing::warn!("the server before, process {process}, did not answer any more: it was ended, and this one goes on");
    }
    let clock = Arc::new(SystemClock);
    let record = Record::of(workspace)?;
    let _own = record.hold().await?;
    let store = Store::open(&record.url, clock.clone()).await?;
    record.note(workspace)?;
    let exe = std::env::current_exe().map_err(Error::internal)?;
    let adapters = Box::new(RealAdapters::new(exe, workspace.clone(), clock.clone()));
    let engine = Engine::new(workspace.clone(), store, clock, adapters);
    // After the database: a caller that reaches a socket reaches a server that can answer, and one that cannot open it says why.
    let bound = Bound::over(hold, workspace, options.listen).await?;
    engine.start().await?;
    let registry = Registry::over(engine.clone());
    let registry = Arc::new(match &options.toolsets {
        Some(toolsets) => registry.offering(toolsets),
        None => registry,
    });
    let served = bound
        .serve(Offer { registry, extras: people::methods(), phases: phases::all().iter().map(phases::Prompt::from).collect() }, stop)
        .await;
    engine.shut_down().await;
    engine.store.close().await;
    // The hold goes last: until here no other server may start in this workspace.
    served.map(drop)
}

fn prepare(workspace: &Workspace) -> Result<(), Error> {
    workspace.prepare().map_err(|err| Error::new(Code::TargetFailed, format!("{err:#}")))
}

/// The workspace's hold, sockets and listener, held and not yet served.
pub struct Bound {
    workspace: Workspace,
    token: String,
    tcp: TcpListener,
    address: SocketAddr,
    agent: UnixListener,
    api: UnixListener,
    // Last, so that the sockets are closed before another server may start.
    hold: Hold,
}

impl Bound {
    /// Takes the workspace; `server_running` when another server holds it.
    pub async fn bind(options: &ServeOptions) -> Result<Self, Error> {
        prepare(&options.workspace)?;
        Self::over(Hold::take(&options.workspace).await?, &options.workspace, options.listen).await
    }

    async fn over(hold: Hold, workspace: &Workspace, listen: SocketAddr) -> Result<Self, Error> {
        if !listen.ip().is_loopback() {
            return Err(Error::invalid(format!("`{listen}` is not a loopback address; the server listens on this machine only")));
        }
        let token = workspace.token().map_err(|err| Error::new(Code::TargetFailed, format!("{err:#}")))?;
        let tcp = TcpListener::bind(listen).await.map_err(|err| match err.kind() {
            io::ErrorKind::AddrInUse => Error::new(Code::PortTaken, format!("`{listen}` is taken by another process")),
            _ => Error::invalid(format!("cannot listen on `{listen}`: {err}")),
        })?;
        let address = tcp.local_addr().map_err(Error::internal)?;
        Running::this(address).write(workspace).map_err(|err| cannot("write", &workspace.server_file(), &err))?;
        let (agent, api) = (socket(&workspace.agent_socket())?, socket(&workspace.api_socket())?);
        Ok(Bound { workspace: workspace.clone(), token, tcp, address, agent, api, hold })
    }

    /// Returns the loopback address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; afterwards nothing is left behind but the hold, which is returned: whoever has it keeps other servers out.
    pub async fn serve(self, offer: Offer, stop: CancellationToken) -> Result<Hold, Error> {
        let Bound { workspace, token, tcp, address, agent, api, hold } = self;
        let Offer { registry, extras, phases } = offer;
        let origin = web::origin(address.port());
        let registry = Arc::new(registry.with_pages_at(&origin));
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving `{}`", workspace.root.display());

        let connections = TaskTracker::new();
        let over_http = mcp::Handler::new(registry.clone(), phases, Via::McpHttp);
        let over_socket = over_http.beside(registry.clone(), Via::McpStdio);
        let offered = registry.clone();
        connections.spawn(accept(agent, connections.clone(), stop.clone(), move |stream| {
            let (read, write) = stream.into_split();
            let (offered, handler) = (offered.clone(), over_socket.clone());
            async move {
                let mut read = BufReader::new(read);
                let handler = match toolsets_of(&mut read).await {
                    Some(toolsets) => handler.beside(Arc::new(offered.asked_for(&toolsets)), Via::McpStdio),
                    None => handler,
                };
                if let Err(err) = handler.serve_stream(read, write).await {
                    tracing::warn!("a connection to agent.sock ended: {err:#}");
                }
            }
        }));
        let clock: Arc<dyn Clock> = registry.engine().map_or_else(|| Arc::new(SystemClock) as _, |engine| engine.clock.clone());
        let pages = Pages::new(registry.clone(), Doors::new(clock), address.port(), stop.clone());
        if let Some(engine) = registry.engine() {
            engine.pages_are_at(&origin);
        }
        let extras: Vec<Extra> = extras.into_iter().chain([people::open(pages.clone())]).collect();
        let methods = rpc::operator_methods(&registry, &extras);
        connections.spawn(accept(api, connections.clone(), stop.clone(), move |stream| {
            let (read, write) = stream.into_split();
            let served = rpc::serve_lines(methods.clone(), read, write);
            async move {
                if let Err(err) = served.await {
                    tracing::debug!("a connection to api.sock ended: {err}");
                }
            }
        }));

        let (stop_handle, rpc_server) = rpc::stop_channel();
        let over_http = over_http.http_service(stop.clone());
        let guarding = guard::Guard { port: address.port(), token: Arc::new(Sha256::of(token.as_bytes())) };
        let (measured, known) = (workspace.clone(), registry.engine().cloned());
        let metrics = async move || ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics::text(&measured, known.as_deref()).await);
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { Json(json!({"state": "serving", "version": env!("CARGO_PKG_VERSION")})) }))
            .route("/rpc", rpc::route(rpc::agent_methods(&registry), stop_handle))
            .route_service("/mcp", over_http)
            // Said in so many words, so that what is no path of ours asks for the token, too, whatever is merged below.
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(middleware::from_fn_with_state(guarding.clone(), guard::token))
            .merge(web::routes(pages))
            .layer(middleware::from_fn_with_state(guarding, guard::place));
        let stopped = stop.clone();
        let http = axum::serve(tcp, router).with_graceful_shutdown(async move {
            stopped.cancelled().await;
            let _ = rpc_server.stop();
        });
        let http = connections.spawn(http.into_future());

        stop.cancelled().await;
        tracing::info!("stopping");
        connections.close();
        if tokio::time::timeout(PATIENCE, connections.wait()).await.is_err() {
            tracing::warn!("connections still open after {PATIENCE:?} were cut");
            http.abort();
        }
        for path in [workspace.agent_socket(), workspace.api_socket(), workspace.server_file(), workspace.discovery_file()] {
            let _ = fs::remove_file(path);
        }
        tracing::info!("stopped");
        Ok(hold)
    }
}

/// Returns the toolsets that a connection asks for in its first line, if it does: no message of MCP begins with a letter.
async fn toolsets_of(read: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<Toolset>> {
    let begins = read.fill_buf().await.ok()?.first().copied()?;
    if !begins.is_ascii_lowercase() {
        return None;
    }
    let mut line = String::new();
    read.take(200).read_line(&mut line).await.ok()?;
    asked_in(&line)
}

/// Accepts connections until `stop`, which also ends those that are open.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: UnixListener,
    connections: TaskTracker,
    stop: CancellationToken,
    serve: impl Fn(UnixStream) -> F,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let (served, stop) = (serve(stream), stop.clone());
                connections.spawn(async move {
                    stop.run_until_cancelled(served).await;
                });
            }
            Err(err) => {
                // Out of file descriptors, most likely: waiting is all that helps.
                tracing::warn!("accepting a connection: {err}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Binds a socket for this user alone; the lock is held, so one that is there is stale.
fn socket(path: &Path) -> Result<UnixListener, Error> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(|err| cannot("bind", path, &err))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|err| cannot("protect", path, &err))?;
    Ok(listener)
}

fn cannot(act: &str, path: &Path, err: &io::Error) -> Error {
    let code = if err.kind() == io::ErrorKind::StorageFull { Code::DiskFull } else { Code::TargetFailed };
    Error::new(code, format!("cannot {act} `{}`: {err}", path.display()))
}

fn stop_on_signals() -> io::Result<CancellationToken> {
    // A write beyond RLIMIT_FSIZE would end the server; with a handler it fails like one on a full disk, and is refused.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        stopping.cancel();
    });
    Ok(stop)
}
