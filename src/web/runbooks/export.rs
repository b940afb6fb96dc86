//! A runbook's version as files: the Markdown that was signed, byte for byte, and everything the record has of it as JSON.

use crate::{
    engine::lint::{Finding, score},
    error::{Error, Result},
    model::RunbookId,
    operations::Registry,
    web::layout,
};
use axum::{Router, extract::Path, routing::get};
use serde_json::json;
use std::sync::Arc;

/// Returns the routes of the files.
pub fn routes(registry: Arc<Registry>) -> Router {
    let file = move |Path((id, file)): Path<(String, String)>| async move {
        match exported(&registry, &id, &file).await {
            Ok((media_type, bytes)) => layout::raw(media_type, bytes),
            Err(error) => layout::failed(&error),
        }
    };
    Router::new().route("/runbooks/{id}/{file}", get(file))
}

async fn exported(registry: &Registry, id: &str, file: &str) -> Result<(&'static str, Vec<u8>)> {
    let nowhere = || Error::not_found("file of a runbook", file).hint("there are `vN.md` and `vN.json`, for version N");
    let (number, ending) = file.strip_prefix('v').and_then(|rest| rest.split_once('.')).ok_or_else(nowhere)?;
    let number: i64 = number.parse().map_err(|_| nowhere())?;
    let engine = registry.engine().ok_or_else(nowhere)?;
    let id = RunbookId::from(id);
    let version = engine.store.runbook_version(&id, number).await?;
    let version = version.ok_or_else(|| Error::not_found("runbook", format!("{id} {number}")))?;
    match ending {
        "md" => Ok(("text/markdown; charset=utf-8", version.text.into_bytes())),
        "json" => {
            let of_version = |found: i64| found == number;
            let findings: Vec<Finding> = serde_json::from_value(version.lint.clone()).unwrap_or_default();
            let reviews = engine.store.runbook_reviews(&id, u32::MAX).await?.into_iter().filter(|review| of_version(review.version));
            let comments = engine.runbook_comments(&id).await?.into_iter().filter(|said| of_version(said.comment.version));
            let whole = json!({
                "schema_version": 1, "runbook": id, "version": number, "state": version.state, "sha256": version.sha256,
                "text": version.text, "directive": version.directive, "deployment": version.deployment,
                "written_by": version.created_by, "written_at": version.created_at,
                "lint": { "score": score(&findings), "findings": findings },
                "reviews": reviews.collect::<Vec<_>>(), "comments": comments.collect::<Vec<_>>(),
            });
            Ok(("application/json", serde_json::to_vec_pretty(&whole).map_err(Error::internal)?))
        }
        _ => Err(nowhere()),
    }
}
