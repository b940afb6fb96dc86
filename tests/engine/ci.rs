//! Gate `ci`, over real sockets: nothing but a success of exactly this commit is one, and whatever else comes says who can do what.

use crate::{
    forge::{Fault, Forge},
    support::databases::databases,
    world::{JUNIT, Repository, Shop, person},
};
use interlock::{
    engine::{ci::seen, freezing::FreezeRequest},
    gates::{Ask, ci::evaluate},
    model::{
        DecisionKind, DecisionVerdict, GateResult, Timestamp, Verdict, Who,
        ci::{CiConfig, CiPlace, CiPlatform},
    },
};
use serde_json::{Value, json};
use std::process::Command;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const HEAD: &str = "2222222222222222222222222222222222222222";
const OTHER: &str = "3333333333333333333333333333333333333333";
const PLATFORMS: [CiPlatform; 2] = [CiPlatform::Github, CiPlatform::Gitlab];

/// Returns what the gate says of the commit.
async fn judged(config: &CiConfig) -> GateResult {
    let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "ci", now: Timestamp(0) };
    evaluate(ask, config, &seen(config, Some(COMMIT)).await)
}

/// A platform on which `build` and `test` have succeeded for the commit and for `main`.
async fn green(platform: CiPlatform) -> Forge {
    let forge = Forge::start(platform, HEAD).await;
    for commit in [COMMIT, HEAD] {
        forge.says(commit, "build", "success");
        forge.says(commit, "test", "success");
    }
    forge
}

#[tokio::test]
async fn checks_that_succeeded_on_the_commit_pass() {
    for platform in PLATFORMS {
        let forge = green(platform).await;
        let result = judged(&forge.config(&["build", "test"])).await;
        assert_eq!(result.verdict, Verdict::Pass, "{result:#?}");
        assert_eq!(result.reason, "`build` is success on commit 111111111111; `test` is success on commit 111111111111");
        assert_eq!((result.rule.as_str(), result.live), ("`build`, `test` succeed on the commit", true));
    }
}

#[tokio::test]
async fn nothing_but_a_success_passes() {
    let github = [
        ("failure", Verdict::Fail, Who::Agent),
        ("timed_out", Verdict::Fail, Who::Agent),
        ("startup_failure", Verdict::Fail, Who::Agent),
        ("in_progress", Verdict::Inconclusive, Who::Ci),
        ("queued", Verdict::Inconclusive, Who::Ci),
        ("neutral", Verdict::Inconclusive, Who::Person),
        ("skipped", Verdict::Inconclusive, Who::Person),
        ("cancelled", Verdict::Inconclusive, Who::Person),
        ("stale", Verdict::Inconclusive, Who::Person),
        ("action_required", Verdict::Inconclusive, Who::Person),
        ("SUCCESS", Verdict::Inconclusive, Who::Person),
        ("splendid\u{202e}", Verdict::Inconclusive, Who::Person),
    ];
    let gitlab = [
        ("failed", Verdict::Fail, Who::Agent),
        ("running", Verdict::Inconclusive, Who::Ci),
        ("created", Verdict::Inconclusive, Who::Ci),
        ("canceled", Verdict::Inconclusive, Who::Person),
        ("skipped", Verdict::Inconclusive, Who::Person),
        ("manual", Verdict::Inconclusive, Who::Person),
        ("splendid", Verdict::Inconclusive, Who::Person),
    ];
    for (platform, words) in [(CiPlatform::Github, &github[..]), (CiPlatform::Gitlab, &gitlab[..])] {
        for (word, verdict, who) in words {
            let forge = green(platform).await;
            forge.says(COMMIT, "test", word);
            let result = judged(&forge.config(&["build", "test"])).await;
            assert_eq!((result.verdict, result.who), (*verdict, Some(*who)), "{word}: {result:#?}");
            assert!(result.reason.starts_with("`test` is ") && !result.reason.contains('\u{202e}'), "{word}: {result:#?}");
            assert!(result.needs.is_some() && result.how.is_some(), "{word}");
        }
    }
}

