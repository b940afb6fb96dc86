//! MCP over rmcp, both revisions from one handler: the registry's operations as tools, phases as prompts. Decides nothing.
//!
//! Legacy HTTP sessions are off (`legacy_session_mode(false)`): a session costs 50 kB, a short idle limit would cut off a
//! client whose model thinks for a minute, and every session would die with a server restart. Legacy clients work without:
//! progress comes on the answer's own stream, and nothing here asks the client anything. So there is no session to cap.

use crate::{
    error::{Code, Error},
    model::{Caller, CallerKind, Via},
    operations::{self, Entry, Progress, REQUEST_BYTES, Refused, Registry},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::*,
    service::{RequestContext, ServerInitializeError},
    transport::{
        async_rw::AsyncRwTransport,
        streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager},
    },
};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// The longest line read from a stream; longer than a request may be, so that the refusal can say why.
pub const LINE_BYTES: usize = 4 * REQUEST_BYTES;

const LIST_TTL_MS: u64 = 60_000;
const INSTRUCTIONS: &str = include_str!("instructions.md");

/// A prompt of the server: one deployment phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptText {
    /// `phase-06`.
    pub name: String,
    /// For people.
    pub title: String,
    /// One line.
    pub description: String,
    /// The guidance, Markdown.
    pub body: String,
}

/// The MCP handler of one way in.
#[derive(Clone)]
pub struct Handler {
    registry: Arc<Registry>,
    prompts: Arc<[PromptText]>,
    via: Via,
}

impl Handler {
    /// Returns a handler over a registry; every caller is the agent, come this way.
    pub fn new(registry: Arc<Registry>, prompts: Arc<[PromptText]>, via: Via) -> Self {
        Handler { registry, prompts, via }
    }

    /// Serves newline-delimited JSON over a stream until its end.
    pub async fn serve_stream(
        self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> anyhow::Result<()> {
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
    pub fn http_service(self, stop: CancellationToken) -> StreamableHttpService<Self, NeverSessionManager> {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_max_request_body_bytes(REQUEST_BYTES)
            .with_cancellation_token(stop);
        StreamableHttpService::new(move || Ok(self.clone()), Arc::new(NeverSessionManager::default()), config)
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
        let capabilities = ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
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
        let call = self.registry.call(caller, progress, &request.name, arguments.clone());
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
        Ok(match outcome {
            Ok(reply) => CallToolResult::structured(reply),
            Err(Refused { body, .. }) => CallToolResult::structured_error(body),
        }
        .into())
    }

    async fn list_prompts(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListPromptsResult, ErrorData> {
        let prompts =
            self.prompts.iter().map(|prompt| Prompt::new(&prompt.name, Some(&prompt.description), None).with_title(&prompt.title));
        let mut list = ListPromptsResult::with_all_items(prompts.collect());
        (list.ttl_ms, list.cache_scope) = (Some(LIST_TTL_MS), Some(CacheScope::Private));
        Ok(list)
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: RequestContext<RoleServer>) -> Result<GetPromptResponse, ErrorData> {
        match self.prompts.iter().find(|prompt| prompt.name == request.name) {
            Some(prompt) => {
                let message = PromptMessage::new_text(Role::User, &prompt.body);
                Ok(GetPromptResult::new(vec![message]).with_description(&prompt.description).into())
            }
            None => {
                let name = crate::model::text::visible_line(&request.name, 60);
                Err(ErrorData::invalid_params(format!("no prompt `{name}`; `prompts/list` shows what there is"), None))
            }
        }
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = crate::model::text::visible_line(&request.uri, 120);
        Err(ErrorData::resource_not_found(format!("no resource `{uri}`; there are none yet"), Some(serde_json::json!({"uri": uri}))))
    }
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
