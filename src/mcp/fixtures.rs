//! What the official conformance suite asks a server under test to have: tools, prompts and resources that mean nothing, beside the real
//! ones and through the same transport. Only a build with the feature `conformance-fixtures` has them, and `tests/conformance.rs` makes it.

use super::{Handler, http_config, session::local::LocalSessionManager};
use crate::model::Sha256;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{PaginatedRequestParams as Page, *},
    service::{RequestContext, SubscriptionContext},
    transport::StreamableHttpService,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// A PNG of one pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// A WAV without a sample.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// How long a tool takes between two things it says.
const BREATH: std::time::Duration = std::time::Duration::from_millis(50);

#[rustfmt::skip]
const TOOLS: &[&str] = &[
    "test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource", "test_multiple_content_types",
    "test_error_handling", "test_tool_with_logging", "test_tool_with_progress", "test_logging_tool", "test_sampling", "test_elicitation",
    "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums", "test_missing_capability", "test_streaming_elicitation",
    "test_input_required_result_elicitation", "test_input_required_result_sampling", "test_input_required_result_list_roots",
    "test_input_required_result_request_state", "test_input_required_result_multiple_inputs", "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state", "test_input_required_result_capabilities",
];

const PROMPTS: &[&str] = &[
    "test_simple_prompt",
    "test_prompt_with_arguments",
    "test_prompt_with_embedded_resource",
    "test_prompt_with_image",
    "test_input_required_result_prompt",
];

type Asked = RequestContext<RoleServer>;

/// The handler, and what the suite asks for beside it.
#[derive(Clone)]
pub struct WithFixtures(Handler);

impl Handler {
    /// Returns the Streamable HTTP service with fixtures. Clients of revisions before 2026-07-28 get a session here: the suite has tools
    /// ask them back, which nothing of ours does.
    pub fn http_service(self, stop: CancellationToken) -> StreamableHttpService<WithFixtures, LocalSessionManager> {
        let config = http_config(stop).with_legacy_session_mode(true);
        StreamableHttpService::new(move || Ok(WithFixtures(self.clone())), Arc::default(), config)
    }
}

