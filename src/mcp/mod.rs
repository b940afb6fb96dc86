//! MCP over rmcp, both revisions from one handler: the registry's operations as tools, phases as prompts. Decides nothing.
//!
//! Legacy HTTP sessions are off (`legacy_session_mode(false)`): a session costs 50 kB, a short idle limit would cut off a
//! client whose model thinks for a minute, and every session would die with a server restart. Legacy clients work without:
//! progress comes on the answer's own stream, and nothing here asks the client anything but in an answer. So there is no session to cap.

mod completion;
#[cfg(feature = "conformance-fixtures")]
mod fixtures;
mod offers;
mod resources;

use crate::{
    error::{Code, Error},
    model::{Caller, CallerKind, Clock, SystemClock, Via},
    operations::{self, Effect, Entry, Progress, REQUEST_BYTES, Refused, Registry},
    phases::{self, Argument, Prompt as PromptText},
};
use offers::{Call, Offers};
use resources::Address;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::*,
    service::{RequestContext, ServerInitializeError, SubscriptionContext},
    transport::{
        async_rw::AsyncRwTransport,
        streamable_http_server::{StreamableHttpServerConfig, session},
    },
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest line read from a stream; longer than a request may be, so that the refusal can say why.
pub const LINE_BYTES: usize = 4 * REQUEST_BYTES;

const LIST_TTL_MS: u64 = 60_000;

/// The most resources that one subscription, or one connection, watches.
const MOST_WATCHED: usize = 64;

const INSTRUCTIONS: &str = include_str!("instructions.md");

/// MCP over HTTP, without sessions.
#[cfg(not(feature = "conformance-fixtures"))]
pub type HttpService = rmcp::transport::StreamableHttpService<Handler, session::never::NeverSessionManager>;

/// The MCP handler of one way in.
#[derive(Clone)]
pub struct Handler {
    registry: Arc<Registry>,
    phases: Arc<[PromptText]>,
    via: Via,
    watched: Watched,
    offers: Arc<Offers>,
}

impl Handler {
    /// Returns a handler over a registry and the built-in phases; every caller is the agent, come this way.
    pub fn new(registry: Arc<Registry>, phases: Arc<[PromptText]>, via: Via) -> Self {
        let clock: Arc<dyn Clock> = registry.engine().map_or_else(|| Arc::new(SystemClock) as _, |engine| engine.clock.clone());
        Handler { registry, phases, via, watched: Watched::default(), offers: Arc::new(Offers::new(clock)) }
    }

    /// Returns the handler of another way in, or of other operations, beside this one: what one was given is good once for both.
    pub fn beside(&self, registry: Arc<Registry>, via: Via) -> Self {
        Handler { registry, via, ..self.clone() }
    }

