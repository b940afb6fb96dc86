//! `subscribe_events`: every change of the record, in its order. An event carries its cursor; whoever connects again and names the last one
//! it has seen misses nothing and hears nothing twice.

use super::refused;
use crate::{
    error::Error,
    model::Caller,
    operations::Registry,
    store::{AuditEntry, Store},
};
use jsonrpsee::{
    PendingSubscriptionSink, RpcModule, SubscriptionSink,
    core::{RegisterMethodError, SubscriptionError},
    types::Params,
};
use serde::Deserialize;
use serde_json::{Value, json, value::to_raw_value};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How many entries are read at a time.
const PAGE: u32 = 100;

/// A second process may write to the same database: the record is looked at again at least this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The cursor of the last event that was seen; none begins with what happens from now on, 0 with the first event there is.
    after: Option<i64>,
}

type Shared = Arc<(Arc<Registry>, Caller)>;

/// Adds the subscription: its notifications are `event`, its end is `unsubscribe_events`.
pub(super) fn register(module: &mut RpcModule<(Arc<Registry>, Caller)>) -> Result<(), RegisterMethodError> {
    let subscribe = |params: Params<'static>, pending: PendingSubscriptionSink, ctx: Shared, _| async move {
        let (registry, caller) = &*ctx;
        match begin(&params, registry).await {
            Ok((store, after)) => tell(&store, after, pending.accept().await?).await,
            Err(error) => {
                let arguments = super::arguments(&params);
                pending.reject(refused(registry.refuse(caller, "subscribe_events", &arguments, error))).await;
                Ok(())
            }
        }
    };
    module.register_subscription("subscribe_events", "event", "unsubscribe_events", subscribe)?;
    Ok(())
}

/// Returns where the events are, and after which one to begin.
async fn begin(params: &Params<'static>, registry: &Registry) -> Result<(Store, i64), Error> {
    let asked = match params.as_str() {
        None => Asked::default(),
        Some(text) => serde_json::from_str(text)
            .map_err(|err| Error::invalid(format!("`subscribe_events` takes {{\"after\": CURSOR}} or nothing: {err}")))?,
    };
    let store = registry.engine().ok_or_else(|| Error::not_found("record", "of this server"))?.store.clone();
    let newest = store.sequence().await?;
    match asked.after.unwrap_or(newest) {
        after if (0..=newest).contains(&after) => Ok((store, after)),
        after => Err(Error::invalid(format!("`after` is the cursor of an event, 0 to {newest} so far, and not {after}"))),
    }
}

/// Tells every entry after this one until the subscriber leaves.
async fn tell(store: &Store, mut after: i64, sink: SubscriptionSink) -> Result<(), SubscriptionError> {
    let mut changes = store.changes();
    while !sink.is_closed() {
        // A database that is away for a moment loses nothing: the same page is read again.
        let entries = match store.audit_entries(after, PAGE).await {
            Ok(entries) => entries,
            Err(err) => {
                tracing::warn!("events wait: {err}");
                sleep(LOOK_AGAIN).await;
                continue;
            }
        };
        for entry in &entries {
            sink.send(to_raw_value(&event(entry))?).await?;
            after = entry.seq;
        }
        if entries.is_empty() {
            tokio::select! {
                _ = timeout(LOOK_AGAIN, changes.changed()) => {}
                () = sink.closed() => {}
            }
        }
    }
    Ok(())
}

/// Returns what a subscriber is told: what changed, and who changed it; the rest is read where it stands.
fn event(entry: &AuditEntry) -> Value {
    json!({
        "cursor": entry.seq, "at": entry.at, "action": entry.action, "subject": entry.subject,
        "principal": entry.by.principal, "kind": entry.by.kind, "via": entry.by.via,
    })
}