impl ServerHandler for WithFixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.0.get_info();
        info.capabilities.logging = Some(JsonObject::new());
        info
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Asked) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_tools(&self, page: Option<Page>, ctx: Asked) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.0.list_tools(page, ctx).await?;
        list.tools.extend(TOOLS.iter().map(|name| tool(name)));
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.contains(&name).then(|| tool(name)).or_else(|| self.0.get_tool(name))
    }

    async fn call_tool(&self, request: CallToolRequestParams, ctx: Asked) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.to_string();
        if !TOOLS.contains(&name.as_str()) {
            return self.0.call_tool(request, ctx).await;
        }
        let rounds = rounds(&name, &ctx);
        if !rounds.is_empty() {
            let answers = request.input_responses.unwrap_or_default();
            return Ok(match next_round(&name, &rounds, request.request_state.as_deref(), &answers)? {
                Some(asked) => asked.into(),
                None => said("state-ok: everything asked was answered"),
            });
        }
        let argument = |name: &str| request.arguments.as_ref().and_then(|given| given.get(name)).cloned().unwrap_or_default();
        Ok(match name.as_str() {
            "test_image_content" => content(json!([image()])),
            "test_audio_content" => content(json!([{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }])),
            "test_embedded_resource" => content(json!([embedded("test://embedded-resource", "This is an embedded resource content.")])),
            "test_multiple_content_types" => {
                content(json!([text("Multiple content types test:"), image(), embedded("test://mixed-content-resource", "mixed")]))
            }
            "test_error_handling" => result::<CallToolResult>(json!({ "content": [text("It always fails")], "isError": true })).into(),
            "test_tool_with_logging" => {
                log(&ctx, &["Tool execution started", "Tool processing data", "Tool execution completed"]).await;
                said("logged")
            }
            "test_logging_tool" => {
                // Only who asks for a level is told.
                if ctx.meta.get("io.modelcontextprotocol/logLevel").is_some() {
                    log(&ctx, &["asked for"]).await;
                }
                said("logged")
            }
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    if let Some(token) = ctx.meta.get_progress_token() {
                        let _ = ctx.peer.notify_progress(ProgressNotificationParam::new(token, done).with_total(100.0)).await;
                    }
                    tokio::time::sleep(BREATH).await;
                }
                said("done")
            }
            "test_sampling" => said(&ask(&ctx, sampling(argument("prompt").as_str().unwrap_or("Hello"))).await?),
            "test_elicitation" => {
                let properties = json!({ "username": { "type": "string" }, "email": { "type": "string" } });
                said(&ask(&ctx, form(argument("message").as_str().unwrap_or("Who?"), properties, &["username", "email"])).await?)
            }
            "test_elicitation_sep1034_defaults" => said(&ask(&ctx, form("All have defaults", defaults(), &[])).await?),
            "test_elicitation_sep1330_enums" => said(&ask(&ctx, form("Choose", choices(), &[])).await?),
            "test_missing_capability" => match ctx.client_capabilities().is_some_and(|can| can.sampling.is_some()) {
                true => said("it was declared"),
                false => return Err(ErrorData::missing_required_client_capability(read(json!({ "sampling": {} })))),
            },
            _ => said("This is a simple text response for testing."),
        })
    }

    async fn list_prompts(&self, page: Option<Page>, ctx: Asked) -> Result<ListPromptsResult, ErrorData> {
        let mut list = self.0.list_prompts(page, ctx).await?;
        list.prompts.extend(PROMPTS.iter().map(|name| {
            let arguments = [("arg1", true), ("arg2", true)].map(|(name, is_required)| json!({ "name": name, "required": is_required }));
            let arguments = if *name == "test_prompt_with_arguments" { &arguments[..] } else { &[] };
            read(json!({ "name": name, "description": "A fixture of the conformance suite", "arguments": arguments }))
        }));
        Ok(list)
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, ctx: Asked) -> Result<GetPromptResponse, ErrorData> {
        let name = request.name.as_str();
        if !PROMPTS.contains(&name) {
            return self.0.get_prompt(request, ctx).await;
        }
        let rounds = rounds(name, &ctx);
        let answers = request.input_responses.clone().unwrap_or_default();
        if let Some(asked) = next_round(name, &rounds, request.request_state.as_deref(), &answers)? {
            return Ok(asked.into());
        }
        let given =
            |name: &str| request.arguments.as_ref().and_then(|given| given.get(name)?.as_str().map(str::to_owned)).unwrap_or_default();
        let contents = match name {
            "test_prompt_with_arguments" => {
                vec![text(&format!("Prompt with arguments: arg1='{}', arg2='{}'", given("arg1"), given("arg2")))]
            }
            "test_prompt_with_embedded_resource" => {
                let uri = given("resourceUri");
                vec![
                    embedded(if uri.is_empty() { "test://example-resource" } else { &uri }, "Embedded resource content for testing."),
                    text("It."),
                ]
            }
            "test_prompt_with_image" => vec![image(), text("Please analyze the image above.")],
            _ => vec![text("This is a simple prompt for testing.")],
        };
        let messages: Vec<Value> = contents.into_iter().map(|content| json!({ "role": "user", "content": content })).collect();
        Ok(result::<GetPromptResult>(json!({ "messages": messages })).into())
    }

    async fn complete(&self, request: CompleteRequestParams, ctx: Asked) -> Result<CompleteResult, ErrorData> {
        match &request.r#ref {
            Reference::Prompt(prompt) if PROMPTS.contains(&prompt.name.as_str()) => {
                let values = ["paris", "park", "party", "test"].iter().filter(|value| value.starts_with(&request.argument.value));
                Ok(result(json!({ "completion": { "values": values.collect::<Vec<_>>(), "hasMore": false } })))
            }
            _ => self.0.complete(request, ctx).await,
        }
    }

    async fn list_resources(&self, page: Option<Page>, ctx: Asked) -> Result<ListResourcesResult, ErrorData> {
        let mut list = self.0.list_resources(page, ctx).await?;
        if list.next_cursor.is_none() {
            let all =
                [("test://static-text", "text/plain"), ("test://static-binary", "image/png"), ("test://watched-resource", "text/plain")];
            list.resources.extend(all.map(|(uri, mime)| read(json!({ "uri": uri, "name": uri, "mimeType": mime }))));
        }
        Ok(list)
    }

    async fn list_resource_templates(&self, page: Option<Page>, ctx: Asked) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = self.0.list_resource_templates(page, ctx).await?;
        let template = json!({ "uriTemplate": "test://template/{id}/data", "name": "template", "mimeType": "application/json" });
        list.resource_templates.push(read(template));
        Ok(list)
    }

    async fn read_resource(&self, request: ReadResourceRequestParams, ctx: Asked) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let content = match (uri, id) {
            ("test://static-text" | "test://watched-resource", _) => {
                json!({ "uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource." })
            }
            ("test://static-binary", _) => json!({ "uri": uri, "mimeType": "image/png", "blob": PNG }),
            (_, Some(id)) => {
                let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                json!({ "uri": uri, "mimeType": "application/json", "text": data.to_string() })
            }
            _ => return self.0.read_resource(request, ctx).await,
        };
        let mut read: ReadResourceResult = result(json!({ "contents": [content] }));
        (read.ttl_ms, read.cache_scope) = (Some(0), Some(CacheScope::Private));
        Ok(read.into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.0.accepted_subscription_filter(requested)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        self.0.listen(subscription).await
    }

    // The suite subscribes over HTTP, where this server has nobody to tell: it is acknowledged, and nothing ever changes.
    async fn subscribe(&self, request: SubscribeRequestParams, ctx: Asked) -> Result<(), ErrorData> {
        match request.uri.starts_with("test://") {
            true => Ok(()),
            #[allow(deprecated, reason = "clients of revisions before 2026-07-28 subscribe so")]
            false => self.0.subscribe(request, ctx).await,
        }
    }

    #[allow(deprecated, reason = "clients of revisions before 2026-07-28 unsubscribe so")]
    async fn unsubscribe(&self, request: UnsubscribeRequestParams, ctx: Asked) -> Result<(), ErrorData> {
        self.0.unsubscribe(request, ctx).await
    }
}

