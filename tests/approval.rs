//! Nothing but a signature lets a release into production, and a signature holds for exactly what was signed.

mod support;

use ed25519_dalek::SigningKey;
use interlock::{
    decisions::Question,
    model::{Clock, DecisionKind, DecisionVerdict, Sha256, SignedDecision, SystemClock, Timestamp, decision::Signature},
};
use serde_json::{Value, json};
use std::{os::unix::fs::PermissionsExt, time::Duration};
use support::{
    mcp::{Client, initialize, modern},
    on_both,
    shop::{APPROVAL, Approver, Database, PATIENCE, Shop, finish, http, line, served, text},
};

on_both!(
    only_the_right_signature_over_these_bytes_approves,
    a_rejected_plan_tells_the_agent_why_until_it_is_approved_after_all,
    the_first_approver_is_trusted_and_every_later_one_is_decided,
    a_link_for_a_passkey_is_printed_once_and_kept_nowhere,
    configuration_counts_when_it_is_signed_and_never_from_the_file,
    what_was_approved_must_still_be_so,
    a_plan_is_stale_after_another_deployment_and_a_rollback_goes_back_once,
    requests_and_approvals_expire_and_are_opened_again,
    on_approval_execute_starts_without_the_agent,
    where_a_person_begins_every_step_an_agent_begins_none,
    an_agents_word_never_counts_in_production,
    no_edge_of_an_agent_knows_a_decision,
    what_a_client_answers_to_an_offered_address_decides_nothing,
    a_freeze_is_declared_by_anybody_and_lifted_by_a_signature_only,
);

fn standard(shop: &Shop) -> String {
    shop.configuration(APPROVAL)
}

async fn only_the_right_signature_over_these_bytes_approves(database: Database) {
    let (shop, ada) = Shop::signed(database, standard).await;
    let intern = Approver::new("ian");
    let enrolment = intern.enrolment("intern");
    shop.decides(&ada, DecisionKind::Approver, enrolment, DecisionVerdict::Approve, None).await.unwrap();
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    let waits = shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;
    assert_eq!((&waits["who"], &waits["retryable"]), (&json!("person"), &json!(false)));
    assert!(waits["next_actions"].to_string().contains(&format!("interlock approve {plan}")), "{waits:#}");

    let question = Question { kind: DecisionKind::Plan, subject: json!(plan), verdict: DecisionVerdict::Approve };
    let review = shop.review(&question).await.unwrap();
    assert_eq!(review.subject_sha256, Sha256::of(review.document.as_bytes()));
    let good = || ada.decision(&review, DecisionVerdict::Approve, None);
    let eve = Approver { name: ada.name.clone(), key: SigningKey::from_bytes(&rand::random()) };
    let used = format!("{:032x}", 7);
    let refused: Vec<(&str, SignedDecision)> = vec![
        ("another role", intern.sign(intern.decision(&review, DecisionVerdict::Approve, None))),
        ("nobody enrolled", Approver::new("eve").sign(Approver::new("eve").decision(&review, DecisionVerdict::Approve, None))),
        ("another key under a known name", eve.sign(good())),
        ("no signature", SignedDecision { decision: good(), signature: Signature::Ed25519(String::new()) }),
        ("a signature over something else", SignedDecision { decision: good(), signature: ada.sign(good()).signature }),
        ("one byte of the document changed", {
            let mut document = review.document.clone().into_bytes();
            *document.last_mut().unwrap() ^= 1;
            ada.sign(interlock::model::Decision { subject_sha256: Sha256::of(&document), ..good() })
        }),
        ("expired", ada.sign(interlock::model::Decision { expires_at: Timestamp(SystemClock.now().0 - 1), ..good() })),
        ("another environment", ada.sign(interlock::model::Decision { environment: Some("staging".into()), ..good() })),
        ("no environment", ada.sign(interlock::model::Decision { environment: None, ..good() })),
        ("another kind", ada.sign(interlock::model::Decision { kind: DecisionKind::Runbook, ..good() })),
        ("the other verdict", ada.sign(ada.decision(&review, DecisionVerdict::Reject, Some("no")))),
    ];
    for (why, signed) in refused {
        let refusal = shop.hand_in(&question, &signed).await.expect_err(why);
        assert_eq!(refusal["code"], "decision_refused", "{why}: {refusal:#}");
        shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;
    }
    let no = Question { verdict: DecisionVerdict::Reject, ..question.clone() };
    for reason in [None, Some(""), Some(" \n")] {
        let signed = ada.sign(ada.decision(&review, DecisionVerdict::Reject, reason));
        assert_eq!(shop.hand_in(&no, &signed).await.unwrap_err()["code"], "decision_refused", "a refusal without a reason");
    }

    // The positive control: the same bytes, signed by the right person.
    shop.hand_in(&question, &ada.sign(interlock::model::Decision { nonce: used.clone(), ..good() })).await.unwrap();
    let first = shop.execute(&plan).await;
    assert_eq!(first["state"], "succeeded", "{first:#}");
    assert_eq!(served(shop.production).await, "hello from 1.0.0\n");
    let again = shop.must("execute_deployment", json!({ "plan": plan })).await;
    assert_eq!((&again["existing"], &again["deployment"]), (&json!(true), &first["deployment"]["id"]));

    // A nonce counts once, whatever it is used for.
    let directive = shop.directive("production", "2.0.0").await;
    let question = Question { subject: json!(shop.plan(&directive).await), ..question };
    let review = shop.review(&question).await.unwrap();
    let decision = ada.decision(&review, DecisionVerdict::Approve, None);
    let replayed = ada.sign(interlock::model::Decision { nonce: used, ..decision });
    assert_eq!(shop.hand_in(&question, &replayed).await.unwrap_err()["code"], "decision_refused");
    shop.refused("approval_required", "execute_deployment", json!({ "plan": question.subject })).await;
    shop.must("audit_verify", json!({})).await;
}

