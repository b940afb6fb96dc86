//! Bytes as they are recorded: the plan that is signed, the evidence a gate rests on. They are text for a person, never markup.

use super::layout;
use crate::{
    error::{Error, Result},
    model::{PlanId, Sha256, canonical_json},
    operations::Registry,
};
use axum::{Router, extract::Path, response::Response, routing::get};
use std::sync::Arc;

/// Returns the routes of bytes.
pub fn routes(registry: Arc<Registry>) -> Router {
    let of_plans = registry.clone();
    let plan = move |Path(id): Path<String>| async move { answered(plan(&of_plans, id).await.map(|bytes| ("application/json", bytes))) };
    let evidence = move |Path(id): Path<String>| async move {
        answered(evidence(&registry, id).await.map(|bytes| ("text/plain; charset=utf-8", bytes)))
    };
    Router::new().route("/plans/{id}/bytes", get(plan)).route("/evidence/{sha256}", get(evidence))
}

fn answered(found: Result<(&'static str, Vec<u8>)>) -> Response {
    match found {
        Ok((media_type, bytes)) => layout::raw(media_type, bytes),
        Err(error) => layout::failed(&error),
    }
}

async fn plan(registry: &Registry, id: String) -> Result<Vec<u8>> {
    let engine = registry.engine().ok_or_else(|| Error::not_found("plan", &id))?;
    Ok(canonical_json(&engine.plan_record(&PlanId::from(id)).await?.plan))
}

async fn evidence(registry: &Registry, sha256: String) -> Result<Vec<u8>> {
    let engine = registry.engine().ok_or_else(|| Error::not_found("evidence", &sha256))?;
    let body = engine.store.evidence_body(&Sha256(sha256.clone())).await?;
    body.ok_or_else(|| Error::not_found("evidence", &sha256).hint("bodies are kept 90 days, and as long as something rests on them"))
}
