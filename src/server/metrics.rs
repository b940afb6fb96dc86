//! `/metrics`: what every proxy of the workspace has counted, and what the record says of deployments, as Prometheus reads it.

use super::exposition;
use crate::{
    config::Workspace,
    engine::Engine,
    proxy::{ProxyClient, metrics},
};
use std::fs;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the text; a proxy that does not answer is left out, and said to be down, and so is the record.
pub async fn text(workspace: &Workspace, engine: Option<&Engine>) -> String {
    let proxies = fs::read_dir(workspace.state_dir().join("proxies")).into_iter().flatten().flatten();
    let (mut texts, mut up) =
        (Vec::new(), String::from("# HELP interlock_proxy_up Whether a proxy answers.\n# TYPE interlock_proxy_up gauge\n"));
    for name in proxies.filter_map(|folder| folder.file_name().into_string().ok()) {
        let proxy = ProxyClient::new(workspace.run_dir().join(format!("proxy-{name}.sock")));
        let answered = proxy.metrics().await;
        up.push_str(&format!("interlock_proxy_up{{proxy=\"{name}\"}} {}\n", u8::from(answered.is_ok())));
        texts.extend(answered);
    }
    texts.push(up);
    let figures = match engine {
        Some(engine) => engine.metrics_by(&exposition::selection(engine.clock.now()), &exposition::BY).await.map(Some),
        None => Ok(None),
    };
    texts.push(format!(
        "# HELP interlock_record_up Whether the record can be read.\n# TYPE interlock_record_up gauge\ninterlock_record_up {}\n",
        u8::from(matches!(figures, Ok(Some(_))))
    ));
    match figures {
        Ok(groups) => texts.extend(groups.map(|groups| exposition::text(&groups))),
        Err(error) => tracing::warn!("reading the record for /metrics: {error}"),
    }
    if let Some(engine) = engine {
        match engine.notified().await {
            Ok(notified) => texts.push(exposition::notified(&notified)),
            Err(error) => tracing::warn!("reading the record for /metrics: {error}"),
        }
    }
    metrics::merged(&texts)
}
