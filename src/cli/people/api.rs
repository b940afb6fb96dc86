//! Calls to the server over `api.sock`, as the people's commands make them.

use crate::{
    cli::{call::call, code_of, launch::connect},
    config::Workspace,
    error::{Error, Result},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Calls a method, and returns its reply read as `T`; the server is started when none runs.
pub async fn ask<T: DeserializeOwned>(workspace: &Workspace, method: &str, params: Value) -> Result<T> {
    let reply = call(connect(workspace, workspace.api_socket()).await?, method, params).await?.map_err(refused)?;
    serde_json::from_value(reply).map_err(Error::internal)
}

fn refused(body: Value) -> Error {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let error = Error::new(code_of(&text("code")), text("message")).hint(text("hint"));
    match body.get("details") {
        Some(details) => error.details(details.clone()),
        None => error,
    }
}
