//! Evidence, verdicts, jobs, artifacts, incidents, measurements, refusals.

use crate::world::*;
use futures_util::future::join_all;
use std::collections::BTreeMap;

#[tokio::test]
async fn evidence_is_kept_raw_and_once() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        let body: Vec<u8> = (0..=255).collect();
        let full = NewEvidence {
            directive: directive.id.clone(),
            gate: "coverage".into(),
            origin: Origin::Observed,
            format: "lcov".into(),
            commit: directive.commit.clone(),
            digest: directive.digest.clone(),
            measures: Some(BTreeMap::from([("lines_percent".into(), 71.4), ("tenth".into(), 0.1 + 0.2)])),
            fault: None,
            exit_code: Some(0),
            body: body.clone(),
            detail: json!({ "argv": ["cargo", "llvm-cov"] }),
        };
        let bare =
            NewEvidence { commit: None, measures: None, fault: Some("no report".into()), exit_code: None, body: vec![], ..full.clone() };
        let first = store.add_evidence(&server(), full.clone()).await.unwrap();
        let second = store.add_evidence(&agent(), bare).await.unwrap();
        let third = store.add_evidence(&server(), full.clone()).await.unwrap();
        assert_eq!((first.id.as_str(), first.size_bytes, &third.sha256), ("ev_1", 256, &first.sha256), "{}", database.name);
        assert_eq!(store.evidence_of(&directive.id).await.unwrap(), [third.clone(), second.clone(), first.clone()]);
        assert_eq!(store.evidence_of(&"SD-DEPLOY-999".into()).await.unwrap(), []);
        assert_eq!(
            store.latest_evidence(&directive.id).await.unwrap(),
            [third.clone(), second.clone()],
            "what differs in its commit stays"
        );
        let mut apart = vec![third, second.clone()];
        for other in [
            NewEvidence { gate: "load".into(), ..full.clone() },
            NewEvidence { origin: Origin::Claimed, ..full.clone() },
            NewEvidence { digest: Sha256::of(b"other bytes"), ..full.clone() },
        ] {
            store.add_evidence(&server(), other.clone()).await.unwrap();
            apart.insert(0, store.add_evidence(&server(), other).await.unwrap());
        }
        assert_eq!(store.latest_evidence(&directive.id).await.unwrap(), apart, "{}", database.name);
        assert_eq!(store.evidence_of(&directive.id).await.unwrap().len(), 9);
        assert_eq!(store.latest_evidence(&"SD-DEPLOY-999".into()).await.unwrap(), []);
        assert_eq!(store.evidence_body(&first.sha256).await.unwrap(), Some(body));
        assert_eq!(store.evidence_body(&second.sha256).await.unwrap(), Some(vec![]));
        assert_eq!(store.evidence_body(&Sha256::of(b"none")).await.unwrap(), None);

        let swap = format!("UPDATE evidence_bodies SET body = (SELECT body FROM evidence_bodies WHERE sha256 = '{}')", second.sha256);
        database.tamper(&swap).await;
        assert!(matches!(store.evidence_body(&first.sha256).await, Err(StoreError::Altered(_))));
    }
}