/// Reads what was written here by hand.
fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a fixture is as the protocol has it")
}

/// Reads a result, as one that is complete.
fn result<T: DeserializeOwned>(mut value: Value) -> T {
    value["resultType"] = "complete".into();
    read(value)
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn image() -> Value {
    json!({ "type": "image", "data": PNG, "mimeType": "image/png" })
}

fn embedded(uri: &str, text: &str) -> Value {
    json!({ "type": "resource", "resource": { "uri": uri, "mimeType": "text/plain", "text": text } })
}

fn content(content: Value) -> CallToolResponse {
    result::<CallToolResult>(json!({ "content": content })).into()
}

fn said(words: &str) -> CallToolResponse {
    content(json!([text(words)]))
}

fn tool(name: &str) -> Tool {
    let schema = match name {
        "test_sampling" => json!({ "type": "object", "properties": { "prompt": { "type": "string" } }, "required": ["prompt"] }),
        "test_elicitation" => json!({ "type": "object", "properties": { "message": { "type": "string" } }, "required": ["message"] }),
        _ => json!({ "type": "object", "properties": {} }),
    };
    read(json!({ "name": name, "description": "A fixture of the conformance suite", "inputSchema": schema }))
}

/// Returns a question to a person.
fn form(message: &str, properties: Value, required: &[&str]) -> Value {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": message, "requestedSchema": schema } })
}

/// Returns a question with one answer.
fn question(message: &str, property: &str, kind: &str) -> Value {
    form(message, json!({ property: { "type": kind } }), &[property])
}

/// Returns a question to a model.
fn sampling(prompt: &str) -> Value {
    let messages = json!([{ "role": "user", "content": text(prompt) }]);
    json!({ "method": "sampling/createMessage", "params": { "messages": messages, "maxTokens": 100 } })
}

fn defaults() -> Value {
    json!({
        "name": { "type": "string", "default": "John Doe" }, "age": { "type": "integer", "default": 30 },
        "score": { "type": "number", "default": 95.5 }, "verified": { "type": "boolean", "default": true },
        "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
    })
}

fn choices() -> Value {
    let plain = json!(["option1", "option2", "option3"]);
    let titled = json!([
        { "const": "value1", "title": "First Option" }, { "const": "value2", "title": "Second Option" },
        { "const": "value3", "title": "Third Option" },
    ]);
    json!({
        "untitledSingle": { "type": "string", "enum": plain }, "titledSingle": { "type": "string", "oneOf": titled },
        "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"] },
        "untitledMulti": { "type": "array", "items": { "type": "string", "enum": plain } },
        "titledMulti": { "type": "array", "items": { "anyOf": titled } },
    })
}

