//! `demo-app`: the small service the demo deploys. It shows its version, echoes, streams, and can be told to misbehave.

use anyhow::Context;
use clap::Args;
use futures_util::{
    StreamExt,
    io::{BufReader, BufWriter},
    stream,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{compat::TokioAsyncReadCompatExt, sync::CancellationToken, task::TaskTracker};

/// The response header that says which version answered, streams and echoes included.
pub const VERSION_HEADER: &str = "x-demo-version";

/// How long an answer takes to make: a service that answers in no time would hide a cut in mid-request.
const WORK: Duration = Duration::from_millis(1);

type Body = BoxBody<Bytes, hyper::Error>;

/// Arguments of `interlock demo-app`.
#[derive(Debug, Clone, Args)]
pub struct AppArgs {
    /// Port on 127.0.0.1; 0 takes a free one and prints it
    #[arg(long)]
    pub port: u16,
    /// Folder of a release: its `app.json` says version and fault
    #[arg(long, required_unless_present = "app_version", conflicts_with_all = ["app_version", "fault"])]
    pub release: Option<PathBuf>,
    /// Version to show
    #[arg(long = "version", id = "app_version", value_name = "VERSION")]
    pub version: Option<String>,
    /// How to misbehave
    #[arg(long, value_enum, default_value_t)]
    pub fault: Fault,
}

/// What a release of the service consists of: the content of its `app.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRelease {
    /// The version it shows.
    pub version: String,
    /// How it misbehaves.
    #[serde(default)]
    pub fault: Fault,
}

/// How the service misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Wrong answers, with 500, to what a proxy forwarded, and only where `MODE=live`: what no check before the switch can see.
    LiveForwarded,
    /// Wrong answers, with 500, to everything but health and version.
    Wrong,
    /// 500 to everything.
    Broken,
}

impl AppRelease {
    /// Reads `app.json` from a release's folder.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("app.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading `{}`", path.display()))
    }

    /// Writes `app.json` into a release's folder, which is created.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join("app.json");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, serde_json::to_vec_pretty(self)?))
            .with_context(|| format!("writing `{}`", path.display()))
    }
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
pub async fn run(args: AppArgs) -> anyhow::Result<ExitCode> {
    let release = match (&args.release, args.version) {
        (Some(folder), _) => AppRelease::read(folder)?,
        (None, version) => AppRelease { version: version.unwrap_or_default(), fault: args.fault },
    };
    let live = std::env::var("MODE").is_ok_and(|mode| mode == "live");
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.with_context(|| format!("listening on 127.0.0.1:{}", args.port))?;
    println!("listening on {}", listener.local_addr()?);

    let stop = CancellationToken::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! { _ = terminate.recv() => (), _ = tokio::signal::ctrl_c() => () }
            stop.cancel();
        }
    });
    serve(listener, App { release, live }, stop).await;
    Ok(ExitCode::SUCCESS)
}

/// Requests that this process has greeted.
static GREETED: AtomicU64 = AtomicU64::new(0);

/// The service: what it is, and whether it believes to be in production.
#[derive(Debug, Clone)]
pub struct App {
    /// Version and fault.
    pub release: AppRelease,
    /// Whether `MODE` is `live`.
    pub live: bool,
}

