//! The methods of `api.sock` beside the operations: what people ask at the command line. Nothing here decides by itself; a
//! decision is the signature it carries.

use crate::{
    decisions::{self, Enrolment, Question},
    error::{Code, Error, Result},
    model::{EnvironmentName, ServiceName, SignedDecision},
    operations::Context,
    rpc::Extra,
    store::HeldKey,
    web::Pages,
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns every method for people.
pub fn methods() -> Vec<Extra> {
    vec![
        Extra::new("apply", |ctx, params| reply(async move { apply(&ctx, read(params)?).await })),
        Extra::new("review", |ctx, params| reply(async move { Ok(json!(decisions::review(&ctx.engine, &read(params)?).await?)) })),
        Extra::new("decide", |ctx, params| reply(async move { decide(&ctx, read(params)?).await })),
        Extra::new("enrol_first", |ctx, params| {
            reply(async move { decisions::enrol_first(&ctx.engine, &ctx.caller, &read::<Enrolment>(params)?).await })
        }),
        Extra::new("enrolment_link", |ctx, params| {
            reply(async move { Ok(json!(decisions::passkeys::link(&ctx.engine, &ctx.caller, &read(params)?).await?)) })
        }),
        Extra::new("freeze", |ctx, params| reply(async move { Ok(json!(ctx.engine.freeze(&ctx.caller, read(params)?).await?)) })),
        Extra::new("freezes", |ctx, _| reply(async move { ctx.engine.freezes().await })),
        Extra::new("approvers", |ctx, _| reply(async move { approvers(&ctx).await })),
        Extra::new("audit_verify", |ctx, _| reply(async move { audit(&ctx).await })),
        Extra::new("measure", |ctx, params| reply(async move { measure(&ctx, read(params)?).await })),
        Extra::new("notified", |ctx, _| reply(async move { Ok(json!({ "destinations": ctx.engine.notified().await? })) })),
        Extra::new("notify_test", |ctx, params| reply(async move { notify_test(&ctx, read(params)?).await })),
        Extra::new("down", |ctx, params| reply(async move { down(&ctx, read(params)?).await })),
    ]
}

/// Returns the method that makes a link to the pages: who has this socket is at the machine, and reads.
pub fn open(pages: Arc<Pages>) -> Extra {
    Extra::new("open", move |_, params| {
        let link = read(params).and_then(|Open { to }| pages.link(&to.unwrap_or_else(|| "/".into())));
        reply(async move { Ok(json!({ "url": link? })) })
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    question: Question,
    signed: SignedDecision,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measure {
    service: ServiceName,
    environment: EnvironmentName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NotifyTest {
    destination: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Down {
    environment: EnvironmentName,
}

async fn apply(ctx: &Context, Apply { text }: Apply) -> Result<Value> {
    Ok(json!(ctx.engine.apply(&ctx.caller, &text).await?))
}

async fn decide(ctx: &Context, Decide { question, signed }: Decide) -> Result<Value> {
    decisions::decide(&ctx.engine, &ctx.caller, &question, &signed).await
}

async fn approvers(ctx: &Context) -> Result<Value> {
    let approvers = ctx.engine.store.approvers().await?;
    let shown = approvers.iter().map(|approver| {
        let key = |held: &HeldKey| {
            let mut key = json!({ "kind": held.key.kind(), "fingerprint": held.key.fingerprint() });
            if let Some(at) = held.cloned_at {
                key["cloned_at"] = json!(at.to_string());
            }
            key
        };
        json!({ "name": approver.name, "role": approver.role, "keys": approver.keys.iter().map(key).collect::<Vec<_>>() })
    });
    let waiting = decisions::passkeys::waiting(&ctx.engine).await?;
    Ok(json!({ "approvers": shown.collect::<Vec<_>>(), "waiting": waiting }))
}

async fn audit(ctx: &Context) -> Result<Value> {
    let report = ctx.engine.store.audit_verify().await?;
    match &report.broken {
        Some(broken) => Err(Error::new(Code::AuditBroken, format!("entry {} does not fit: {}", broken.seq, broken.why))),
        None => {
            let decisions = decisions::verify_signatures(&ctx.engine).await?;
            Ok(json!({ "entries": report.entries, "head": report.head, "decisions": decisions }))
        }
    }
}

async fn measure(ctx: &Context, Measure { service, environment }: Measure) -> Result<Value> {
    let (_, _, spec) = ctx.engine.service(&environment, &service).await?;
    let samples = ctx.engine.adapters.router(&spec).measure().await;
    Ok(json!(samples.map_err(|error| Error::new(Code::RouterFailed, error.to_string()))?))
}

async fn notify_test(ctx: &Context, NotifyTest { destination }: NotifyTest) -> Result<Value> {
    let said = ctx.engine.notify_test(&ctx.caller, &destination).await?;
    Ok(json!({ "destination": destination, "said": said }))
}

async fn down(ctx: &Context, Down { environment }: Down) -> Result<Value> {
    Ok(json!({ "stopped": ctx.engine.down(&ctx.caller, &environment).await? }))
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T> {
    serde_json::from_value(params).map_err(|error| Error::invalid(error.to_string()))
}

fn reply(work: impl Future<Output = Result<Value>> + Send + 'static) -> BoxFuture<'static, Result<Value>> {
    Box::pin(work)
}