#[tokio::test]
async fn a_check_that_did_not_run_is_missing_and_the_others_are_told() {
    for platform in PLATFORMS {
        let forge = green(platform).await;
        let result = judged(&forge.config(&["build", "deploy"])).await;
        assert_eq!((result.verdict, result.who), (Verdict::Inconclusive, Some(Who::Person)));
        assert_eq!(result.reason, "no check `deploy` on commit 111111111111; there are `build`, `test`");
        forge.set(|world| world.checks.clear());
        let result = judged(&forge.config(&["build"])).await;
        assert_eq!(
            (result.verdict, result.reason.as_str()),
            (Verdict::Inconclusive, "no check `build` on commit 111111111111; there is none")
        );
    }
}

#[tokio::test]
async fn the_worst_of_several_checks_of_one_name_counts() {
    let forge = green(CiPlatform::Github).await;
    forge.set(|world| world.checks.push((COMMIT.into(), "test".into(), "failure".into())));
    assert_eq!(judged(&forge.config(&["test"])).await.verdict, Verdict::Fail);
    // And the older commit statuses count as much as check runs.
    let forge = green(CiPlatform::Github).await;
    for (word, verdict) in
        [("success", Verdict::Pass), ("pending", Verdict::Inconclusive), ("error", Verdict::Fail), ("failure", Verdict::Fail)]
    {
        forge.set(|world| world.statuses = vec![(COMMIT.into(), "legacy/ci".into(), word.into())]);
        assert_eq!(judged(&forge.config(&["build", "legacy/ci"])).await.verdict, verdict, "{word}");
    }
}

#[tokio::test]
async fn every_page_is_read() {
    for platform in PLATFORMS {
        let forge = Forge::start(platform, HEAD).await;
        let success = |number: usize| (COMMIT.to_owned(), format!("check {number}"), "success".to_owned());
        forge.set(|world| {
            world.checks = (0..257).map(success).collect();
            world.page = 100;
        });
        forge.says(
            COMMIT,
            "the last",
            "failure".replace("failure", if platform == CiPlatform::Gitlab { "failed" } else { "failure" }).as_str(),
        );
        let result = judged(&forge.config(&["check 0", "check 256"])).await;
        assert_eq!(result.verdict, Verdict::Pass, "{result:#?}");
        assert_eq!(judged(&forge.config(&["the last"])).await.verdict, Verdict::Fail);
        let of_checks = |head: &&String| head.contains("check-runs") || head.contains("statuses");
        assert_eq!(forge.asked().iter().filter(of_checks).count(), 6, "three pages, twice");
        // The positive control: a list that never comes to its end is no list.
        forge.set(|world| world.fault = Fault::Withholds);
        let result = judged(&forge.config(&["check 0"])).await;
        assert_eq!(result.verdict, Verdict::Inconclusive);
        assert!(result.reason.contains("only 258 of"), "{}", result.reason);
    }
}

#[tokio::test]
async fn the_base_branch_is_judged_by_its_newest_commit() {
    for platform in PLATFORMS {
        let forge = green(platform).await;
        forge.says(HEAD, "test", "running");
        let mut config = forge.config(&["build", "test"]);
        assert_eq!(judged(&config).await.verdict, Verdict::Pass, "of the commit alone");
        for on in [CiPlace::BaseBranch, CiPlace::Both] {
            config.on = on;
            let result = judged(&config).await;
            assert_ne!(result.verdict, Verdict::Pass);
            assert!(result.reason.contains("`test` is running on `main` at 222222222222"), "{}", result.reason);
        }
        forge.says(HEAD, "test", "success");
        assert_eq!(judged(&config).await.verdict, Verdict::Pass);
        forge.says(COMMIT, "build", "skipped");
        assert_eq!(judged(&config).await.verdict, Verdict::Inconclusive);
        config.base_branch = "gone".into();
        let result = judged(&config).await;
        assert!(result.reason.contains("it has no branch `gone` (404)"), "{}", result.reason);
    }
}