#[tokio::test]
async fn a_report_and_what_gates_say_of_it_are_one_change() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        let new = |gate: &str| NewEvidence {
            directive: directive.id.clone(),
            gate: gate.into(),
            origin: Origin::Claimed,
            format: "junit".into(),
            commit: None,
            digest: directive.digest.clone(),
            measures: None,
            fault: None,
            exit_code: None,
            body: b"report".to_vec(),
            detail: Value::Null,
        };
        let before = store.sequence().await.unwrap();
        let count = |recorded: &[EvidenceRecord]| vec![verdict("tests", Verdict::Pass, recorded.len() as i64)];
        let (by, gates) = (agent(), ["a", "b", "c", "d", "e", "f", "g", "h"]);
        let at_once = join_all(gates.iter().map(|gate| store.add_judged_evidence(&by, new(gate), count))).await;
        let mut seen: Vec<i64> = at_once.into_iter().map(|results| results.unwrap()[0].checked_at.0).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8], "{}: each is judged with those before it", database.name);
        assert_eq!(store.verdicts(&directive.id).await.unwrap()[0].checked_at, Timestamp(8), "the last to be judged has seen all");

        let entries = store.audit_entries(before, 100).await.unwrap();
        let pairs: Vec<_> = entries.chunks(2).map(|pair| pair.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>()).collect();
        assert_eq!(pairs, vec![["add_evidence", "record_verdicts"]; 8]);
        let head = (entries[15].seq, store.audit_head().await.unwrap().1);
        assert_eq!((head, *store.changes().borrow()), (store.audit_head().await.unwrap(), entries[15].seq));

        // Nothing remains of a report whose verdicts cannot be recorded.
        let refused = store.add_judged_evidence(&agent(), new("a"), |_| vec![verdict("te\0sts", Verdict::Pass, 9)]).await;
        assert!(refused.is_err());
        assert_eq!((store.evidence_of(&directive.id).await.unwrap().len(), store.sequence().await.unwrap()), (8, before + 16));
        store.add_judged_evidence(&agent(), new("a"), count).await.unwrap();
        let report = store.audit_verify().await.unwrap();
        assert_eq!((report.broken, report.entries), (None, before + 18), "{}", database.name);
    }
}

#[tokio::test]
async fn old_reports_that_nothing_rests_on_are_forgotten() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        let record = async |body: &str| {
            let new = NewEvidence {
                directive: directive.id.clone(),
                gate: "tests".into(),
                origin: Origin::Claimed,
                format: "junit".into(),
                commit: None,
                digest: directive.digest.clone(),
                measures: Some(BTreeMap::from([("failed".into(), 0.0)])),
                fault: None,
                exit_code: None,
                body: body.as_bytes().to_vec(),
                detail: Value::Null,
            };
            store.add_evidence(&agent(), new).await.unwrap().sha256
        };
        let (unused, judged, planned, decided, twice) = (
            record("nobody looked").await,
            record("a verdict rests on it").await,
            record("a plan rests on it").await,
            record("a person read it").await,
            record("recorded again").await,
        );
        let verdict = GateResult {
            gate: "tests".into(),
            verdict: Verdict::Pass,
            rule: "failed <= 0".into(),
            value: None,
            reason: "counted".into(),
            needs: None,
            who: None,
            how: None,
            asked_by: "server".into(),
            live: false,
            evidence_sha256: Some(judged.clone()),
            checked_at: Timestamp(1),
        };
        store.record_verdicts(&server(), &directive.id, &[verdict]).await.unwrap();
        let mut plan = plan_of(&directive, 1);
        plan.gates[0].evidence_sha256 = Some(planned.clone());
        store.save_plan(&agent(), &plan, PlanState::Planned, None).await.unwrap();
        database
            .tamper(&format!(
                "INSERT INTO approvers (name, number, role, public_key, enrolled_at) VALUES ('ada', 1, 'chairman', 'key', 1);
                 INSERT INTO decisions (number, nonce, kind, subject_sha256, verdict, approver, audit_head, body, decided_at)
                 VALUES (1, 'once', 'sign_off', 'subject', 'approve', 'ada', '{}', '{{\"report\": \"{decided}\"}}', 1)",
                "0".repeat(64)
            ))
            .await;
        let recorded_at = database.clock.now();
        database.clock.advance(Duration::from_millis(1));
        let young = record("a millisecond younger").await;
        record("recorded again").await;
        let before = store.sequence().await.unwrap();

        let forgotten = async |before| store.forget_evidence_bodies(&server(), before).await.unwrap();
        assert!(forgotten(recorded_at).await.is_empty(), "{}: as old as the limit is not older", database.name);
        assert_eq!(store.sequence().await.unwrap(), before, "nothing changed, nothing recorded");
        let limit = recorded_at.plus(Duration::from_millis(1));
        assert_eq!(forgotten(limit).await, std::slice::from_ref(&unused), "{}", database.name);
        assert!(forgotten(limit).await.is_empty());

        assert_eq!(store.evidence_body(&unused).await.unwrap(), None);
        for kept in [judged, planned, decided, twice, young] {
            assert!(store.evidence_body(&kept).await.unwrap().is_some(), "{}", database.name);
        }
        assert_eq!(store.evidence_of(&directive.id).await.unwrap().len(), 7, "what was read from them stays");
        let entry = store.audit_entries(before, 10).await.unwrap().pop().unwrap();
        assert_eq!((entry.action.as_str(), &entry.detail["sha256"]), ("forget_evidence_bodies", &json!([unused])));
        assert_eq!(record("nobody looked").await, unused);
        assert!(store.evidence_body(&unused).await.unwrap().is_some(), "the same report may come again");
    }
}

