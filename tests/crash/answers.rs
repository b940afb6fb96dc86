//! The person whom a deployment asks that can be judged neither good nor bad: the customers of a second are too few to tell.

use super::shop::Shop;
use crate::support::{people::Approver, wire::Client};
use anyhow::Result;
use interlock::{
    decisions::Question,
    model::{DecisionKind, DecisionVerdict},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How often somebody looks whether a deployment asks.
const LOOK: Duration = Duration::from_millis(100);

/// Lets what is paused go on, by a signature, until it is dropped.
pub struct Answers {
    given: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Answers {
    /// Begins to look.
    pub fn of(shop: &Shop) -> Self {
        let (client, chairman, given) = (shop.client(), shop.chairman.clone(), Arc::new(AtomicUsize::new(0)));
        let counts = given.clone();
        let task = tokio::spawn(async move {
            loop {
                // A server that is killed meanwhile is asked again later.
                if answer(&client, &chairman).await.is_ok_and(|answered| answered) {
                    counts.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Answers { given, task }
    }

    /// Returns how often somebody was asked.
    pub fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(client: &Client, chairman: &Approver) -> Result<bool> {
    let listed = client.call("list_deployments", json!({})).await?;
    let newest = &listed["deployments"][0];
    if newest["state"] != "paused" {
        return Ok(false);
    }
    let subject = json!({ "deployment": newest["id"], "choice": "mark_done", "reason": "as good as the old set" });
    let question = Question { kind: DecisionKind::Resolve, subject, verdict: DecisionVerdict::Approve };
    let review = serde_json::from_value(client.call("review", json!(question)).await?)?;
    let signed = chairman.sign(chairman.decision(&review, DecisionVerdict::Approve, None));
    client.call("decide", json!({ "question": question, "signed": signed })).await?;
    Ok(true)
}
