//! Rows to begin with, in the words of the domain.

pub use crate::support::databases::databases;
pub use interlock::{model::*, store::*};
pub use serde_json::{Value, json};
pub use std::time::Duration;

use interlock::model::{
    Strategy,
    plan::{Rollback, RollbackKind, Watch},
};

pub fn agent() -> Caller {
    Caller { principal: "agent".into(), kind: CallerKind::Agent, via: Via::McpStdio, client: Some("claude-code 2.1".into()) }
}

pub fn server() -> Caller {
    Caller::server()
}

pub fn release(service: &str, version: &str) -> Release {
    Release {
        service: service.into(),
        version: version.into(),
        commit: Some("c0ffee".into()),
        digest: Sha256::of(format!("{service} {version}").as_bytes()),
        files: 3,
        size_bytes: 4096,
    }
}

pub fn order(environment: &str) -> NewDirective {
    NewDirective {
        title: "ship it".into(),
        rationale: "customers wait".into(),
        description: "the new release".into(),
        scope: "web only".into(),
        priority: "high".into(),
        environment: environment.into(),
        committed_at: None,
        change: None,
        nothing_built: false,
        venture: None,
        reaches_customers: false,
        depends_on: vec![],
        phase: None,
        phase_sha256: None,
    }
}

pub async fn directive(store: &Store, service: &str, environment: &str, version: &str) -> Directive {
    store.create_directive(&agent(), order(environment), &release(service, version)).await.unwrap().0
}

pub fn plan_of(directive: &Directive, attempt: u32) -> Plan {
    let step = |id: &str, action| Step {
        id: id.into(),
        action,
        title: id.into(),
        undo: None,
        reversibility: Reversibility::Compensable,
        timeout_ms: 1000,
    };
    Plan {
        schema: 1,
        project: "shop".into(),
        directive: directive.id.clone(),
        service: directive.service.clone(),
        environment: directive.environment.clone(),
        purpose: Purpose::Deploy,
        version: directive.version.clone(),
        commit: directive.commit.clone(),
        digest: directive.digest.clone(),
        base: None,
        attempt,
        strategy: Strategy::BlueGreen,
        config_sha256: Sha256::of(b"configuration"),
        phase: None,
        gates: vec![PlannedGate {
            gate: "tests".into(),
            rule: "failed <= 0".into(),
            asked_by: "server".into(),
            verdict: Verdict::Pass,
            value: Some("failed = 0".into()),
            evidence_sha256: None,
        }],
        live_gates: vec!["freeze".into()],
        steps: vec![step("recheck", Action::Recheck), step("start-1", Action::Start { index: 1 }), step("shift", Action::Shift)],
        rollback: Rollback::without_data(RollbackKind::Withdraw, None, "nothing served before".into()),
        migrations: Vec::new(),
        data_return: None,
        returns_to: None,
        command: vec!["{release}/web".into()],
        guarantees: Guarantees { atomic_switch: true, drain_signal: true, measures: true, summary: "all at once".into() },
        watch: Watch { error_percent: 5, p95_ms: 500, sustained_ms: 1000, min_samples: 20 },
        metrics: Vec::new(),
        assessment: None,
        approval: None,
    }
}

pub async fn plan(store: &Store, directive: &Directive) -> PlanRecord {
    let attempt = store.plans_of(&directive.id).await.unwrap().len() as u32 + 1;
    store.save_plan(&agent(), &plan_of(directive, attempt), PlanState::Planned, None).await.unwrap().0
}

pub async fn claim(store: &Store, plan: &PlanId) -> (Deployment, Lease) {
    match store.claim_deployment(&agent(), plan, "server-1").await.unwrap() {
        Claim::New { deployment, lease } => (*deployment, lease),
        other => panic!("{other:?}"),
    }
}

/// A queued deployment of a service in an environment.
pub async fn deployment(store: &Store, service: &str, environment: &str, version: &str) -> (Deployment, Lease) {
    let directive = directive(store, service, environment, version).await;
    claim(store, &plan(store, &directive).await.id).await
}

/// Brings a queued deployment to its end by these events.
pub async fn walk(store: &Store, deployment: &Deployment, events: &[Event]) -> Deployment {
    let mut deployment = deployment.clone();
    for event in events {
        let moved =
            store.transition(&server(), &deployment.id, deployment.epoch, deployment.state, *event, DeploymentChange::default()).await;
        deployment = moved.unwrap().unwrap_or_else(|| panic!("{event:?} cannot happen in {:?}", deployment.state));
    }
    deployment
}

pub const SUCCESS: &[Event] = &[Event::Started, Event::Shifted, Event::Finished];