#[tokio::test]
async fn the_latest_verdict_of_each_gate_counts() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await;
        assert_eq!(store.verdicts(&directive.id).await.unwrap(), []);
        let first = [verdict("tests", Verdict::Fail, 1), verdict("coverage", Verdict::Inconclusive, 1)];
        store.record_verdicts(&server(), &directive.id, &first).await.unwrap();
        store.record_verdicts(&server(), &directive.id, &[verdict("tests", Verdict::Pass, 2)]).await.unwrap();
        let said = store.verdicts(&directive.id).await.unwrap();
        assert_eq!(said, [verdict("coverage", Verdict::Inconclusive, 1), verdict("tests", Verdict::Pass, 2)], "{}", database.name);
    }
}

#[tokio::test]
async fn a_job_runs_once_and_ends_once() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await.id;
        assert_eq!(store.latest_job(&directive, "checks").await.unwrap(), None);
        let (job, existing) = store.start_job(&agent(), &directive, "checks", &Value::Null).await.unwrap();
        assert_eq!((job.id.as_str(), job.state, job.ended_at, existing), ("job_1", JobState::Running, None, false), "{}", database.name);
        assert_eq!(store.start_job(&agent(), &directive, "checks", &json!(1)).await.unwrap(), (job.clone(), true));
        assert!(!store.start_job(&agent(), &directive, "other", &json!(1)).await.unwrap().1);
        assert_eq!(store.running_jobs().await.unwrap().len(), 2);
        assert!(store.update_job(&server(), &job.id, &json!({ "done": 1 })).await.unwrap());
        assert_eq!(store.job(&job.id).await.unwrap().unwrap().detail, json!({ "done": 1 }));
        assert!(store.finish_job(&server(), &job.id, JobState::Interrupted, &json!("restart")).await.unwrap());
        assert!(!store.finish_job(&server(), &job.id, JobState::Done, &json!("late")).await.unwrap());
        assert!(!store.update_job(&server(), &job.id, &json!("late")).await.unwrap());
        let ended = store.job(&job.id).await.unwrap().unwrap();
        assert_eq!((ended.state, &ended.detail, ended.ended_at.is_some()), (JobState::Interrupted, &json!("restart"), true));
        let (again, existing) = store.start_job(&agent(), &directive, "checks", &Value::Null).await.unwrap();
        assert_eq!((again.id.as_str(), existing), ("job_3", false));
        assert_eq!(store.latest_job(&directive, "checks").await.unwrap(), Some(again));
        assert_eq!(store.job("job_99").await.unwrap(), None);
    }
}