/// Serves `app` until `stop`, then finishes what is in flight: requests to their last byte, websockets by a close frame.
pub async fn serve(listener: TcpListener, app: App, stop: CancellationToken) {
    let (app, tracker) = (Arc::new(app), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tracker.spawn(serve_connection(stream, app.clone(), stop.clone(), tracker.clone()));
            }
            // Out of descriptors: accepting again at once would spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

async fn serve_connection(stream: TcpStream, app: Arc<App>, stop: CancellationToken, tracker: TaskTracker) {
    let service = {
        let stop = stop.clone();
        service_fn(move |request| {
            let (app, stop, tracker) = (app.clone(), stop.clone(), tracker.clone());
            async move { Ok::<_, Infallible>(app.answer(request, stop, tracker).await) }
        })
    };
    let _ = stream.set_nodelay(true);
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl App {
    async fn answer(&self, request: Request<Incoming>, stop: CancellationToken, tracker: TaskTracker) -> Response<Body> {
        tokio::time::sleep(WORK).await;
        let version = &self.release.version;
        let mut response = match (request.method(), request.uri().path()) {
            _ if self.release.fault == Fault::Broken => text(StatusCode::INTERNAL_SERVER_ERROR, "broken\n"),
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/version") => json(&serde_json::json!({ "version": version })),
            (&Method::GET, "/ws") => websocket(request, stop, tracker),
            // Health and version stay right: only who looks at the answers themselves can tell.
            _ if self.misbehaves(&request) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("wrong answer from {version}\n")),
            (&Method::GET, "/") => {
                GREETED.fetch_add(1, Ordering::Relaxed);
                text(StatusCode::OK, format!("hello from {version}\n"))
            }
            (&Method::GET, "/metrics") => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics().into()),
            (&Method::POST, "/echo") => Response::new(request.into_body().boxed()),
            (&Method::GET, "/events") => events(request.uri().query().unwrap_or_default()),
            _ => text(StatusCode::NOT_FOUND, "no such page\n"),
        };
        if let Ok(version) = HeaderValue::from_str(version) {
            response.headers_mut().insert(VERSION_HEADER, version);
        }
        response
    }

    fn misbehaves(&self, request: &Request<Incoming>) -> bool {
        match self.release.fault {
            Fault::None => false,
            Fault::LiveForwarded => self.live && request.headers().contains_key("x-forwarded-for"),
            Fault::Wrong | Fault::Broken => true,
        }
    }
}

/// Returns what the app counts, as Prometheus reads it.
fn metrics() -> String {
    let greeted = GREETED.load(Ordering::Relaxed);
    format!(
        "# HELP demo_greetings_total Requests that were greeted.\n# TYPE demo_greetings_total counter\ndemo_greetings_total {greeted}\n"
    )
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn json(value: &serde_json::Value) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", value.to_string().into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Streams `n` events, one every `ms` milliseconds.
fn events(query: &str) -> Response<Body> {
    let number = |name: &str, default: u64, most: u64| {
        let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        value.and_then(|(_, value)| value.parse().ok()).unwrap_or(default).min(most)
    };
    let (count, pause) = (number("n", 5, 10_000), Duration::from_millis(number("ms", 20, 60_000)));
    let stream = stream::iter(0..count).then(move |index| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(format!("id: {index}\ndata: event {index}\n\n"))))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn websocket(request: Request<Incoming>, stop: CancellationToken, tracker: TaskTracker) -> Response<Body> {
    let mut handshake = soketto::handshake::http::Server::new();
    let Ok(response) = handshake.receive_request(&request) else {
        return text(StatusCode::BAD_REQUEST, "a websocket handshake is needed\n");
    };
    tracker.spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let stream = BufReader::new(BufWriter::new(TokioIo::new(upgraded).compat()));
        let (mut sender, mut receiver) = handshake.into_builder(stream).finish();
        let mut message = Vec::new();
        loop {
            message.clear();
            let received = tokio::select! {
                received = receiver.receive_data(&mut message) => received,
                () = stop.cancelled() => break,
            };
            let sent = match received {
                Ok(soketto::Data::Text(_)) => sender.send_text(String::from_utf8_lossy(&message)).await,
                Ok(soketto::Data::Binary(_)) => sender.send_binary(&message).await,
                // The close frame is answered by the library.
                Err(_) => return,
            };
            if sent.is_err() || sender.flush().await.is_err() {
                return;
            }
        }
        let _ = sender.close().await;
    });
    response.map(|()| Full::default().map_err(|never| match never {}).boxed())
}

/// Returns where a running service listens: the address in the first line it prints.
pub fn printed_address(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("listening on ")?.parse().ok()
}