async fn a_rejected_plan_tells_the_agent_why_until_it_is_approved_after_all(database: Database) {
    let (shop, ada) = Shop::signed(database, standard).await;
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    let reason = "the banner is\u{202e} still red";
    shop.decides(&ada, DecisionKind::Plan, json!(plan), DecisionVerdict::Reject, Some(reason)).await.unwrap();
    for (operation, arguments) in [("execute_deployment", json!({ "plan": plan })), ("plan_deployment", json!({ "directive": directive }))]
    {
        let refusal = shop.refused("approval_rejected", operation, arguments).await;
        let message = text(&refusal["message"]);
        assert!(message.contains("the banner is") && message.contains("still red"), "{operation}: {message}");
        assert!(!message.contains('\u{202e}'), "what turns text around is shown as an escape: {message}");
    }
    let status = shop.must("get_status", json!({ "directive": directive })).await;
    assert_eq!(status["state"], "rejected");
    assert!(text(&status["summary"]).contains("still red"), "{status:#}");
    // A new directive for the same bytes is the same directive: there is no way around a no.
    let order = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": "build/1.0.0" });
    let again = shop.must("create_directive", order).await;
    assert_eq!((&again["existing"], &again["directive"]["id"]), (&json!(true), &json!(directive)));

    shop.approves(&ada, &plan).await.unwrap();
    let planned = shop.must("plan_deployment", json!({ "directive": directive })).await;
    assert_eq!((&planned["plan"], &planned["state"]), (&json!(plan), &json!("approved")));
    // An approval is taken back by a no as well.
    shop.decides(&ada, DecisionKind::Plan, json!(plan), DecisionVerdict::Reject, Some("wait for Monday")).await.unwrap();
    shop.refused("approval_rejected", "execute_deployment", json!({ "plan": plan })).await;
    shop.approves(&ada, &plan).await.unwrap();
    assert_eq!(shop.execute(&plan).await["state"], "succeeded");
}

async fn the_first_approver_is_trusted_and_every_later_one_is_decided(database: Database) {
    let shop = Shop::open(database).await;
    let (ada, bob) = (Approver::new("ada"), Approver::new("bob"));
    for broken in [json!({ "name": "Ada", "role": "chairman", "public_key": "00" }), json!({ "name": "ada" }), json!([])] {
        shop.refused("invalid_arguments", "enrol_first", broken).await;
    }
    shop.enrol_first(&ada).await.unwrap();
    for person in [&ada, &bob, &Approver::new("ada")] {
        shop.refused("denied_by_policy", "enrol_first", person.enrolment("chairman")).await;
    }
    // Nobody enrols oneself by one's own signature.
    let own = shop.decides(&bob, DecisionKind::Approver, bob.enrolment("chairman"), DecisionVerdict::Approve, None).await;
    assert_eq!(own.unwrap_err()["code"], "decision_refused");
    shop.decides(&ada, DecisionKind::Approver, bob.enrolment("chairman"), DecisionVerdict::Approve, None).await.unwrap();
    let approvers = shop.must("approvers", json!({})).await;
    let names: Vec<&Value> = approvers["approvers"].as_array().unwrap().iter().map(|approver| &approver["name"]).collect();
    assert_eq!(names, ["ada", "bob"]);
    // The second one decides like the first.
    shop.apply_signed(&bob).await;
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    shop.approves(&bob, &plan).await.unwrap();
}