#[tokio::test]
async fn incidents_measurements_and_artifacts_are_found_again() {
    for database in databases().await {
        let store = database.open().await;
        assert_eq!(store.latest_incidents(9).await.unwrap(), []);
        let (deployment, _) = deployment(&store, "web", "staging", "1").await;
        let incident = NewIncident {
            deployment: deployment.id.clone(),
            rule: "DEPLOY-002".into(),
            severity: "P1".into(),
            summary: "error rate 7 %".into(),
            action: "traffic rollback".into(),
            evidence: json!({ "error_percent": 7.25 }),
        };
        let recorded = store.add_incident(&server(), incident).await.unwrap();
        assert_eq!(recorded.id, "inc_1");
        assert_eq!(store.incidents(&deployment.id).await.unwrap(), std::slice::from_ref(&recorded), "{}", database.name);
        assert_eq!(store.incidents(&"dep_99".into()).await.unwrap(), []);
        assert_eq!(store.incident("inc_1").await.unwrap(), Some(recorded.clone()));
        assert_eq!(store.incident("inc_2").await.unwrap(), None);
        assert_eq!(store.latest_incidents(9).await.unwrap(), std::slice::from_ref(&recorded));
        let next = NewIncident {
            deployment: deployment.id.clone(),
            rule: "DEPLOY-003".into(),
            severity: "P0".into(),
            summary: "a request failed".into(),
            action: "traffic rollback".into(),
            evidence: Value::Null,
        };
        let next = store.add_incident(&server(), next).await.unwrap();
        assert_eq!(store.latest_incidents(1).await.unwrap(), [next]);

        store.add_measurement(&server(), &deployment.id, "watch", &json!({ "p95_ms": 12.5 })).await.unwrap();
        store.add_measurement(&server(), &deployment.id, "smoke", &Value::Null).await.unwrap();
        let measured = store.measurements(&deployment.id).await.unwrap();
        assert_eq!(
            measured.iter().map(|one| (one.kind.as_str(), &one.body)).collect::<Vec<_>>(),
            [("watch", &json!({ "p95_ms": 12.5 })), ("smoke", &Value::Null)]
        );
        assert_eq!(store.measurements(&"dep_99".into()).await.unwrap(), []);

        let artifact = |path: &str| NewArtifact {
            directive: deployment.directive.clone(),
            name: "docs/deployment.md".into(),
            path: path.into(),
            sha256: Sha256::of(path.as_bytes()),
            size_bytes: 9,
        };
        store.add_artifact(&server(), &artifact("docs/deployment.md")).await.unwrap();
        store.add_artifact(&server(), &artifact("docs/deployment.interlock.md")).await.unwrap();
        let artifacts = store.artifacts(&deployment.directive).await.unwrap();
        assert_eq!(artifacts.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["docs/deployment.interlock.md"]);
        assert_eq!(store.artifacts(&"SD-DEPLOY-999".into()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn the_newest_proof_of_a_kind_counts_where_it_was_made() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await.id;
        let latest = async |environment: &str, kind| store.latest_proof(&"web".into(), &environment.into(), kind).await.unwrap();
        assert_eq!(latest("staging", ProofKind::Alert).await, None, "{}", database.name);
        let seen = |detail: Value| NewProof {
            directive: directive.clone(),
            service: "web".into(),
            environment: "staging".into(),
            kind: ProofKind::Alert,
            detail,
        };
        store.add_proof(&agent(), seen(json!({ "arrived": true }))).await.unwrap();
        let failed = store.add_proof(&agent(), seen(Value::Null)).await.unwrap();
        assert_eq!((failed.id.as_str(), failed.proven_by.as_str()), ("proof_2", "agent"));
        assert_eq!(latest("staging", ProofKind::Alert).await, Some(failed), "one that has shown nothing counts, too");
        assert_eq!(latest("production", ProofKind::Alert).await, None);
        assert_eq!(latest("staging", ProofKind::Backup).await, None);
        assert!(store.add_proof(&agent(), NewProof { directive: "SD-DEPLOY-099".into(), ..seen(Value::Null) }).await.is_err());
    }
}

#[tokio::test]
async fn the_same_refusal_is_counted_until_the_call_succeeds() {
    for database in databases().await {
        let store = database.open().await;
        let (same, other) = (Sha256::of(b"{}"), Sha256::of(b"{1}"));
        let refuse = |arguments: &Sha256, code: &'static str| {
            let (store, arguments) = (store.clone(), arguments.clone());
            async move { store.count_refusal(&agent(), "plan_deployment", &arguments, code).await.unwrap() }
        };
        assert!(!store.clear_refusals(&agent(), "plan_deployment", &same).await.unwrap());
        assert_eq!(store.sequence().await.unwrap(), 0, "{}: nothing to forget, nothing recorded", database.name);
        assert_eq!((refuse(&same, "gate_failed").await, refuse(&same, "gate_failed").await), (1, 2));
        assert_eq!(refuse(&other, "gate_failed").await, 1);
        assert_eq!(refuse(&same, "gate_failed").await, 3);
        assert_eq!(refuse(&same, "frozen").await, 1, "another reason is another refusal");
        assert!(store.clear_refusals(&agent(), "plan_deployment", &same).await.unwrap());
        assert_eq!((refuse(&same, "gate_failed").await, refuse(&other, "gate_failed").await), (1, 2));
        assert_eq!(store.audit_entries(0, 1).await.unwrap()[0].action, "refused");
    }
}

#[tokio::test]
async fn a_dossier_is_kept_once_and_replaced_by_the_next() {
    for database in databases().await {
        let store = database.open().await;
        let directive = directive(&store, "web", "staging", "1").await.id;
        assert_eq!(store.dossier(&directive).await.unwrap(), Dossier::default(), "{}", database.name);
        let run = |output: &str, exit_code| CommandRun {
            commit: "c".into(),
            at: Timestamp(7),
            exit_code,
            fault: None,
            sha256: Sha256::of(output.as_bytes()),
            size_bytes: output.len() as u64,
            output: output.into(),
        };
        let command = vec!["cat".to_owned(), "a \"b\"".into()];
        let runs = CommandRuns { command: command.clone(), first: run("one", Some(0)), last: run("one", Some(0)) };
        assert!(runs.holds());
        assert!(!CommandRuns { last: run("two", Some(0)), ..runs.clone() }.holds());
        assert!(!CommandRuns { last: run("one", None), ..runs.clone() }.holds());
        let kept = Dossier { claims: vec!["it holds — 'so'".into()], commands: vec![command], runs: vec![runs] };
        store.keep_dossier(&agent(), &directive, &kept).await.unwrap();
        let recorded = store.sequence().await.unwrap();
        store.keep_dossier(&agent(), &directive, &kept).await.unwrap();
        assert_eq!(store.sequence().await.unwrap(), recorded, "nothing changed, nothing recorded");
        assert_eq!(store.dossier(&directive).await.unwrap(), kept);
        let next = Dossier { claims: vec![], ..kept };
        store.keep_dossier(&agent(), &directive, &next).await.unwrap();
        assert_eq!(store.dossier(&directive).await.unwrap(), next);
    }
}

#[tokio::test]
async fn an_hour_is_noted_for_its_place_and_forgotten_in_time() {
    for database in databases().await {
        let store = database.open().await;
        let (deployment, _) = deployment(&store, "web", "production", "1.0.0").await;
        let noted = async |since| {
            let noted = store.noted_hours(&"web".into(), &"production".into(), since).await.unwrap();
            noted.into_iter().map(|noted| noted.body).collect::<Vec<_>>()
        };
        assert!(noted(Timestamp(0)).await.is_empty(), "{}", database.name);
        let first = database.clock.now();
        store.add_measurement(&server(), &deployment.id, "watch", &json!({ "1.0.0": 1 })).await.unwrap();
        store.note_hour(&server(), &deployment.id, &json!({ "1.0.0": 5 }), Timestamp(0)).await.unwrap();
        database.clock.advance(Duration::from_secs(3600));
        store.note_hour(&server(), &deployment.id, &json!({ "1.0.0": 9 }), Timestamp(0)).await.unwrap();
        assert_eq!(noted(Timestamp(0)).await, [json!({ "1.0.0": 5 }), json!({ "1.0.0": 9 })], "{}", database.name);
        assert_eq!(noted(first.plus(Duration::from_secs(1))).await, [json!({ "1.0.0": 9 })]);
        assert!(store.noted_hours(&"web".into(), &"staging".into(), Timestamp(0)).await.unwrap().is_empty(), "another place");

        store.note_hour(&server(), &deployment.id, &json!({ "1.0.0": 9 }), first.plus(Duration::from_secs(1))).await.unwrap();
        assert_eq!(noted(Timestamp(0)).await.len(), 2, "the oldest is forgotten");
        assert_eq!(store.measurements(&deployment.id).await.unwrap().len(), 3, "and nothing of another kind");
    }
}

fn verdict(gate: &str, verdict: Verdict, at: i64) -> GateResult {
    GateResult {
        gate: gate.into(),
        verdict,
        rule: "failed <= 0".into(),
        value: None,
        reason: "counted".into(),
        needs: None,
        who: Some(Who::Ci),
        how: None,
        asked_by: "server".into(),
        live: false,
        evidence_sha256: Some(Sha256::of(b"report")),
        checked_at: Timestamp(at),
    }
}