#[tokio::test]
async fn a_check_must_be_required_where_that_is_asked() {
    let forge = green(CiPlatform::Github).await;
    let mut config = forge.config(&["build", "test"]);
    config.required = true;
    let result = judged(&config).await;
    assert_eq!((result.verdict, result.who), (Verdict::Fail, Some(Who::Person)));
    assert!(result.reason.contains("`main` requires no check: neither its protection nor a ruleset names one"), "{}", result.reason);
    // One by branch protection, the other by a ruleset.
    forge.set(|world| world.required = vec!["build".into()]);
    assert_eq!(judged(&config).await.reason, "`main` does not require `test`");
    forge.set(|world| world.ruled = vec!["test".into()]);
    assert_eq!(judged(&config).await.verdict, Verdict::Pass);
    forge.set(|world| (world.is_protected, world.ruled) = (false, Vec::new()));
    assert!(judged(&config).await.reason.contains("it is not protected"), "what a branch was once protected by counts no more");

    let forge = green(CiPlatform::Gitlab).await;
    let mut config = forge.config(&["build", "test"]);
    config.required = true;
    assert_eq!(judged(&config).await.verdict, Verdict::Pass);
    forge.set(|world| world.may_fail = vec!["test".into()]);
    assert_eq!(judged(&config).await.reason, "`test` may fail (`allow_failure`), so `main` does not require it");
    forge.set(|world| world.needs_pipeline = false);
    assert!(judged(&config).await.reason.contains("merges without a pipeline that succeeds"));
    forge.set(|world| world.is_protected = false);
    assert!(judged(&config).await.reason.contains("it is not protected"));
}