    /// Returns the built-in phases, then the project's own as they are applied now.
    async fn phases(&self) -> Vec<PromptText> {
        let own = match self.registry.engine() {
            // What cannot be read for a moment is not there for a moment.
            Some(engine) => engine.own_phases().await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.phases.iter().cloned().chain(own.iter().map(PromptText::from)).collect()
    }

    /// Returns everything a user can pick: everyday tasks first.
    async fn prompts(&self) -> Vec<PromptText> {
        phases::tasks().iter().cloned().chain(self.phases().await).collect()
    }

    /// Serves newline-delimited JSON over a stream until its end.
    pub async fn serve_stream(
        mut self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> anyhow::Result<()> {
        // Its own, although the handler was cloned: what it watches ends with it.
        self.watched = Watched::default();
        let transport = AsyncRwTransport::new_server(read, write).with_max_line_length(LINE_BYTES);
        match self.serve(transport).await {
            Ok(running) => {
                running.waiting().await?;
                Ok(())
            }
            // A client that only asks what there is, and leaves, has done nothing wrong.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }

    /// Returns the Streamable HTTP service; who may reach it is the server's business.
    #[cfg(not(feature = "conformance-fixtures"))]
    pub fn http_service(self, stop: CancellationToken) -> HttpService {
        HttpService::new(move || Ok(self.clone()), Arc::default(), http_config(stop))
    }

    fn caller(&self, ctx: &RequestContext<RoleServer>) -> Caller {
        let client = ctx.client_info().map(|client| crate::model::text::visible_line(&format!("{} {}", client.name, client.version), 80));
        Caller { client, ..self.agent() }
    }

    fn stopped(&self, name: &str, arguments: &serde_json::Value) -> serde_json::Value {
        let error = Error::new(Code::ServerUnavailable, "the server stops; what it had begun goes on when it is back");
        operations::refusal(&error, name, arguments, 1, |_| false)
    }

    fn agent(&self) -> Caller {
        Caller { principal: "agent".into(), kind: CallerKind::Agent, via: self.via, client: None }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_completions()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("interlock", env!("CARGO_PKG_VERSION")).with_title("Interlock"))
            .with_instructions(INSTRUCTIONS.trim())
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, ctx: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
        let mut list = ListToolsResult::with_all_items(self.registry.listed(&self.caller(&ctx)).map(tool).collect());
        // What is listed depends on who asks.
        (list.ttl_ms, list.cache_scope) = (Some(LIST_TTL_MS), Some(CacheScope::Private));
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.registry.find(&self.agent(), name).map(tool)
    }

    async fn call_tool(&self, request: CallToolRequestParams, ctx: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&ctx);
        // One that is there and not offered is refused like any call, with what to do.
        if !self.registry.known().iter().any(|entry| entry.name == request.name) {
            let name = crate::model::text::visible_line(&request.name, 60);
            let known: Vec<&str> = self.registry.listed(&caller).map(|entry| entry.name).collect();
            return Err(ErrorData::invalid_params(format!("unknown tool `{name}`; there are: {}", known.join(", ")), None));
        }
        let (progress, mut told) = progress_of(&ctx);
        let arguments = request.arguments.map_or(serde_json::Value::Null, serde_json::Value::Object);
        let this = Call { caller: &caller, tool: &request.name, arguments: &arguments };
        let is_retry = request.request_state.is_some() || request.input_responses.is_some();
        // Without an engine every call is refused, and says why.
        if let (Some(state), Some(_)) = (&request.request_state, self.registry.engine()) {
            self.offers.redeem(&this, state)?;
        }
        let call = self.registry.call(caller.clone(), progress, &request.name, arguments.clone());
        tokio::pin!(call);
        let outcome = loop {
            tokio::select! {
                biased;
                Some(notification) = told.recv() => { let _ = ctx.peer.notify_progress(notification).await; }
                // The client cancelled and hears nothing more, or this server stops.
                () = ctx.ct.cancelled() => return Ok(CallToolResult::structured_error(self.stopped(&request.name, &arguments)).into()),
                outcome = &mut call => break outcome,
            }
        };
        // What was told in the same breath as the answer.
        while let Ok(notification) = told.try_recv() {
            let _ = ctx.peer.notify_progress(notification).await;
        }
        let answer = outcome.as_ref().unwrap_or_else(|refused| &refused.body);
        // To look asks nobody for anything, and a retry is answered, whatever it waits for.
        let reads = self.registry.find(&caller, &request.name).is_none_or(|entry| entry.effect == Effect::Reads);
        if !is_retry
            && !reads
            && offers::opens_addresses(&ctx)
            && let Some(offer) = self.offers.of(&this, answer)
        {
            return Ok(offer.into());
        }
        Ok(match outcome {
            Ok(reply) => CallToolResult::structured(reply),
            Err(Refused { body, .. }) => CallToolResult::structured_error(body),
        }
        .into())
    }

    async fn list_prompts(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListPromptsResult, ErrorData> {
        let prompts = self.prompts().await;
        let prompts = prompts.iter().map(|prompt| {
            let argument = |argument: &Argument| {
                PromptArgument::new(&argument.name).with_description(argument.describe()).with_required(argument.default.is_none())
            };
            let arguments: Vec<PromptArgument> = prompt.arguments.iter().map(argument).collect();
            Prompt::new(&prompt.name, Some(&prompt.description), (!arguments.is_empty()).then_some(arguments)).with_title(&prompt.title)
        });
        let mut list = ListPromptsResult::with_all_items(prompts.collect());
        (list.ttl_ms, list.cache_scope) = (Some(LIST_TTL_MS), Some(CacheScope::Private));
        Ok(list)
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: RequestContext<RoleServer>) -> Result<GetPromptResponse, ErrorData> {
        match self.prompts().await.iter().find(|prompt| prompt.name == request.name) {
            Some(prompt) => {
                let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let given = request.arguments.iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect();
                let body = phases::fill(&prompt.body, &prompt.arguments, &given)
                    .map_err(|reason| ErrorData::invalid_params(format!("prompt `{}`: {reason}", prompt.name), None))?;
                let message = PromptMessage::new_text(Role::User, body);
                Ok(GetPromptResult::new(vec![message]).with_description(&prompt.description).into())
            }
            None => {
                let name = crate::model::text::visible_line(&request.name, 60);
                Err(ErrorData::invalid_params(format!("no prompt `{name}`; `prompts/list` shows what there is"), None))
            }
        }
    }

    async fn complete(&self, request: CompleteRequestParams, ctx: RequestContext<RoleServer>) -> Result<CompleteResult, ErrorData> {
        let completed = completion::complete(self, self.caller(&ctx), request).await;
        completed.map(CompleteResult::new).map_err(|err| resources::refused("", err))
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        ctx: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let cursor = request.and_then(|page| page.cursor);
        let (listed, next) = resources::list(self, self.caller(&ctx), cursor).await.map_err(|err| resources::refused("", err))?;
        let mut list = ListResourcesResult::with_all_items(listed);
        list.next_cursor = next;
        // Deployments come and go.
        (list.ttl_ms, list.cache_scope) = (Some(0), Some(CacheScope::Private));
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        ctx: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = ListResourceTemplatesResult::with_all_items(resources::templates(&self.registry, &self.caller(&ctx)));
        (list.ttl_ms, list.cache_scope) = (Some(LIST_TTL_MS), Some(CacheScope::Private));
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        ctx: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = crate::model::text::visible_line(&request.uri, 120);
        let Some(address) = Address::parse(&request.uri) else {
            let known = "`resources/templates/list` shows what there is";
            return Err(ErrorData::resource_not_found(format!("no resource `{uri}`; {known}"), Some(serde_json::json!({"uri": uri}))));
        };
        let (text, mime) = address.read(self, self.caller(&ctx)).await.map_err(|err| resources::refused(&uri, err))?;
        let mut read = ReadResourceResult::new(vec![ResourceContents::text(text, request.uri).with_mime_type(mime)]);
        (read.ttl_ms, read.cache_scope) = (Some(0), Some(CacheScope::Private));
        Ok(read.into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let ours = |uris: &Vec<String>| uris.iter().filter(|uri| Address::parse(uri).is_some()).take(MOST_WATCHED).cloned().collect();
        let mut accepted = SubscriptionFilter::new();
        accepted.resource_subscriptions = requested.resource_subscriptions.as_ref().map(ours);
        Some(accepted)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let uris = subscription.accepted().resource_subscriptions.clone().unwrap_or_default();
        let sink = subscription.sink();
        let tell = |uri| async move { sink.notify_resource_updated(uri).await.is_ok() };
        tokio::select! {
            () = resources::watch(self, self.caller(subscription.request_context()), &uris, tell), if !uris.is_empty() => {}
            () = subscription.cancelled() => {}
        }
        Ok(())
    }

    async fn subscribe(&self, request: SubscribeRequestParams, ctx: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        // Over HTTP there is no session to tell: each request stands alone.
        if self.via != Via::McpStdio {
            return Err(ErrorData::invalid_request(
                "this way in cannot push; use `subscriptions/listen` of 2026-07-28, or `get_status`",
                None,
            ));
        }
        let uri = crate::model::text::visible_line(&request.uri, 120);
        let Some(address) = Address::parse(&request.uri) else {
            return Err(ErrorData::resource_not_found(format!("no resource `{uri}`"), Some(serde_json::json!({"uri": uri}))));
        };
        let caller = self.caller(&ctx);
        address.read(self, caller.clone()).await.map_err(|err| resources::refused(&uri, err))?;
        let until = self.watched.add(&request.uri)?;
        // It holds nothing of the connection's own list: with the connection that goes, and ends this.
        let (handler, peer) = (Handler { watched: Watched::default(), ..self.clone() }, ctx.peer.clone());
        tokio::spawn(until.run_until_cancelled_owned(async move {
            let tell = |uri| {
                let peer = peer.clone();
                async move { peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await.is_ok() }
            };
            resources::watch(&handler, caller, &[request.uri], tell).await;
        }));
        Ok(())
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.watched.end(&request.uri);
        Ok(())
    }
}

/// What one connection watches, for clients of revisions before 2026-07-28; ends with the connection.
#[derive(Debug, Clone, Default)]
struct Watched(Arc<Mutex<HashMap<String, DropGuard>>>);

impl Watched {
    /// Returns what ends when the watch does.
    fn add(&self, uri: &str) -> Result<CancellationToken, ErrorData> {
        let mut watched = self.0.lock().expect("nothing panics here");
        if watched.len() >= MOST_WATCHED && !watched.contains_key(uri) {
            return Err(ErrorData::invalid_request(format!("a connection watches at most {MOST_WATCHED} resources"), None));
        }
        let until = CancellationToken::new();
        watched.insert(uri.to_owned(), until.clone().drop_guard());
        Ok(until)
    }

    fn end(&self, uri: &str) {
        self.0.lock().expect("nothing panics here").remove(uri);
    }
}

fn http_config(stop: CancellationToken) -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_max_request_body_bytes(REQUEST_BYTES)
        .with_cancellation_token(stop)
}

fn tool(entry: &Entry) -> Tool {
    let hints = entry.effect.hints();
    let schema = entry.input_schema.as_object().cloned().unwrap_or_default();
    let annotations = ToolAnnotations::new()
        .read_only(hints.read_only)
        .destructive(hints.destructive)
        .idempotent(hints.idempotent)
        .open_world(hints.open_world);
    Tool::new(entry.name, entry.manual.description.clone(), Arc::new(schema)).with_annotations(annotations)
}

/// Returns where the operation says how far it is, and what is to be sent on; silent when the client gave no token.
fn progress_of(ctx: &RequestContext<RoleServer>) -> (Progress, mpsc::Receiver<ProgressNotificationParam>) {
    let (sender, told) = mpsc::channel(16);
    let Some(token) = ctx.meta.get_progress_token() else { return (Progress::default(), told) };
    let sink = move |done: u64, total: Option<u64>, message: &str| {
        let param = ProgressNotificationParam::new(token.clone(), done as f64).with_message(message);
        // A client that reads slowly misses a line, and nothing waits for it.
        let _ = sender.try_send(match total {
            Some(total) => param.with_total(total as f64),
            None => param,
        });
    };
    (Progress::to(sink), told)
}
