//! A real proxy, instances that speak HTTP in this process, and what a client needs.

use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use interlock::{
    model::{Epoch, Split, split::Share},
    proxy::{HolderIdentity, ProxyClient},
    targets::{Router, proxy_router::ProxyRouter},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    convert::Infallible,
    future::Future,
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::sleep,
};

pub const EXE: &str = env!("CARGO_BIN_EXE_interlock");

/// A proxy with a folder of its own; ended with the test.
pub struct World {
    pub dir: TempDir,
    pub listen: SocketAddr,
    pub router: ProxyRouter,
    pub client: ProxyClient,
    holder: Option<Child>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = free_address();
        let control = dir.path().join("control.sock");
        let router = ProxyRouter::new(EXE.into(), dir.path().to_owned(), listen, control.clone());
        World { listen, router, client: ProxyClient::new(control), dir, holder: None }
    }

    /// Starts the holder as a child of the test, with a planted fault.
    pub async fn with_fault(fault: &str) -> Self {
        let mut world = World::new();
        let mut command = Command::new(EXE);
        command.arg("proxy").arg("--dir").arg(world.dir.path()).args(["--listen", &world.listen.to_string()]);
        command.arg("--control").arg(world.dir.path().join("control.sock")).env(fault, "1").stdin(Stdio::null());
        world.holder = Some(command.spawn().unwrap());
        eventually("the proxy runs", async || world.router.is_running().await).await;
        world
    }

    pub async fn serve(&self, instances: &[(&Backend, u32)], epoch: i64) {
        self.router.set(&split(instances), Epoch(epoch)).await.unwrap();
    }

    pub async fn worker(&self) -> i32 {
        self.client.version().await.unwrap().worker
    }

    pub fn holder(&self) -> HolderIdentity {
        HolderIdentity::read(self.dir.path()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(holder) = HolderIdentity::read(self.dir.path()).filter(HolderIdentity::is_alive) {
            kill(holder.pid, Signal::TERM);
        }
        if let Some(holder) = &mut self.holder {
            let _ = holder.wait();
        }
    }
}

pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

pub fn free_address() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn split(instances: &[(&Backend, u32)]) -> Split {
    let share = |(backend, weight): &(&Backend, u32)| Share {
        instance: format!("i-{}", backend.version).into(),
        address: backend.address,
        version: backend.version.clone(),
        weight: *weight,
    };
    Split(instances.iter().map(share).collect())
}

/// Waits for an event, never for a time.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within 40 s: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// An instance: killed like a process when dropped, with every connection it has.
pub struct Backend {
    pub version: String,
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Backend {
    pub fn start(version: &str) -> Self {
        let owned = version.to_owned();
        Backend::run(version, move |stream| {
            let version = owned.clone();
            let service = service_fn(move |request| {
                let version = version.clone();
                async move { respond(version, request).await }
            });
            Box::pin(async move { _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await })
        })
    }

    /// Starts an instance that treats each connection as told.
    pub fn run<F>(version: &str, connection: F) -> Self
    where
        F: Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream));
            }
        });
        Backend { version: version.to_owned(), address, runtime: Some(runtime) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

type Answer = Either<Full<Bytes>, Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send>>>;

async fn respond(version: String, mut request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let text = |text: String| Response::new(Either::Left(Full::from(text)));
    let events = |count: usize, kind: &str| {
        let event = |index| async move {
            sleep(Duration::from_millis(15)).await;
            Ok(Frame::data(Bytes::from(format!("data: {index}\n\n"))))
        };
        let body: Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send>> =
            Box::pin(StreamBody::new(stream::iter(0..count).then(event)));
        Response::builder().header("content-type", kind).body(Either::Right(body)).unwrap()
    };
    Ok(match request.uri().path() {
        "/echo" => {
            let body = request.body_mut().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            text(format!("{version}:{}", body.len()))
        }
        "/events" => events(5, "text/event-stream"),
        "/endless-events" => events(usize::MAX, "text/event-stream; charset=utf-8"),
        "/endless-download" => events(usize::MAX, "application/octet-stream"),
        "/headers" => text(request.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()),
        "/private" => {
            let response = Response::builder().header("connection", "x-private").header("x-private", "1").header("keep-alive", "5");
            response.header("x-interlock-error", "mine").body(Either::Left(Full::default())).unwrap()
        }
        "/slow" => {
            sleep(Duration::from_millis(1500)).await;
            text(version)
        }
        "/broken" => Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(Either::Left(Full::default())).unwrap(),
        "/silent" => std::future::pending().await,
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                while let Ok((opcode, payload)) = read_frame(&mut stream).await {
                    let frame = [&[0x80 | opcode, payload.len() as u8], &payload[..]].concat();
                    if stream.write_all(&frame).await.is_err() || opcode == 8 {
                        break;
                    }
                }
            });
            let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
            response.body(Either::Left(Full::default())).unwrap()
        }
        _ => text(version),
    })
}

/// Reads one short frame, unmasked.
pub async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await?;
    let mut mask = [0; 4];
    if header[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::from(header[1] & 0x7f)];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((header[0] & 0x0f, payload))
}

/// A client's websocket.
pub struct Socket(TcpStream);

impl Socket {
    pub async fn open(listen: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(listen).await?;
        let asks = "GET /ws HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(asks.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        anyhow::ensure!(head.starts_with(b"HTTP/1.1 101"), "not upgraded: {}", String::from_utf8_lossy(&head));
        Ok(Socket(stream))
    }

    pub async fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.0.write_all(&[&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()).await
    }

    pub async fn receive(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        read_frame(&mut self.0).await
    }

    /// Says goodbye and returns the code that comes back.
    pub async fn close(mut self) -> std::io::Result<Vec<u8>> {
        self.0.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await?;
        loop {
            if let (8, code) = self.receive().await? {
                return Ok(code);
            }
        }
    }
}

/// A client's connection, kept alive.
pub struct Browser(SendRequest<Full<Bytes>>);

impl Browser {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(async move { _ = connection.await });
        Ok(Browser(sender))
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub async fn send(&mut self, request: http::request::Builder, body: Vec<u8>) -> anyhow::Result<Response<Incoming>> {
        self.0.ready().await?;
        let mut request = request.body(Full::from(body))?;
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("shop.test"));
        Ok(self.0.send_request(request).await?)
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<Response<String>> {
        let (head, body) = self.send(Request::get(path), Vec::new()).await?.into_parts();
        Ok(Response::from_parts(head, String::from_utf8(body.collect().await?.to_bytes().to_vec())?))
    }
}

/// Asks one host.
pub async fn get_from(address: SocketAddr, host: &str) -> anyhow::Result<Response<String>> {
    let mut browser = Browser::connect(address).await?;
    let (head, body) = browser.send(Request::get("/").header("host", host), Vec::new()).await?.into_parts();
    Ok(Response::from_parts(head, String::from_utf8(body.collect().await?.to_bytes().to_vec())?))
}

pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response<String>> {
    Browser::connect(address).await?.get(path).await
}