#[tokio::test]
async fn no_answer_is_ever_a_pass_and_each_says_who_can_do_what() {
    let limited = "x-ratelimit-limit: 60\r\nx-ratelimit-remaining: 0\r\n";
    let faults = [
        (Fault::Says(401, "", r#"{"message":"Bad credentials"}"#), "it refuses the token (401)", Who::Person),
        (Fault::Says(403, "", r#"{"message":"Resource not accessible"}"#), "does not let the token at commit", Who::Person),
        (Fault::Says(403, limited, r#"{"message":"API rate limit exceeded"}"#), "its rate limit is used up (for some s)", Who::Agent),
        (Fault::Says(403, "", r#"{"message":"You have exceeded a secondary rate limit"}"#), "its rate limit is used up", Who::Agent),
        (Fault::Says(429, "retry-after: 37\r\n", "Retry later"), "its rate limit is used up (for 37 s)", Who::Agent),
        (Fault::Says(404, "", r#"{"message":"Not Found"}"#), "it has no commit 1111111111111111111111111111111111111111 (404)", Who::Agent),
        (Fault::Says(422, "", r#"{"message":"No commit found for SHA"}"#), "it has no commit", Who::Agent),
        (Fault::Says(500, "", "<html>\u{1b}[31mOops"), "it answered 500 for commit", Who::Ci),
        (Fault::Says(301, "location: http://elsewhere/\r\n", ""), "it answered 301", Who::Person),
        (Fault::Says(200, "", "{\"total_count\":1,"), "its answer is not readable", Who::Person),
        (Fault::Says(200, "", r#"{"total_count":"many","check_runs":{}}"#), "its answer is not readable", Who::Person),
        (Fault::Says(200, "", "\"all green\""), "its answer is not readable", Who::Person),
        (Fault::Says(204, "", ""), "its answer is not readable", Who::Person),
        (Fault::Lies(OTHER), "it answered about commit 3333333333333333333333333333333333333333", Who::Person),
    ];
    for platform in PLATFORMS {
        let forge = green(platform).await;
        for (fault, told, who) in &faults {
            forge.set(|world| world.fault = fault.clone());
            for on in [CiPlace::Commit, CiPlace::BaseBranch] {
                let config = CiConfig { on, ..forge.config(&["build"]) };
                let result = judged(&config).await;
                assert_eq!(result.verdict, Verdict::Inconclusive, "{fault:?}: {result:#?}");
                assert!(result.reason.contains("CI says nothing of ") && !result.reason.contains('\u{1b}'), "{fault:?}: {result:#?}");
                if on == CiPlace::Commit {
                    assert!(result.reason.contains(told), "{fault:?}: {result:#?}");
                    assert_eq!(result.who, Some(*who), "{fault:?}: {result:#?}");
                    assert!(result.how.is_some_and(|how| how.contains("call `run_predeploy_checks`")));
                }
            }
        }
        // The positive control: the same platform, telling the truth.
        forge.set(|world| world.fault = Fault::None);
        assert_eq!(judged(&forge.config(&["build"])).await.verdict, Verdict::Pass);
    }
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_not_waited_for() {
    for platform in PLATFORMS {
        let forge = green(platform).await;
        forge.set(|world| world.fault = Fault::Silent);
        let config = CiConfig { timeout_ms: 100, ..forge.config(&["build"]) };
        let result = judged(&config).await;
        assert_eq!(result.verdict, Verdict::Inconclusive);
        assert!(result.reason.contains("it gave no answer within 100 ms"), "{}", result.reason);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let result = judged(&CiConfig { address: format!("http://{nobody}"), ..config }).await;
        assert!(result.reason.contains("it cannot be reached"), "{}", result.reason);
    }
}

#[tokio::test]
async fn a_release_without_a_commit_is_asked_for_one() {
    let forge = green(CiPlatform::Github).await;
    let config = forge.config(&["build"]);
    let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "ci", now: Timestamp(0) };
    let result = evaluate(ask, &config, &seen(&config, None).await);
    assert_eq!((result.verdict, result.who), (Verdict::Inconclusive, Some(Who::Agent)));
    assert_eq!(forge.asked(), [""; 0]);
}

/// Makes the workspace a git repository of one commit, and returns its id.
fn committed(shop: &Shop) -> String {
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=ann", "-c", "user.email=ann@shop.test"];
        let output = Command::new("git").current_dir(&shop.engine.workspace.root).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "a release"]);
    git(&["rev-parse", "HEAD"])
}

fn gate(reply: &Value) -> Value {
    reply["gates"].as_array().into_iter().flatten().find(|gate| gate["gate"] == "ci").unwrap_or_else(|| panic!("{reply:#}")).clone()
}

#[tokio::test]
async fn a_release_goes_to_production_when_ci_is_green_and_the_token_is_nowhere() {
    for database in databases().await {
        let forge = Forge::start(CiPlatform::Github, HEAD).await;
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "hunter2hunter2\n").unwrap();
        let shop = Shop::open(&database.url).await;
        let commit = committed(&shop);
        let ci = format!(
            "\n[ci]\nplatform = \"github\"\nrepository = \"shop/web\"\naddress = \"http://{}\"\ntoken = \"file:{}\"\nchecks = [\"build\"]\n",
            forge.address,
            token.path().display()
        );
        shop.configure(&format!("{}{ci}", shop.text)).await;
        forge.says(&commit, "build", "in_progress");
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded", "no phase governs staging, so nobody asks there");
        assert_eq!(forge.asked(), [""; 0]);

        let directive = shop.order("production", "1.0.0").await;
        let checked = gate(&shop.must("run_predeploy_checks", json!({ "directive": directive })).await);
        assert_eq!((&checked["verdict"], &checked["asked_by"], &checked["who"]), (&json!("inconclusive"), &json!("ci"), &json!("ci")));
        shop.must("cancel_directive", json!({ "directive": directive, "reason": "later" })).await;

        forge.says(&commit, "build", "success");
        let settled = shop.deploy_to_production("1.0.0").await;
        assert_eq!(settled["state"], "succeeded", "{}: {settled:#}", database.name);

        // The platform says what it was sent; nothing of it comes through.
        forge.set(|world| world.fault = Fault::Says(500, "", "token hunter2hunter2 is not wanted"));
        assert!(forge.asked()[0].contains("authorization: Bearer hunter2hunter2"), "{:?}", forge.asked());
        shop.deploy("1.1.0").await;
        let directive = shop.order("production", "1.1.0").await;
        let checked = shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        assert_eq!(gate(&checked)["verdict"], "inconclusive");
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        let said = format!("{checked} {settled} {status}");
        assert!(said.contains("[redacted]") && !said.contains("hunter2"), "{}: {said}", database.name);
        std::fs::remove_file(token.path()).unwrap();
        let checked = gate(&shop.must("run_predeploy_checks", json!({ "directive": directive })).await);
        assert_eq!((&checked["verdict"], &checked["who"]), (&json!("inconclusive"), &json!("person")), "{checked:#}");
    }
}

/// The configuration of a shop that asks this platform.
fn asking(shop: &Shop, forge: &Forge) -> String {
    let platform = if forge.platform == CiPlatform::Github { "github" } else { "gitlab" };
    format!("{}\n[ci]\nplatform = \"{platform}\"\nrepository = \"shop/web\"\naddress = \"http://{}\"\n", shop.text, forge.address)
}

/// Opens a directive for staging with the report that its gate asks for; returns what names it.
async fn tested(shop: &Shop, version: &str) -> Value {
    let directive = shop.order("staging", version).await;
    shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
    json!({ "directive": directive })
}

#[tokio::test]
async fn a_workflow_is_started_once_and_followed_to_its_end() {
    for (platform, done, failed) in [(CiPlatform::Github, "success", "failure"), (CiPlatform::Gitlab, "success", "failed")] {
        for database in databases().await {
            let mut shop = Shop::open(&database.url).await;
            let commit = committed(&shop);
            let forge = Forge::start(platform, &commit).await;
            shop.configure(&asking(&shop, &forge)).await;
            let word = |word: &str| forge.set(|world| world.runs.last_mut().unwrap().2 = word.into());
            let asked = tested(&shop, "1.0.0").await;
            let started = shop.must("trigger_workflow", asked.clone()).await;
            assert_eq!(
                (&started["state"], &started["existing"], &started["run"]["id"]),
                (&json!("running"), &json!(false), &json!("100")),
                "{started:#}"
            );
            let again = shop.must("trigger_workflow", asked.clone()).await;
            assert_eq!((&again["existing"], &again["job"]), (&json!(true), &started["job"]));
            let mut runs = 0;
            forge.set(|world| runs = world.runs.iter().filter(|(_, environment, ..)| environment == "staging").count());
            assert_eq!(runs, 1, "nothing is started twice");

            // A server that ends takes nothing along.
            shop.restart().await;
            word(done);
            let ended = shop.must("trigger_workflow", asked.clone()).await;
            assert_eq!((&ended["state"], &ended["run"]["word"]), (&json!("succeeded"), &json!("success")), "{}: {ended:#}", database.name);
            assert_eq!(shop.must("trigger_workflow", asked).await["state"], "succeeded");

            let asked = tested(&shop, "1.1.0").await;
            shop.must("trigger_workflow", asked.clone()).await;
            word(failed);
            assert_eq!(shop.must("trigger_workflow", asked.clone()).await["state"], "failed");
            assert_eq!(shop.must("trigger_workflow", asked).await["existing"], true, "a run that failed is not begun again unasked");

            // A success of another commit is none.
            let asked = tested(&shop, "1.2.0").await;
            shop.must("trigger_workflow", asked.clone()).await;
            word(done);
            forge.set(|world| world.runs.last_mut().unwrap().3 = OTHER.into());
            let lied = shop.must("trigger_workflow", asked).await;
            assert_eq!((&lied["state"], &lied["fault"]), (&json!("failed"), &json!("it runs on another commit than the release's")));
            shop.rest().await;
        }
    }
}

#[tokio::test]
async fn a_workflow_is_no_way_around_approval_freeze_or_commit() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let commit = committed(&shop);
        let forge = Forge::start(CiPlatform::Github, &commit).await;
        let staging = shop.order("staging", "1.0.0").await;
        let asked = json!({ "directive": staging });
        assert_eq!(shop.refused("trigger_workflow", asked.clone()).await, "invalid_configuration", "no CI is configured");
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "hunter2hunter2\n").unwrap();
        shop.configure(&format!("{}token = \"file:{}\"\n", asking(&shop, &forge), token.path().display())).await;
        let production = json!({ "directive": shop.order("production", "1.0.0").await });
        assert_eq!(shop.refused("trigger_workflow", production.clone()).await, "denied_by_policy");
        assert_eq!(shop.call_as_person("trigger_workflow", production).await.unwrap_err().body["code"], "denied_by_policy", "whoever asks");

        let frozen = FreezeRequest { environment: Some("staging".into()), reason: "the till is empty".into(), ..Default::default() };
        let freeze = shop.engine.freeze(&person(), frozen).await.unwrap().id;
        assert_eq!(shop.refused("trigger_workflow", asked.clone()).await, "frozen");
        shop.sign(DecisionKind::Unfreeze, json!({ "freeze": freeze, "environment": "staging" }), DecisionVerdict::Approve).await;

        // What would stop a deployment there stops a workflow, with who mends it and how.
        let refused = shop.call("trigger_workflow", asked.clone()).await.unwrap_err().body;
        assert_eq!((&refused["code"], &refused["who"]), (&json!("gate_failed"), &json!("agent")), "{refused:#}");
        assert!(refused["hint"].as_str().unwrap().contains("record_evidence"), "{refused:#}");
        assert_eq!(refused["details"]["gates"][0]["gate"], "tests", "{}: {refused:#}", database.name);
        shop.must("record_evidence", json!({ "directive": staging, "kind": "tests", "content": JUNIT })).await;

        let given_up = shop.order("staging", "1.0.1").await;
        shop.must("cancel_directive", json!({ "directive": given_up, "reason": "not now" })).await;
        assert_eq!(shop.refused("trigger_workflow", json!({ "directive": given_up })).await, "wrong_state", "nothing orders it any more");
        forge.set(|world| world.head = OTHER.into());
        assert_eq!(shop.refused("trigger_workflow", asked.clone()).await, "wrong_state", "the branch has moved on");
        forge.set(|world| (world.head, world.fault) = (commit.clone(), Fault::Says(403, "", "no hunter2hunter2 for you")));
        let refused = shop.call("trigger_workflow", asked.clone()).await.unwrap_err().body;
        assert!(!refused.to_string().contains("hunter2") && refused.to_string().contains("[redacted]"), "{refused:#}");
        let job = shop.engine.store.latest_job(&staging.as_str().into(), "workflow").await.unwrap();
        assert!(!format!("{job:?}").contains("hunter2"), "{job:?}");
        assert_eq!((&refused["code"], &refused["who"]), (&json!("target_failed"), &json!("person")), "{refused:#}");
        let mut runs = 0;
        forge.set(|world| (runs, world.fault) = (world.runs.len(), Fault::None));
        assert_eq!(runs, 0, "nothing was started");

        // The positive control: what was refused by the platform is tried again, and a run that does not show yet is waited for.
        forge.set(|world| world.shows_runs = false);
        let started = shop.must("trigger_workflow", asked.clone()).await;
        assert_eq!((&started["state"], started.get("run")), (&json!("dispatched"), None), "{started:#}");
        forge.set(|world| world.fault = Fault::Says(500, "", "oops"));
        assert!(shop.must("trigger_workflow", asked.clone()).await["fault"].as_str().unwrap().contains("500"), "nothing is lost meanwhile");
        forge.set(|world| world.fault = Fault::None);
        shop.clock.advance(std::time::Duration::from_secs(601));
        let lost = shop.must("trigger_workflow", asked.clone()).await;
        assert_eq!(lost["state"], "failed", "{}: {lost:#}", database.name);
        // Nobody has refused it: it may run all the same, so no second one is started.
        let again = shop.must("trigger_workflow", asked).await;
        assert_eq!((&again["existing"], &again["job"], &again["state"]), (&json!(true), &lost["job"], &json!("failed")), "{again:#}");
        forge.set(|world| runs = world.runs.len());
        assert_eq!(runs, 1, "the one that never showed");
    }
}

#[tokio::test]
async fn no_workflow_runs_another_commit_than_the_bytes_are_of() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let repository = Repository::of(&shop);
        let commit = |text: &str| {
            repository.commit("main.rs", text);
            repository.git(&["rev-parse", "HEAD"]).trim().to_owned()
        };
        let built = commit("fn main() {}");
        let forge = Forge::start(CiPlatform::Github, &built).await;
        shop.configure(&asking(&shop, &forge)).await;
        let early = tested(&shop, "1.0.0").await;
        shop.must("cancel_directive", json!({ "directive": early["directive"], "reason": "not yet" })).await;

        // The same artifact again, after the code went on.
        let newer = commit("fn main() { loop {} }");
        forge.set(|world| world.head = newer.clone());
        let again = tested(&shop, "1.0.0").await;
        let refused = shop.call("trigger_workflow", again.clone()).await.unwrap_err();
        let directive = again["directive"].as_str().unwrap();
        let message = format!("the bytes of `{directive}` were first ordered for commit {built}, and a workflow would run {newer}");
        assert_eq!((refused.error.code.as_str(), refused.error.message), ("wrong_state", message), "{}", database.name);
        let mut runs = 0;
        forge.set(|world| runs = world.runs.len());
        assert_eq!(runs, 0);

        // The positive control: those bytes for their own commit.
        shop.must("cancel_directive", json!({ "directive": directive, "reason": "another commit" })).await;
        forge.set(|world| world.head = built.clone());
        let order = json!({ "service": "web", "environment": "staging", "version": "1.0.0", "artifact": "build/1.0.0", "commit": built });
        let directive = shop.must("create_directive", order).await["directive"]["id"].take();
        shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
        assert_eq!(shop.must("trigger_workflow", json!({ "directive": directive })).await["existing"], false);
        shop.rest().await;
    }
}

/// A phase without gates of its own that documentation leaves out.
const LEFT_OUT: &str = "---\nname: own\ntitle: Own\ndescription: One line.\nphase: 1\nversion: 1.0.0\nscope: project\nowner: Ann\n\
    skip_when: [documentation_only]\nsteps:\n  \
    - { id: deploy, title: Deploy, by: agent, operation: execute_deployment, done_when: [deployed] }\nexit: [deployed]\n---\n\n\
    {{gates}}\n\n{{steps}}\n";

#[tokio::test]
async fn no_workflow_is_started_for_an_order_without_a_build() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let folder = shop.engine.workspace.root.join("stages");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("own.md"), LEFT_OUT).unwrap();
        let repository = Repository::of(&shop);
        repository.commit("main.rs", "fn main() {}");
        let forge = Forge::start(CiPlatform::Github, HEAD).await;
        let own = "\n[environments.staging]\nphase = \"own\"\n\n[phases]\ndir = \"stages\"\n";
        shop.configure(&format!("{}{own}", asking(&shop, &forge))).await;
        let first = shop.deploy("1.0.0").await["deployment"]["directive"].take();
        assert_eq!(shop.must("complete_directive", json!({ "directive": first })).await["completed"], true);
        // Said to be documentation, and code all the same: those bytes serve, and a workflow would run that commit.
        repository.commit("main.rs", "fn main() { loop {} }");
        forge.set(|world| world.head = repository.git(&["rev-parse", "HEAD"]).trim().to_owned());
        let order = json!({ "service": "web", "environment": "staging", "change": "documentation" });
        let directive = shop.must("create_directive", order).await["directive"]["id"].take();
        shop.must("record_evidence", json!({ "directive": directive, "kind": "tests", "content": JUNIT })).await;
        let refused = shop.call("trigger_workflow", json!({ "directive": directive })).await.unwrap_err();
        let message = format!("nothing was built for `{}`: what the gates saw is not what would run", directive.as_str().unwrap());
        assert_eq!((refused.error.code.as_str(), refused.error.message), ("wrong_state", message), "{}", database.name);
        let runs = || {
            let mut runs = 0;
            forge.set(|world| runs = world.runs.len());
            runs
        };
        assert_eq!(runs(), 0);
        // The positive control: the same commit, built.
        let built = tested(&shop, "1.1.0").await;
        assert_eq!(shop.must("trigger_workflow", built).await["existing"], false);
        assert_eq!(runs(), 1);
        shop.rest().await;
    }
}

#[tokio::test]
async fn a_run_that_nobody_can_be_asked_about_is_given_up_and_taken_up_again() {
    for (platform, database) in [CiPlatform::Github, CiPlatform::Gitlab].into_iter().zip(databases().await) {
        let shop = Shop::open(&database.url).await;
        let commit = committed(&shop);
        let forge = Forge::start(platform, &commit).await;
        let asking = asking(&shop, &forge);
        shop.configure(&asking).await;
        let asked = tested(&shop, "1.0.0").await;
        let look = async || shop.must("trigger_workflow", asked.clone()).await;
        let pass = |minutes: u64| shop.clock.advance(std::time::Duration::from_secs(minutes * 60));
        assert_eq!(look().await["state"], "running");
        for status in [Some(401), Some(403), Some(404), None] {
            match status {
                Some(status) => forge.set(|world| world.fault = Fault::Says(status, "", "not for you")),
                None => assert_eq!(shop.configure(&shop.text).await.len(), 0, "it takes a signature, and has it"),
            }
            let silent = look().await;
            assert_eq!(silent["state"], "running", "{platform:?}: {status:?}: {silent:#}");
            let said = status.map_or("no CI is configured".to_owned(), |status| status.to_string());
            assert!(silent["fault"].as_str().unwrap().contains(&said), "{silent:#}");
            pass(59);
            assert_eq!(look().await["state"], "running", "a platform may be down for a while");
            pass(1);
            let lost = look().await;
            assert_eq!((&lost["state"], &lost["existing"]), (&json!("unknown"), &json!(true)), "{platform:?}: {status:?}: {lost:#}");
            assert!(lost["summary"].as_str().unwrap().ends_with("it may have deployed"), "{lost:#}");
            let next = &lost["next_actions"][0];
            assert_eq!((&next["tool"], next.get("after_seconds")), (&json!("trigger_workflow"), None), "{lost:#}");
            assert_eq!(look().await["state"], "unknown", "{}", database.name);

            // Whoever can be asked again is believed.
            forge.set(|world| world.fault = Fault::None);
            if status.is_none() {
                shop.configure(&asking).await;
            }
            let back = look().await;
            assert_eq!((&back["state"], back.get("fault")), (&json!("running"), None), "{platform:?}: {status:?}: {back:#}");
        }
        forge.set(|world| world.runs.last_mut().unwrap().2 = "success".into());
        assert_eq!(look().await["state"], "succeeded");
        let mut runs = 0;
        forge.set(|world| runs = world.runs.len());
        assert_eq!(runs, 1, "nothing was started in its place");
        shop.rest().await;
    }
}