async fn a_link_for_a_passkey_is_printed_once_and_kept_nowhere(database: Database) {
    let shop = Shop::open(database).await;
    let run = async |words: &[&str]| {
        let output = finish(&mut shop.interlock(words)).await;
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let nobody = run(&["approver", "list"]).await;
    assert!(nobody.contains("interlock approver add NAME") && nobody.contains("interlock approver link NAME"), "{nobody}");
    let printed = run(&["approver", "link", "ada"]).await;
    let (address, _) = shop.listens();
    let token = printed.strip_prefix(&format!("http://localhost:{}/enrol?link=", address.port())).unwrap_or_else(|| panic!("{printed}"));
    let token = token.lines().next().unwrap();
    assert!(token.len() == 64 && printed.contains("the passkey counts at once"), "{printed}");
    assert!(!run(&["approver", "link", "ada"]).await.contains(token), "each is another");
    shop.enrol_first(&Approver::new("ada")).await.unwrap();
    let later: Value = serde_json::from_str(&run(&["approver", "link", "bob", "--json"]).await).unwrap();
    assert_eq!(later["counts_at_once"], false, "{later:#}");
    for (wrong, code) in [
        (json!({ "name": "ada", "role": "intern" }), "invalid_arguments"),
        (json!({ "name": "Ada", "role": "chairman" }), "invalid_arguments"),
        (json!({ "name": "bob" }), "invalid_arguments"),
        (json!([]), "invalid_arguments"),
    ] {
        shop.refused(code, "enrolment_link", wrong).await;
    }
    let unknown = run(&["approver", "admit", "0000-0000-0000-0000"]).await;
    assert!(unknown.contains("no waiting passkey"), "{unknown}");
    // A passkey is enrolled in a browser, never handed in.
    let made = json!({ "credential_id": "AA", "public_key": "00", "rp_id": "localhost", "sign_count": 0 });
    let enrolment = json!({ "name": "eve", "role": "chairman", "public_key": made });
    shop.refused("invalid_arguments", "enrol_first", enrolment.clone()).await;
    let question = Question { kind: DecisionKind::Approver, subject: enrolment, verdict: DecisionVerdict::Approve };
    assert_eq!(shop.review(&question).await.unwrap_err()["code"], "invalid_arguments");
    let listed = run(&["approver", "list"]).await;
    assert!(listed.starts_with("ada (chairman) ") && !listed.contains("waits"), "{listed}");
    assert!(run(&["audit", "verify"]).await.contains("holds"));
}

async fn configuration_counts_when_it_is_signed_and_never_from_the_file(database: Database) {
    let shop = Shop::open(database).await;
    let order = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": shop.build("1.0.0") });
    let pending = shop.refused("configuration_pending", "create_directive", order.clone()).await;
    assert_eq!(pending["who"], "person");
    // Where nobody has to sign it is in force at once.
    shop.directive("staging", "1.0.0").await;
    let overview = shop.must("get_status", json!({})).await;
    let place = |overview: &Value, name: &str| {
        let places = overview["places"].as_array().unwrap();
        places.iter().find(|place| place["environment"] == name).cloned().unwrap_or_else(|| panic!("{overview:#}"))
    };
    assert!(text(&place(&overview, "production")["requires"]).contains("signed first"), "{overview:#}");
    let ada = Approver::new("ada");
    shop.enrol_first(&ada).await.unwrap();
    shop.apply_signed(&ada).await;
    let directive = text(&shop.must("create_directive", order).await["directive"]["id"]);
    assert!(shop.must("get_status", json!({})).await.get("configuration_drifted").is_none());

    // An agent edits the file, and even hands it in: nothing changes in production.
    let open = shop.read("interlock.toml").lines().filter(|line| !line.starts_with("approval")).collect::<Vec<_>>().join("\n");
    shop.write("interlock.toml", &open);
    let drifted = shop.must("get_status", json!({})).await;
    assert_eq!(drifted["configuration_drifted"], true, "{drifted:#}");
    let applied = shop.apply().await.unwrap();
    assert_eq!(applied["proposal"]["environments"], json!(["production"]), "{applied:#}");
    let waits = shop.must("get_status", json!({})).await;
    assert!(text(&place(&waits, "production")["requires"]).contains("approval of chairman"), "what is in force is shown: {waits:#}");
    let plan = shop.plan(&directive).await;
    shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;

    // A change of the role that signs is signed by the old role.
    let intern = Approver::new("ian");
    shop.decides(&ada, DecisionKind::Approver, intern.enrolment("intern"), DecisionVerdict::Approve, None).await.unwrap();
    shop.write("interlock.toml", &shop.configuration(&APPROVAL.replace("chairman", "intern")));
    let revision = shop.apply().await.unwrap()["revision"].clone();
    let by_intern = shop.decides(&intern, DecisionKind::Configuration, revision.clone(), DecisionVerdict::Approve, None).await.unwrap_err();
    assert_eq!(by_intern["code"], "decision_refused", "{by_intern:#}");
    shop.decides(&ada, DecisionKind::Configuration, revision, DecisionVerdict::Approve, None).await.unwrap();
}

async fn what_was_approved_must_still_be_so(database: Database) {
    let (shop, ada) = Shop::signed(database, standard).await;
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    shop.approves(&ada, &plan).await.unwrap();
    // A newer revision that does not reach the service's effective configuration changes nothing; one that does voids.
    shop.write("interlock.toml", &standard(&shop).replace("keep  = 5", "keep  = 4"));
    shop.apply_signed(&ada).await;
    let void = shop.refused("approval_void", "execute_deployment", json!({ "plan": plan })).await;
    assert_eq!(void["details"]["field"], "configuration", "{void:#}");
    assert!(void["next_actions"].to_string().contains("plan_deployment"), "{void:#}");
    shop.refused("approval_void", "execute_deployment", json!({ "plan": plan })).await;

    let second = shop.plan(&directive).await;
    assert_ne!(second, plan);
    shop.approves(&ada, &second).await.unwrap();
    let digest = shop.must("get_status", json!({ "directive": directive })).await["directive"]["digest"].clone();
    let file = shop.pinned(&digest).join("app.json");
    assert!(file.is_file(), "{file:?}");
    for path in [file.parent().unwrap(), &file] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, r#"{ "version": "6.6.6" }"#).unwrap();
    shop.refused("artifact_changed", "execute_deployment", json!({ "plan": second })).await;
    assert!(served(shop.production).await.starts_with("error"), "nothing was started");
    // The positive control: with its own bytes again the same approval holds.
    std::fs::write(&file, right).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(file.parent().unwrap(), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(shop.execute(&second).await["state"], "succeeded");
}

async fn a_plan_is_stale_after_another_deployment_and_a_rollback_goes_back_once(database: Database) {
    let (shop, ada) = Shop::signed(database, standard).await;
    shop.deliver(&ada, "1.0.0").await;
    let (second, third) = (shop.directive("production", "2.0.0").await, shop.directive("production", "3.0.0").await);
    let (plan, stale) = (shop.plan(&second).await, shop.plan(&third).await);
    for plan in [&plan, &stale] {
        shop.approves(&ada, plan).await.unwrap();
    }
    let deployed = text(&shop.execute(&plan).await["deployment"]["id"]);
    let refusal = shop.refused("stale_plan", "execute_deployment", json!({ "plan": stale })).await;
    assert_eq!(refusal["details"]["field"], "base", "{refusal:#}");

    let back = shop.must("rollback_deployment", json!({ "deployment": deployed, "reason": "the banner" })).await;
    assert_eq!((&back["existing"], &back["version"]), (&json!(false), &json!("1.0.0")));
    let id = text(&back["deployment"]);
    assert_eq!(shop.settled(&id).await["state"], "succeeded");
    assert_eq!(served(shop.production).await, "hello from 1.0.0\n");
    for again in [
        json!({ "deployment": deployed, "reason": "again" }),
        json!({ "service": "web", "environment": "production", "reason": "once more" }),
    ] {
        let same = shop.must("rollback_deployment", again).await;
        assert_eq!((&same["existing"], &same["deployment"], &same["version"]), (&json!(true), &json!(id), &json!("1.0.0")), "{same:#}");
    }
    shop.refused("nothing_to_roll_back", "rollback_deployment", json!({ "deployment": id, "reason": "further" })).await;
    assert_eq!(served(shop.production).await, "hello from 1.0.0\n");
    // What was planned on the release that is gone is as stale as before.
    let status = shop.must("get_status", json!({ "directive": second })).await;
    assert_eq!(status["state"], "rolled_back", "{status:#}");
}

async fn requests_and_approvals_expire_and_are_opened_again(database: Database) {
    let short = |shop: &Shop| shop.configuration(r#"{ role = "chairman", expires = "1s", request_expires = "5s" }"#);
    let (shop, ada) = Shop::signed(database, short).await;
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    shop.until(&directive, "expired").await;
    let nobody = shop.refused("approval_expired", "execute_deployment", json!({ "plan": plan })).await;
    assert!(text(&nobody["message"]).contains("nobody decided"), "{nobody:#}");
    let late = shop.approves(&ada, &plan).await.unwrap_err();
    assert_eq!(late["code"], "wrong_state", "{late:#}");

    let reopened = shop.must("plan_deployment", json!({ "directive": directive })).await;
    assert_eq!((&reopened["plan"], &reopened["state"]), (&json!(plan), &json!("awaiting_approval")), "{reopened:#}");
    shop.approves(&ada, &plan).await.unwrap();
    shop.until(&directive, "expired").await;
    let unused = shop.refused("approval_expired", "execute_deployment", json!({ "plan": plan })).await;
    assert!(text(&unused["message"]).contains("not used in time"), "{unused:#}");
    let reopened = shop.must("plan_deployment", json!({ "directive": directive })).await;
    assert_eq!(reopened["state"], "awaiting_approval", "a new request, and the old approval does not count: {reopened:#}");
    shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;
}

async fn on_approval_execute_starts_without_the_agent(database: Database) {
    // The two ways to write it.
    let configuration = |shop: &Shop| match database {
        Database::Sqlite => shop.configuration(r#"{ role = "chairman", on_approval = "execute" }"#),
        _ => shop.configuration("{ role = \"chairman\" }\nprogression = \"auto\""),
    };
    let (shop, ada) = Shop::signed(database.clone(), configuration).await;
    let places = shop.must("get_status", json!({})).await["places"].to_string();
    assert!(places.contains("approval of chairman, then goes on by itself"), "{places}");
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    shop.approves(&ada, &plan).await.unwrap();
    let began = std::time::Instant::now();
    let deployment = loop {
        let listed = shop.must("list_deployments", json!({ "environment": "production" })).await;
        if let Some(found) = listed["deployments"].as_array().and_then(|found| found.first()) {
            break text(&found["id"]);
        }
        assert!(began.elapsed() < PATIENCE, "it did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(shop.settled(&deployment).await["state"], "succeeded");
    assert_eq!(served(shop.production).await, "hello from 1.0.0\n");
}

/// Returns what a tool told.
fn told(mut reply: Value) -> Value {
    reply["result"]["structuredContent"].take()
}

async fn where_a_person_begins_every_step_an_agent_begins_none(database: Database) {
    let manual = |shop: &Shop| shop.configuration(&format!("{APPROVAL}\nprogression = \"manual\""));
    let (shop, ada) = Shop::signed(database, manual).await;
    let places = shop.must("get_status", json!({})).await["places"].to_string();
    assert!(places.contains("a person for every step"), "{places}");
    // An agent says what it wants, and looks.
    let artifact = shop.build("1.0.0");
    let order = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": artifact });
    let directive = text(&told(shop.tool("create_directive", order).await)["directive"]["id"]);
    let by_agent = async |tool: &str, arguments: Value| {
        let refusal = told(shop.tool(tool, arguments).await);
        assert_eq!((&refusal["code"], &refusal["who"]), (&json!("denied_by_policy"), &json!("person")), "{tool}: {refusal:#}");
        let command = format!("interlock {} ", tool.replace('_', "-"));
        assert!(refusal["next_actions"][0]["command"].as_str().is_some_and(|it| it.starts_with(&command)), "{tool}: {refusal:#}");
    };
    let of_directive = json!({ "directive": directive });
    for tool in ["run_predeploy_checks", "plan_deployment", "complete_directive"] {
        by_agent(tool, of_directive.clone()).await;
    }
    let status = told(shop.tool("get_status", of_directive.clone()).await);
    let first = &status["next_actions"][0];
    assert_eq!((&first["who"], &first["tool"]), (&json!("person"), &Value::Null), "{status:#}");
    assert_eq!(first["command"], format!("interlock run-predeploy-checks --directive {directive}"));
    // A person takes the same steps, and an approval changes nothing about who begins the next one.
    shop.must("run_predeploy_checks", of_directive).await;
    let plan = shop.plan(&directive).await;
    shop.approves(&ada, &plan).await.unwrap();
    by_agent("execute_deployment", json!({ "plan": plan })).await;
    let deployment = text(&shop.execute(&plan).await["deployment"]["id"]);
    by_agent("verify_deployment", json!({ "deployment": deployment })).await;
    // Going back needs nobody.
    let back = told(shop.tool("rollback_deployment", json!({ "deployment": deployment, "reason": "for the test" })).await);
    assert!(back["deployment"].is_string(), "{back:#}");
    assert_eq!(shop.settled(&text(&back["deployment"])).await["deployment"]["state"], "succeeded", "{back:#}");
    // The positive control: where the agent drives, it begins the same step.
    let staged = shop.directive("staging", "1.0.0").await;
    let checked = told(shop.tool("run_predeploy_checks", json!({ "directive": staged })).await);
    assert_eq!(checked.get("code"), None, "{checked:#}");
}

async fn an_agents_word_never_counts_in_production(database: Database) {
    let with_tests = |shop: &Shop| {
        let feed = r#"[gates]
tests = { run = ">= 1", command = ["true"], report = "junit.xml", format = "junit" }
"#;
        shop.configuration(APPROVAL).replace("tests           = \"off\"\n", "") + feed
    };
    let (shop, _) = Shop::signed(database, with_tests).await;
    let directive = shop.directive("production", "1.0.0").await;
    let report = r#"<testsuites><testsuite name="a" tests="1" failures="0"><testcase name="b"/></testsuite></testsuites>"#;
    let claim = json!({ "directive": directive, "kind": "tests", "content": report });
    for attempt in 1..=4 {
        let refusal = shop.tool("record_evidence", claim.clone()).await["result"]["structuredContent"].take();
        assert_eq!((&refusal["code"], &refusal["attempts"]), (&json!("denied_by_policy"), &json!(attempt)), "{refusal:#}");
        assert_eq!(refusal.get("stop_and_tell_user").is_some(), attempt >= 3, "{refusal:#}");
        assert!(!refusal["next_actions"].to_string().contains("record_evidence"), "{refusal:#}");
    }
    shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
    let status = shop.until(&directive, "gates_failing").await;
    assert!(!status["next_actions"].to_string().contains("record_evidence"), "{status:#}");
    let refusal = shop.refused("gate_failed", "plan_deployment", json!({ "directive": directive })).await;
    assert!(!refusal.to_string().contains("record_evidence"), "{refusal:#}");
    // The positive control: where an agent's word counts, it is taken.
    let text = shop.read("interlock.toml") + "\n[environments.staging.gates]\ntests = { run = \">= 1\" }\n";
    shop.write("interlock.toml", &text);
    shop.apply().await.unwrap();
    let staged = shop.directive("staging", "1.0.0").await;
    shop.must("record_evidence", json!({ "directive": staged, "kind": "tests", "content": report })).await;
}

async fn no_edge_of_an_agent_knows_a_decision(database: Database) {
    let (shop, ada) = Shop::signed(database, standard).await;
    let directive = shop.directive("production", "1.0.0").await;
    let question = Question { kind: DecisionKind::Plan, subject: json!(shop.plan(&directive).await), verdict: DecisionVerdict::Approve };
    let review = shop.review(&question).await.unwrap();
    // Even with a signature that would count.
    let signed = ada.sign(ada.decision(&review, DecisionVerdict::Approve, None));
    let params = json!({ "question": question, "signed": signed });
    let (address, token) = shop.listens();
    let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    for method in [
        "decide",
        "approve",
        "review",
        "apply",
        "enrol_first",
        "enrolment_link",
        "approvers",
        "down",
        "sign_off",
        "measure",
        "notified",
        "notify_test",
        "audit_verify",
        "freeze",
        "freezes",
    ] {
        let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let (status, body) = http(address, "POST", "/rpc", &headers, &asked).await.unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32601)), "{method}: {answer}");
        let answer = shop.tool(method, params.clone()).await;
        let is_unknown = answer["error"]["code"] == -32602 || answer["result"]["structuredContent"]["code"] == "not_found";
        assert!(is_unknown, "{method}: {answer}");
        let answer = line(&shop.agent_socket(), method, params.clone()).await;
        assert!(answer["error"].is_object(), "{method}: {answer}");
    }
    shop.refused("approval_required", "execute_deployment", json!({ "plan": question.subject })).await;
    // The positive control: the same document counts where people hand it in.
    shop.hand_in(&question, &signed).await.unwrap();
}

async fn a_freeze_is_declared_by_anybody_and_lifted_by_a_signature_only(database: Database) {
    let shop = Shop::open(database).await;
    let run = async |words: &[&str]| {
        let output = finish(&mut shop.interlock(words)).await;
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let declared = run(&["freeze", "--all", "--reason", "the \u{202e}till is empty"]).await;
    assert!(declared.contains("frz_1 holds"), "{declared}");
    let listed = run(&["freezes"]).await;
    assert!(listed.contains("frz_1 everywhere: in force until it is lifted; by operator: the \\u{202e}till"), "{listed}");
    let rule = ["--every", "FREQ=WEEKLY;BYDAY=SA,SU", "--for", "1d", "--zone", "Europe/Zurich", "--reason", "weekends"];
    run(&[&["freeze", "staging"], &rule[..]].concat()).await;
    let listed: Value = serde_json::from_str(&run(&["freezes", "--json"]).await).unwrap();
    assert_eq!(listed["freezes"][1]["recurrence"]["zone"], "Europe/Zurich", "{listed:#}");
    for wrong in [&["freeze", "--reason", "where?"][..], &["freeze", "staging", "--all", "--reason", "both"]] {
        let refused = run(wrong).await;
        assert!(refused.contains("error:"), "{refused}");
    }

    // Nobody is enrolled: nobody lifts, and it is said what to do.
    let lift = Question { kind: DecisionKind::Unfreeze, subject: json!("frz_1"), verdict: DecisionVerdict::Approve };
    let refused = shop.review(&lift).await.unwrap_err();
    assert_eq!(refused["code"], "denied_by_policy", "{refused:#}");
    assert!(text(&refused["hint"]).contains("interlock approver add"), "{refused:#}");

    let (ada, ian) = (Approver::new("ada"), Approver::new("ian"));
    shop.enrol_first(&ada).await.unwrap();
    shop.decides(&ada, DecisionKind::Approver, ian.enrolment("intern"), DecisionVerdict::Approve, None).await.unwrap();
    let lifts =
        async |who: &Approver, subject: Value| shop.decides(who, DecisionKind::Unfreeze, subject, DecisionVerdict::Approve, None).await;
    // Production asks for a chairman; staging asks for nobody, so that any approver lifts there.
    assert_eq!(lifts(&ian, json!("frz_1")).await.unwrap_err()["code"], "decision_refused");
    assert_eq!(lifts(&ian, json!({ "freeze": "frz_1", "environment": "production" })).await.unwrap_err()["code"], "decision_refused");
    lifts(&ian, json!("frz_2")).await.unwrap();
    let directive = shop.directive("staging", "1.0.0").await;
    let plan = shop.must("plan_deployment", json!({ "directive": directive })).await;
    shop.refused("frozen", "execute_deployment", json!({ "plan": plan["plan"] })).await;
    lifts(&ian, json!({ "freeze": "frz_1", "environment": "staging" })).await.unwrap();
    assert_eq!(shop.execute(&text(&plan["plan"])).await["state"], "succeeded");
    lifts(&ada, json!("frz_1")).await.unwrap();
    assert!(run(&["freezes"]).await.contains("nothing is frozen"));
    shop.must("audit_verify", json!({})).await;
}

/// Sends one call of a tool by a client of 2026-07-28 over either way in; returns the whole answer.
async fn called(shop: &Shop, way: &str, client: &str, capabilities: Value, mut params: Value) -> Value {
    params = modern(params);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    params["_meta"]["io.modelcontextprotocol/clientInfo"]["name"] = client.into();
    if way == "socket" {
        return line(&shop.agent_socket(), "tools/call", params).await;
    }
    let (address, token) = shop.listens();
    let headers = format!(
        "authorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {}\r\n",
        params["name"].as_str().unwrap()
    );
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let (_, body) = http(address, "POST", "/mcp", &headers, &request.to_string()).await.unwrap();
    let answer = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line)).find(|line| line.starts_with('{'));
    serde_json::from_str(answer.unwrap_or_else(|| panic!("no answer in {body}"))).unwrap()
}

fn page_in(answer: &Value) -> Value {
    answer["next_actions"].as_array().unwrap().iter().find_map(|action| action.get("page")).cloned().unwrap_or_default()
}

async fn what_a_client_answers_to_an_offered_address_decides_nothing(database: Database) {
    let (mut shop, ada) = Shop::signed(database, standard).await;
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    let (address, token) = shop.listens();
    let page = format!("http://localhost:{}/plans/{plan}", address.port());
    let execute = json!({ "name": "execute_deployment", "arguments": { "plan": plan } });
    let with = |state: &Value, answers: Value| {
        let mut again = execute.clone();
        (again["requestState"], again["inputResponses"]) = (state.clone(), answers);
        again
    };
    let opens = || json!({ "elicitation": { "form": {}, "url": {} } });
    let waits = |answer: &Value| {
        let (result, refusal) = (&answer["result"], &answer["result"]["structuredContent"]);
        assert_eq!((&result["resultType"], &result["isError"]), (&json!("complete"), &json!(true)), "{answer:#}");
        assert_eq!((&refusal["code"], &page_in(refusal)), (&json!("approval_required"), &json!(page)), "{answer:#}");
    };
    let offered = |answer: &Value| {
        let (result, asked) = (&answer["result"], &answer["result"]["inputRequests"]["decision"]);
        assert_eq!((&result["resultType"], &asked["method"]), (&json!("input_required"), &json!("elicitation/create")), "{answer:#}");
        assert_eq!((&asked["params"]["mode"], &asked["params"]["url"]), (&json!("url"), &json!(page)), "{answer:#}");
        assert!(!answer.to_string().contains(&token), "{answer:#}");
        result["requestState"].clone()
    };
    let refused = |answer: &Value, why: &str| {
        assert_eq!(answer["error"]["code"], -32602, "{answer:#}");
        assert!(text(&answer["error"]["message"]).contains(why), "{why}: {answer:#}");
    };
    let accepts = || json!({ "decision": { "action": "accept" } });

    // Who opens no addresses is told it; so is everybody who only looks, and a client of the revision before.
    for way in ["socket", "http"] {
        for capabilities in [json!({}), json!({ "elicitation": {} }), json!({ "elicitation": { "form": {} } })] {
            waits(&called(&shop, way, "closed", capabilities, execute.clone()).await);
        }
        let looks = json!({ "name": "get_status", "arguments": { "directive": directive } });
        let status = called(&shop, way, "looks", opens(), looks).await["result"].take();
        assert_eq!((&status["resultType"], &status["structuredContent"]["next_actions"][0]["page"]), (&json!("complete"), &json!(page)));
    }
    let mut before = Client::over(tokio::net::UnixStream::connect(shop.agent_socket()).await.unwrap());
    let mut hello = initialize();
    hello["capabilities"] = opens();
    before.ask("initialize", hello).await;
    before.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let told = before.ask("tools/call", execute.clone()).await["result"].take();
    assert_eq!((&told["isError"], page_in(&told["structuredContent"])), (&json!(true), json!(page)), "{told:#}");

    // The address alone opens nothing.
    let (status, _) = http(address, "GET", &format!("/plans/{plan}"), "", "").await.unwrap();
    assert_eq!(status, 401);

    let answers = [
        accepts(),
        json!({ "decision": { "action": "decline" } }),
        json!({ "decision": { "action": "cancel" } }),
        json!({ "decision": { "action": "accept", "content": { "approved": true, "approver": "ada", "verdict": "approve" } } }),
        json!({ "decision": { "action": "accept" }, "approval": { "role": "chairman", "signature": "yes" } }),
        json!({}),
    ];
    for (way, other_way) in [("socket", "http"), ("http", "socket")] {
        for (number, answers) in answers.iter().enumerate() {
            let client = format!("{way}-{number}");
            let state = offered(&called(&shop, way, &client, opens(), execute.clone()).await);
            let again = with(&state, answers.clone());
            // Another client, another way in, another call: none of them has it.
            refused(&called(&shop, way, "mallory", opens(), again.clone()).await, "another client");
            refused(&called(&shop, other_way, &client, opens(), again.clone()).await, "another client");
            let mut elsewhere = again.clone();
            elsewhere["arguments"]["plan"] = "plan_0".into();
            refused(&called(&shop, way, &client, opens(), elsewhere).await, "another call");
            let mut altered = text(&state);
            let last = altered.pop().unwrap();
            altered.push(if last == 'A' { 'B' } else { 'A' });
            refused(&called(&shop, way, &client, opens(), with(&json!(altered), answers.clone())).await, "altered");

            waits(&called(&shop, way, &client, opens(), again.clone()).await);
            refused(&called(&shop, way, &client, opens(), again).await, "come back before");
            // Asked once is enough; and answers to nothing that was asked are none.
            waits(&called(&shop, way, &client, opens(), execute.clone()).await);
            let mut unasked = execute.clone();
            unasked["inputResponses"] = answers.clone();
            waits(&called(&shop, way, &format!("{client}-unasked"), opens(), unasked).await);
        }
    }
    let status = shop.must("get_status", json!({ "directive": directive })).await;
    assert_eq!(status["state"], "awaiting_approval", "{status:#}");
    assert_eq!(shop.must("list_deployments", json!({})).await["deployments"], json!([]));

    // A server that was started anew has given nothing yet.
    let lost = offered(&called(&shop, "socket", "late", opens(), execute.clone()).await);
    shop.stop().await;
    shop.serve(&[]).await;
    refused(&called(&shop, "socket", "late", opens(), with(&lost, accepts())).await, "restarted");

    // The positive control: a person signs, and the very call that was asked goes on, once.
    let page = format!("http://localhost:{}/plans/{plan}", shop.listens().0.port());
    let answer = called(&shop, "socket", "late", opens(), execute.clone()).await;
    assert_eq!(answer["result"]["inputRequests"]["decision"]["params"]["url"], page, "{answer:#}");
    let state = answer["result"]["requestState"].clone();
    shop.approves(&ada, &plan).await.unwrap();
    let begun = called(&shop, "socket", "late", opens(), with(&state, json!({ "decision": { "action": "decline" } }))).await;
    let begun = &begun["result"]["structuredContent"];
    assert_eq!(begun["existing"], false, "{begun:#}");
    refused(&called(&shop, "socket", "late", opens(), with(&state, accepts())).await, "come back before");
    assert_eq!(shop.settled(&text(&begun["deployment"])).await["state"], "succeeded");
    assert_eq!(shop.must("list_deployments", json!({})).await["deployments"].as_array().unwrap().len(), 1);
}
