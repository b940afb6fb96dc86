//! JSON-RPC 2.0 over jsonrpsee: a method per operation, at `/rpc` (HTTP, WebSocket) and on `api.sock` (one request per line);
//! over a WebSocket `subscribe_events` tells every change.
//!
//! A refusal's numeric code is [`number`] of its code, its message `code: message`, its `data` the body every edge shows.

mod events;

use crate::{
    error::{Code, Error},
    model::{Caller, CallerKind, Via},
    operations::{Context, Progress, REQUEST_BYTES, Refused, Registry},
};
use axum::{extract::Request, response::IntoResponse, routing::MethodRouter};
use futures_util::future::BoxFuture;
use jsonrpsee::{
    Methods, RpcModule,
    server::{BatchRequestConfig, PingConfig, Server, ServerConfig, StopHandle},
    types::{ErrorCode, ErrorObjectOwned, Params},
};
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    task::JoinSet,
};
use tower::Service as _;

const CONNECTIONS: u32 = 128;
const BATCH: u32 = 64;
const SUBSCRIPTIONS: u32 = 4;
const RESPONSE_BYTES: u32 = 8 * 1024 * 1024;
const LINE_BYTES: u64 = 4 * REQUEST_BYTES as u64;

pub use jsonrpsee::server::stop_channel;

/// A method of `api.sock` beside the operations: what only people may ask, handed in by the server.
#[derive(Clone)]
pub struct Extra {
    /// The method's name.
    pub name: &'static str,
    call: Arc<Call>,
}

type Call = dyn Fn(Arc<Context>, Value) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync;

impl Extra {
    /// Returns a method that is called like this.
    pub fn new(
        name: &'static str,
        call: impl Fn(Arc<Context>, Value) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync + 'static,
    ) -> Self {
        Extra { name, call: Arc::new(call) }
    }
}

/// Returns the number that stands for a code in JSON-RPC errors: 1000 and its place in [`Code::ALL`], which only grows at its end.
pub fn number(code: Code) -> i32 {
    1000 + Code::ALL.iter().position(|&other| other == code).map_or(0, |place| place as i32)
}

/// Returns the methods of `/rpc`: the operations, called by the agent.
pub fn agent_methods(registry: &Arc<Registry>) -> Methods {
    let mut module = methods(registry, Caller { principal: "agent".into(), kind: CallerKind::Agent, via: Via::Rpc, client: None }, &[]);
    events::register(&mut module).expect("its name is no operation's");
    module.into()
}

/// Returns the methods of `api.sock`: the operations and the extras, called by the operator.
pub fn operator_methods(registry: &Arc<Registry>, extras: &[Extra]) -> Methods {
    methods(registry, Caller { principal: "operator".into(), kind: CallerKind::Operator, via: Via::ApiSocket, client: None }, extras).into()
}

fn methods(registry: &Arc<Registry>, caller: Caller, extras: &[Extra]) -> RpcModule<(Arc<Registry>, Caller)> {
    let mut module = RpcModule::new((registry.clone(), caller.clone()));
    // All of them: a call of one that is not offered says so.
    for entry in registry.known() {
        let name = entry.name;
        let call = move |params: Params<'static>, ctx: Arc<(Arc<Registry>, Caller)>, _| async move {
            let (registry, caller) = &*ctx;
            registry.call(caller.clone(), Progress::default(), name, arguments(&params)).await.map_err(refused)
        };
        module.register_async_method(name, call).expect("names of operations are unique");
    }
    for Extra { name, call } in extras {
        let (name, call) = (*name, call.clone());
        let call = move |params: Params<'static>, ctx: Arc<(Arc<Registry>, Caller)>, _| {
            let call = call.clone();
            async move {
                let (registry, caller) = &*ctx;
                let called = |ctx, params| call(ctx, params);
                registry.run(caller.clone(), Progress::default(), name, arguments(&params), called).await.map_err(refused)
            }
        };
        module.register_async_method(name, call).expect("names of extras are unique");
    }
    module
}

/// Params as they came; what is not an object is refused where all arguments are checked.
fn arguments(params: &Params<'_>) -> Value {
    params.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn refused(Refused { error, body }: Refused) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(number(error.code), format!("{}: {}", error.code, error.message), Some(body))
}

/// Returns the route that answers HTTP POST and WebSocket; who may reach it is the server's business.
pub fn route(methods: Methods, stop: StopHandle) -> MethodRouter {
    let config = ServerConfig::builder()
        .max_connections(CONNECTIONS)
        .max_request_body_size(REQUEST_BYTES as u32)
        .max_response_body_size(RESPONSE_BYTES)
        .max_subscriptions_per_connection(SUBSCRIPTIONS)
        .enable_ws_ping(PingConfig::default())
        .set_batch_request_config(BatchRequestConfig::Limit(BATCH))
        .build();
    // Built once: it owns the connection limit.
    let builder = Server::builder().set_config(config).to_service_builder();
    axum::routing::any_service(tower::service_fn(move |request: Request| {
        let mut service = builder.clone().build(methods.clone(), stop.clone());
        async move {
            Ok::<_, Infallible>(match service.call(request).await {
                Ok(response) => response.map(axum::body::Body::new).into_response(),
                Err(err) => {
                    tracing::warn!("JSON-RPC over HTTP: {err}");
                    axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
                }
            })
        }
    }))
}

/// Serves one connection of `api.sock`: a request per line, answers in the order they are ready.
pub async fn serve_lines(methods: Methods, read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut read, mut calls, mut line) = (BufReader::new(read), JoinSet::<Vec<u8>>::new(), Vec::new());
    let (mut is_open, mut skips) = (true, false);
    while is_open || !calls.is_empty() {
        let mut bounded = (&mut read).take(LINE_BYTES - line.len() as u64);
        tokio::select! {
            Some(answer) = calls.join_next() => write.write_all(&answer.map_err(std::io::Error::other)?).await?,
            // Cancel-safe: what was read so far stays in `line`.
            read = bounded.read_until(b'\n', &mut line), if is_open => {
                let (is_whole, is_too_long) = (line.ends_with(b"\n"), line.len() as u64 == LINE_BYTES && !line.ends_with(b"\n"));
                is_open = read? > 0 && (is_whole || is_too_long);
                if is_too_long && !skips {
                    let error = Error::invalid(format!("a request has more than {LINE_BYTES} bytes"));
                    tracing::warn!(code = %error.code, "refused a request over a socket: {}", error.message);
                    write.write_all(&failed(number(error.code), &format!("{}: {error}", error.code))).await?;
                } else if !skips && !line.trim_ascii().is_empty() {
                    calls.spawn(answer(methods.clone(), std::mem::take(&mut line)));
                }
                // Whoever is still sending reads the refusal only once they have sent it all.
                skips = is_too_long || skips && !is_whole;
                line.clear();
            }
        }
    }
    write.shutdown().await
}

async fn answer(methods: Methods, line: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&line) else { return failed(ErrorCode::ParseError.code(), "not UTF-8") };
    match methods.raw_json_request(text, 1).await {
        Ok((response, _)) => format!("{}\n", response.get()).into_bytes(),
        Err(_) if serde_json::from_str::<Value>(text).is_ok() => failed(ErrorCode::InvalidRequest.code(), "not a JSON-RPC 2.0 request"),
        Err(err) => failed(ErrorCode::ParseError.code(), &format!("not JSON: {err}")),
    }
}

fn failed(code: i32, message: &str) -> Vec<u8> {
    format!("{}\n", json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}})).into_bytes()
}