/// Asks the client over its session, as revisions before 2026-07-28 do; returns its answer in words.
async fn ask(ctx: &Asked, request: Value) -> Result<String, ErrorData> {
    let answer = ctx.peer.send_request(read::<ServerRequest>(request)).await;
    answer.map(|answer| json!(answer).to_string()).map_err(|err| ErrorData::internal_error(err.to_string(), None))
}

async fn log(ctx: &Asked, lines: &[&str]) {
    for line in lines {
        let told = json!({ "method": "notifications/message", "params": { "level": "info", "logger": "conformance", "data": line } });
        let _ = ctx.peer.send_notification(read::<ServerNotification>(told)).await;
        tokio::time::sleep(BREATH).await;
    }
}

/// Returns what a tool or prompt asks before it answers, round by round; nothing for one that answers at once.
fn rounds(name: &str, ctx: &Asked) -> Vec<Value> {
    let (who, roots) = (question("What is your name?", "name", "string"), json!({ "method": "roots/list" }));
    match name {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => vec![json!({ "user_name": who })],
        "test_input_required_result_sampling" => vec![json!({ "capital_question": sampling("What is the capital of France?") })],
        "test_input_required_result_list_roots" => vec![json!({ "client_roots": roots })],
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            vec![json!({ "confirm": question("Please confirm", "ok", "boolean") })]
        }
        "test_input_required_result_multiple_inputs" => {
            vec![json!({ "user_name": who, "greeting": sampling("Generate a greeting"), "client_roots": roots })]
        }
        "test_input_required_result_multi_round" => {
            vec![json!({ "step1": who }), json!({ "step2": question("What is your favorite color?", "color", "string") })]
        }
        "test_input_required_result_prompt" => vec![json!({ "user_context": question("In which context?", "context", "string") })],
        // Nothing is asked that the client cannot answer.
        "test_input_required_result_capabilities" => {
            let can = ctx.client_capabilities().unwrap_or_default();
            let asked = [("sampled", can.sampling.is_some(), sampling("Hello")), ("elicited", can.elicitation.is_some(), who)];
            let asked: JsonObject = asked.into_iter().filter(|(_, can, _)| *can).map(|(key, _, asked)| (key.to_owned(), asked)).collect();
            if asked.is_empty() { Vec::new() } else { vec![Value::Object(asked)] }
        }
        _ => Vec::new(),
    }
}

/// Returns what is asked next; none when everything is answered. A state that this server did not give is refused.
fn next_round(
    name: &str,
    rounds: &[Value],
    state: Option<&str>,
    answers: &InputResponses,
) -> Result<Option<InputRequiredResult>, ErrorData> {
    let given = |round: &usize| state == Some(sealed(name, *round).as_str());
    let at = match state {
        None => 0,
        Some(_) => (0..rounds.len()).find(given).ok_or_else(|| ErrorData::invalid_params("`requestState` is not one of ours", None))?,
    };
    let Some(asked) = rounds.get(at) else { return Ok(None) };
    let is_answered =
        asked.as_object().into_iter().flatten().all(|(key, asked)| answers.get(key).is_some_and(|answer| fits(asked, answer)));
    let next = at + usize::from(is_answered);
    Ok(rounds.get(next).map(|asked| InputRequiredResult::new(Some(read(asked.clone())), Some(sealed(name, next)))))
}

/// Tells whether an answer has the shape of what was asked.
fn fits(asked: &Value, answer: &Value) -> bool {
    match asked["method"].as_str() {
        Some("roots/list") => answer["roots"].is_array(),
        Some("sampling/createMessage") => answer["content"].is_object(),
        _ => answer["action"] == "accept" && answer["content"].is_object(),
    }
}

/// Returns the state of a round, with a tag that only this process can make.
fn sealed(name: &str, round: usize) -> String {
    static KEY: OnceLock<u128> = OnceLock::new();
    let key = KEY.get_or_init(rand::random);
    format!("{round}.{}", Sha256::of_canonical(&(key.to_string(), name, round, key.to_string())))
}
