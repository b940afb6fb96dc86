//! Reads a figure as configuration names it: secrets are resolved for this one reading, and taken out of whatever is said about it.

use super::{CommandSource, JsonSource, MetricsSource, Pointer, PrometheusSource, SourceError};
use crate::{
    model::metric::{HttpAddress, MetricSource, MetricSpec},
    targets::job::{resolved, revealed},
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// What a reading is made with.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Where a command runs.
    pub folder: &'a Path,
    /// The service's variables, secret references among them; a command has them.
    pub env: &'a BTreeMap<String, String>,
    /// What fills `{version}` and the like.
    pub places: &'a [(&'a str, &'a str)],
}

/// Returns the figure as it is now, or in a sentence why there is none.
pub async fn read(metric: &MetricSpec, around: Around<'_>) -> Result<f64, String> {
    let timeout = Duration::from_millis(metric.timeout_ms);
    // The address may be a secret: what is wrong with it is said, and not what it is.
    let unusable = |error: SourceError| match error {
        SourceError::Url { why, .. } => format!("its address cannot be fetched from: {why}"),
        other => other.to_string(),
    };
    let unresolved = |error: crate::targets::TargetError| error.to_string();
    match &metric.source {
        MetricSource::Prometheus { address, query, headers } => {
            let asked = Asked::resolved(address, headers).await?;
            let source = PrometheusSource::new(&asked.address, query, timeout).map_err(unusable)?;
            source.with_headers(asked.headers.clone()).read(around.places).await.map_err(|none| asked.said(none.to_string()))
        }
        MetricSource::Json { address, pointer, headers } => {
            let asked = Asked::resolved(address, headers).await?;
            let source = JsonSource::new(&asked.address, pointer, timeout).map_err(unusable)?;
            source.with_headers(asked.headers.clone()).read(around.places).await.map_err(|none| asked.said(none.to_string()))
        }
        MetricSource::Command { run, pointer } => {
            let pointer = pointer.as_deref().map(Pointer::parse).transpose().map_err(unusable)?;
            let (environment, redactor) = resolved(around.env).await.map_err(unresolved)?;
            let source = CommandSource::new(run, around.folder.to_owned(), environment, pointer, timeout).map_err(unusable)?;
            source.read(around.places).await.map_err(|none| redactor.redacted(none.to_string()))
        }
    }
}

/// An address and headers with their secrets, and what may be said of them.
pub(super) struct Asked {
    /// The address itself.
    pub address: String,
    headers: Vec<(String, String)>,
    redactor: crate::shim::redact::Redactor,
    /// A part of a secret address that an answer may repeat.
    hidden: Option<String>,
}

impl Asked {
    /// Resolves what is a reference.
    pub async fn resolved(address: &str, headers: &BTreeMap<String, String>) -> Result<Self, String> {
        let values = std::iter::once(address.to_owned()).chain(headers.values().cloned()).collect();
        let (values, redactor) = revealed(values).await.map_err(|error| error.to_string())?;
        let mut values = values.into_iter();
        let revealed = values.next().expect("there is an address");
        let headers = headers.keys().cloned().zip(values).collect();
        let path = HttpAddress::parse(&revealed).ok().map(|address| address.path).filter(|path| path.len() > 1);
        let hidden = path.filter(|_| revealed != address);
        Ok(Asked { address: revealed, headers, redactor, hidden })
    }

    /// Returns a text without what is secret of it.
    pub fn said(&self, text: String) -> String {
        let text = self.redactor.redacted(text);
        self.hidden.as_ref().map_or(text.clone(), |hidden| text.replace(hidden.as_str(), "[redacted]"))
    }
}
