//! The commands that change what is in force: each durable first, in force second.

use super::{
    commands::{Commands, bad_request, failed, fence, value},
    control::{ProbePlan, Refusal, Rules, Upgraded, Withdrawn},
    link::Word,
    routes::{LONGEST_HOLD, held_until},
};
use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use interlock_model::{Clock, Epoch, Split, Stickiness, SystemClock, hosts};
use serde_json::Value;
use std::{path::PathBuf, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::timeout;

/// How long another worker may take until it serves; more than the holder grants it.
const UPGRADE: Duration = Duration::from_secs(30);

impl Commands {
    /// Puts a split in force.
    pub async fn set(&self, service: Option<String>, split: Split, epoch: Epoch, rules: Rules) -> Result<Value, Refusal> {
        let rules = checked(rules)?;
        let mut saved = self.saved.lock().await;
        let known = saved.known_as(service.as_deref()).map_err(bad_request)?;
        let name = service.unwrap_or_else(|| known.clone());
        let mut next = saved.clone();
        let mut changed = next.services.remove(&known).unwrap_or_default();
        fence(epoch, changed.epoch)?;
        changed.follow(rules);
        if let Some(conflict) = next.conflict(&name, &changed.hosts) {
            return Err(Refusal::new("host_taken", conflict));
        }
        changed.serving_since = split.serving().next().map(|_| changed.serving_since.unwrap_or_else(|| SystemClock.now()));
        (changed.split, changed.epoch, changed.gone) = (split, epoch, false);
        next.services.insert(name.clone(), changed.clone());
        // Durable first: a worker that ends in between starts again with what its caller was told, or with what came before.
        self.save(&next).await?;
        self.routes.install(&name, &changed);
        self.close_shadow_of_another_right(&name, epoch);
        *saved = next;
        value(())
    }

    /// Makes new requests wait, or lets them through.
    pub async fn hold(&self, service: Option<String>, epoch: Epoch, for_ms: u64) -> Result<Value, Refusal> {
        let mut saved = self.saved.lock().await;
        let (name, switch) = self.found(&saved, service.as_deref())?;
        let mut next = saved.clone();
        let changed = next.services.entry(name.clone()).or_default();
        fence(epoch, changed.epoch)?;
        let patience = Duration::from_millis(for_ms).min(LONGEST_HOLD);
        changed.held_until = (!patience.is_zero()).then(|| SystemClock.now().plus(patience));
        (changed.epoch, changed.gone) = (epoch, false);
        let changed = changed.clone();
        self.save(&next).await?;
        match switch {
            Some(switch) => switch.hold.set(held_until(&changed)),
            None => self.routes.install(&name, &changed),
        }
        *saved = next;
        value(())
    }

    /// Sets or ends the proxy's own requests.
    pub async fn probe(&self, service: Option<String>, path: Option<String>, interval_ms: u64) -> Result<Value, Refusal> {
        if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err()) {
            return Err(Refusal::new("bad_request", "the path must begin with `/`"));
        }
        let mut saved = self.saved.lock().await;
        let (name, switch) = self.found(&saved, service.as_deref())?;
        let plan = path.map(|path| ProbePlan { path, interval_ms });
        let mut next = saved.clone();
        next.services.entry(name).or_default().probe = plan.clone();
        self.save(&next).await?;
        if let Some(switch) = switch {
            switch.probe.send_replace(plan);
        }
        *saved = next;
        value(())
    }

    /// Takes a service off the listener and waits for what is in flight on it.
    pub async fn withdraw(&self, service: Option<String>, patience_ms: u64) -> Result<Value, Refusal> {
        let mut saved = self.saved.lock().await;
        let (name, _) = self.found(&saved, service.as_deref())?;
        let mut next = saved.clone();
        if let Some(service) = next.services.get_mut(&name) {
            *service = service.withdrawn();
        }
        self.save(&next).await?;
        let removed = self.routes.remove(&name);
        *saved = next;
        let left = saved.present().count();
        let instances = removed.iter().flat_map(|switch| switch.ids()).collect::<Vec<_>>();
        drop(saved);
        // The last one takes the proxy along, which grants its requests the same.
        if let Some(switch) = removed.as_ref().filter(|_| left > 0) {
            join_all(instances.iter().map(|id| switch.drain(id, Duration::from_millis(patience_ms)))).await;
        }
        value(Withdrawn { left })
    }

    /// Has the holder start another worker, and returns when that one serves.
    pub async fn upgrade(&self, exe: Option<PathBuf>, patience_ms: u64) -> Result<Value, Refusal> {
        let refused = |why: String| Refusal::new("upgrade_failed", format!("no other worker took over: {why}"));
        let Ok(mut link) = self.link.try_lock() else { return Err(refused("another upgrade is under way".into())) };
        let link = link
            .as_mut()
            .ok_or_else(|| refused("the holder is from before this could be done; it can at the proxy's next start".into()))?;
        self.patience_ms.store(patience_ms, Relaxed);
        let mut heir = self.heir.subscribe();
        link.say(&Word::Start { exe, predecessor: self.own.clone() }).await.map_err(failed)?;
        let outcome = async {
            tokio::select! {
                heir = heir.wait_for(Option::is_some) => heir.map(|heir| heir.clone()).context("this worker has ended"),
                why = link.failure() => Err(anyhow!(why)),
            }
        };
        let heir = timeout(UPGRADE, outcome).await.unwrap_or_else(|_| Err(anyhow!("not within {} s", UPGRADE.as_secs())));
        let heir = heir.map_err(|err| refused(format!("{err:#}")))?;
        value(Upgraded { worker: heir.map_or(0, |heir| heir.worker) })
    }

    fn close_shadow_of_another_right(&self, name: &str, epoch: Epoch) {
        let mut shadows = self.routes.shadows.lock().expect("nothing panics here");
        if shadows.get(name).is_some_and(|shadow| shadow.epoch < epoch) {
            shadows.remove(name);
        }
    }
}

/// Returns the rules as they are compared, or what is wrong with them.
fn checked(rules: Rules) -> Result<Rules, Refusal> {
    let hosts = match rules.hosts {
        None => None,
        Some(hosts) => {
            let claims = hosts.iter().map(|host| hosts::claim(host).ok_or_else(|| bad_request(format!("`{host}` is no host name"))));
            let mut claims = claims.collect::<Result<Vec<_>, _>>()?;
            claims.sort();
            claims.dedup();
            Some(claims)
        }
    };
    if let Some(Stickiness::Header { name }) = &rules.stickiness
        && http::HeaderName::from_bytes(name.as_bytes()).is_err()
    {
        return Err(bad_request(format!("`{name}` is no header's name")));
    }
    Ok(Rules { hosts, ..rules })
}
