//! A service, gates and plans for the tests of the pure parts.

use super::{
    data_plan::Foreseen,
    planner::{self, PlanInput},
};
use crate::model::{
    Base, GateResult, Guarantees, Plan, Purpose, ServiceSpec, Sha256, Timestamp, Verdict,
    data::{Backup, DataSpec, Hooks, Migrations, OnRollback, PlannedMigration, Prepare},
    migration::{MigrationClass, SqlDialect},
    service::{Health, HealthCheck, RouterKind, SmokeCheck, TargetKind},
};

pub fn spec() -> ServiceSpec {
    ServiceSpec {
        service: "web".into(),
        environment: "staging".into(),
        owner: Some("platform".into()),
        escalation: Some("oncall@shop.test".into()),
        command: vec!["{release}/web".into(), "--port".into(), "{port}".into()],
        health: Health {
            check: HealthCheck::Http("/healthz".into()),
            interval_ms: 100,
            timeout_ms: 1000,
            successes: 3,
            deadline_ms: 10_000,
        },
        version: None,
        smoke: vec![SmokeCheck { http: "/".into(), status: 200, contains: None }],
        drain_ms: 1000,
        bake_ms: 1000,
        keep: 5,
        instances: 2,
        env: Default::default(),
        dependencies: vec![],
        target: TargetKind::Local,
        router: RouterKind::Proxy { listen: ([127, 0, 0, 1], 8080).into() },
        rollout: Default::default(),
        data: Default::default(),
        metrics: Default::default(),
        about: Default::default(),
        monitoring: Default::default(),
        hosts: Default::default(),
    }
}

pub fn base(deployment: &str) -> Base {
    Base { deployment: deployment.into(), version: "1.0.0".into(), digest: Sha256::of(b"old") }
}

pub fn gate(name: &str, verdict: Verdict, live: bool) -> GateResult {
    GateResult {
        gate: name.into(),
        verdict,
        rule: "failed <= 0".into(),
        value: Some("failed = 0".into()),
        reason: "as measured".into(),
        needs: None,
        who: None,
        how: None,
        asked_by: "server".into(),
        live,
        evidence_sha256: (!live).then(|| Sha256::of(name.as_bytes())),
        checked_at: Timestamp(0),
    }
}

pub fn plan(gates: &[GateResult], base: Option<Base>) -> Plan {
    planner::plan(PlanInput {
        project: "shop",
        directive: &"SD-DEPLOY-001".into(),
        purpose: Purpose::Deploy,
        version: "1.1.0",
        commit: None,
        digest: &Sha256::of(b"new"),
        spec: &spec(),
        config_sha256: Sha256::of(b"configuration"),
        base,
        attempt: 1,
        phase: None,
        gates,
        strategy: None,
        foreseen: Default::default(),
        data_return: None,
        returns_to: None,
        guarantees: Guarantees { atomic_switch: true, drain_signal: true, measures: true, summary: "all at once".into() },
        assessment: None,
        approval: None,
    })
}

pub fn migration(name: &str, class: MigrationClass) -> PlannedMigration {
    let reason = "as it reads".into();
    PlannedMigration { name: name.into(), sha256: Sha256::of(name.as_bytes()), class, reason, loses_data: false, warnings: Vec::new() }
}

fn argv() -> Vec<String> {
    vec!["it".into()]
}

/// Returns a service with every command of data and every hook.
pub fn with_data(on_rollback: OnRollback, pivots: &[&str]) -> ServiceSpec {
    let hooks = Hooks {
        before_start: vec![argv()],
        before_shift: vec![argv()],
        after_shift: vec![argv()],
        after_success: vec![argv()],
        after_rollback: vec![argv()],
        timeout_ms: 1_000,
    };
    let data = DataSpec {
        prepare: Some(Prepare { run: argv(), timeout_ms: 1_000 }),
        backup: Some(Backup { run: argv(), verify: Some(argv()), restore: Some(argv()), rehearse: None, timeout_ms: 1_000, on_rollback }),
        migrations: Some(Migrations {
            dir: "migrations".into(),
            run: argv(),
            history: argv(),
            down: None,
            dialect: SqlDialect::Any,
            pivots: pivots.iter().map(|name| (*name).to_owned()).collect(),
            timeout_ms: 1_000,
        }),
        hooks: Some(hooks),
    };
    ServiceSpec { data, instances: 1, ..spec() }
}

/// Returns what adds, and what takes away.
pub fn foreseen() -> Foreseen {
    let migrations = vec![migration("0041_add.sql", MigrationClass::Expand), migration("0042_drop.sql", MigrationClass::Contract)];
    Foreseen { migrations, undoable: Default::default() }
}
