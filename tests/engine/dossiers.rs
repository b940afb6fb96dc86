//! Dossiers: claims held against a real repository, commands run again in a clean checkout, and a score that follows the record.

use crate::{
    citations::{commit, git},
    support::databases::databases,
    world::Shop,
};
use serde_json::{Value, json};
use std::fs;

/// A shop in a repository, with a file to cite.
async fn shop_in_git(url: &str) -> (Shop, String) {
    let shop = Shop::open(url).await;
    let root = &shop.engine.workspace.root;
    git(root, &["init", "--quiet"]);
    fs::write(root.join(".gitignore"), ".interlock\nbuild\n").unwrap();
    fs::write(root.join("stages.yaml"), "stages:\n  - id: 30\n    risk: 4\n").unwrap();
    let commit = commit(root);
    (shop, commit)
}

async fn dossier(shop: &Shop, mut arguments: Value) -> (Value, String) {
    arguments["kind"] = json!("dossier");
    let written = shop.must("write_document", arguments).await;
    assert!(written.to_string().len() < 6 * 1024, "{written:#}");
    let text = fs::read_to_string(shop.engine.workspace.root.join(written["path"].as_str().unwrap())).unwrap();
    (written, text)
}

#[tokio::test]
async fn a_dossier_names_the_source_of_each_claim_and_says_which_hold() {
    for database in databases().await {
        let (shop, commit) = shop_in_git(&database.url).await;
        let directive = shop.order("staging", "1.0.0").await;
        let right = format!("The risk is the highest: shop@{commit}:stages.yaml:2-3 \"id: 30 risk: 4\"");
        let wrong = [
            format!("It is low shop@{commit}:stages.yaml:3 \"risk: 1\""),
            format!("It moved shop@{commit}:stages.yaml:1 \"risk: 4\""),
            "It is safe.".to_owned(),
            format!("It is elsewhere shop@{commit}:../x:1 \"x\""),
        ];
        let claims: Vec<&String> = [&right].into_iter().chain(&wrong).collect();
        let (draft, text) = dossier(&shop, json!({ "directive": directive, "claims": claims })).await;
        assert_eq!((&draft["state"], &draft["path"]), (&json!("draft"), &json!(format!("docs/dossiers/{directive}.draft.md"))));
        let faults: Vec<&str> = draft["faults"].as_array().unwrap().iter().map(|fault| fault.as_str().unwrap()).collect();
        assert_eq!(faults.len(), 4, "{}: {faults:?}", database.name);
        for (fault, told) in
            faults.iter().zip(["is changed: line 3 says: risk: 4", "is moved: it stands at line 3", "cites nothing", "leads out"])
        {
            assert!(fault.contains(told), "{fault}");
        }
        assert!(text.contains("| Claims | 1.0 | 1 of 5 claims are verified |"), "{text}");
        let row = format!("| citation, verified | `shop` | `{commit}` | `stages.yaml` | `2-3` | `The risk is the highest` |");
        assert!(text.contains(&row), "{text}");
        let names = |artifacts: Vec<interlock::store::Artifact>| artifacts.into_iter().map(|one| one.name).collect::<Vec<_>>();
        let artifacts = shop.engine.store.artifacts(&directive.as_str().into()).await.unwrap();
        assert_eq!(names(artifacts), ["dossier_draft"], "what does not hold is no dossier");
        assert_eq!(draft["next_actions"][0]["tool"], "write_document");

        let (clean, text) = dossier(&shop, json!({ "directive": directive, "claims": [right] })).await;
        assert_eq!((&clean["state"], &clean["faults"]), (&json!("written"), &Value::Null), "{clean:#}");
        // What is kept is kept: the same record, the same bytes.
        let recorded = shop.engine.store.sequence().await.unwrap();
        let (again, same) = dossier(&shop, json!({ "directive": directive })).await;
        assert_eq!((&again["existing"], same), (&json!(true), text));
        assert_eq!(shop.engine.store.sequence().await.unwrap(), recorded);
        let mut many: Vec<String> = vec!["x".into(); 41];
        assert_eq!(
            shop.refused("write_document", json!({ "kind": "dossier", "directive": directive, "claims": many })).await,
            "invalid_arguments"
        );
        many.truncate(1);
        assert_eq!(
            shop.refused("write_document", json!({ "kind": "status", "directive": directive, "claims": many })).await,
            "invalid_arguments"
        );
    }
}

#[tokio::test]
async fn commands_are_run_again_in_a_clean_checkout_and_say_the_same() {
    for database in databases().await {
        let (shop, commit) = shop_in_git(&database.url).await;
        let root = shop.engine.workspace.root.clone();
        let directive = shop.order("staging", "1.0.0").await;
        // What is not committed is not seen.
        fs::write(root.join("stages.yaml"), "nothing\n").unwrap();
        let commands = json!(["sed -n 2,3p stages.yaml", "[\"grep\", \"-n\", \"risk: 4\", \"stages.yaml\"]"]);
        let (written, text) = dossier(&shop, json!({ "directive": directive, "commands": commands })).await;
        assert_eq!(written["state"], "written", "{}: {written:#}", database.name);
        assert!(text.contains("```text\n  - id: 30\n    risk: 4\n\n```") && text.contains("3:    risk: 4"), "{text}");
        assert!(text.contains(&format!("| `[\"sed\",\"-n\",\"2,3p\",\"stages.yaml\"]` | {commit} | 0 | 23 |")), "{text}");
        let kept = shop.engine.store.dossier(&directive.as_str().into()).await.unwrap();
        assert_eq!(kept.runs.len(), 2);
        shop.clock.advance(std::time::Duration::from_secs(60));
        let (again, same) = dossier(&shop, json!({ "directive": directive, "rerun": true })).await;
        assert_eq!((&again["state"], same), (&json!("written"), text.clone()));
        let rerun = shop.engine.store.dossier(&directive.as_str().into()).await.unwrap();
        assert!(rerun.runs[0].last.at > kept.runs[0].last.at && rerun.runs[0].first == kept.runs[0].first, "it was run");

        // Another answer than the first is a fault: the record is altered here, the checkout cannot be.
        database.tamper(&format!("UPDATE dossiers SET runs = REPLACE(runs, '{}', '{}')", kept.runs[0].first.sha256, "0".repeat(64))).await;
        let (differs, text) = dossier(&shop, json!({ "directive": directive, "rerun": true })).await;
        assert_eq!(differs["state"], "draft", "{differs:#}");
        assert!(differs["faults"][0].as_str().unwrap().contains("does not say again what it said first") && text.contains("| no |"));
        // One that fails is a fault, too.
        let (failed, _) = dossier(&shop, json!({ "directive": directive, "commands": ["cat gone.yaml"] })).await;
        assert_eq!(failed["state"], "draft", "{failed:#}");

        for command in ["sh -c id", "cat /etc/passwd", "cat ../x", "sed -i s/a/b/ stages.yaml", "git push"] {
            let asked = json!({ "kind": "dossier", "directive": directive, "commands": [command] });
            assert_eq!(shop.refused("write_document", asked).await, "invalid_arguments", "{command}");
        }
        assert_eq!(fs::read_to_string(root.join("stages.yaml")).unwrap(), "nothing\n", "nothing was written");
    }
}

#[tokio::test]
async fn no_command_reads_through_a_link_out_of_the_repository() {
    for database in databases().await {
        let (shop, _) = shop_in_git(&database.url).await;
        let root = shop.engine.workspace.root.clone();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "not for agents").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("link")).unwrap();
        commit(&root);
        let directive = shop.order("staging", "1.0.0").await;
        let asked = json!({ "kind": "dossier", "directive": directive, "commands": ["cat link"] });
        let refused = shop.call("write_document", asked.clone()).await.unwrap_err().body;
        assert_eq!(refused["code"], "denied_by_policy", "{}: {refused:#}", database.name);
        assert!(refused["message"].as_str().unwrap().contains("`link` leads out of the repository"), "{refused:#}");
        // The positive control: the same command over a link that stays inside.
        fs::remove_file(root.join("link")).unwrap();
        std::os::unix::fs::symlink("stages.yaml", root.join("link")).unwrap();
        commit(&root);
        let directive = shop.order("staging", "1.1.0").await;
        let (_, text) = dossier(&shop, json!({ "directive": directive, "commands": ["cat link"] })).await;
        assert!(text.contains("    risk: 4"), "{text}");
    }
}

#[tokio::test]
async fn the_score_follows_the_record() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let directive = shop.order("staging", "1.0.0").await;
        let (before, text) = dossier(&shop, json!({ "directive": directive })).await;
        assert_eq!(before["score"], 0.0, "{}: {text}", database.name);
        assert!(text.contains("| Gates | not scored | no gate was evaluated |"), "{text}");
        let plan = shop.plan_in_staging(&directive).await["plan"].take();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        shop.settled(&deployment).await;
        shop.must("write_runbook", json!({ "deployment": deployment })).await;
        shop.rest().await;
        let (after, text) = dossier(&shop, json!({ "directive": directive })).await;
        for row in
            ["| Gates | 5.0 |", "| Evidence | 0.0 | 0 of 1 reports", "| Verification | 5.0 |", "| Runbook | 3.0 | it waits for review |"]
        {
            assert!(text.contains(row), "{row}: {text}");
        }
        assert!(text.contains("| Monitoring | 0.0 |") && text.contains("| Claims | not scored |"), "{text}");
        let scored: Vec<f64> = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1)?.parse().ok()).collect();
        let mean = scored.iter().sum::<f64>() / scored.len() as f64;
        assert!((after["score"].as_f64().unwrap() - mean).abs() < 0.06, "{} {mean}: {text}", after["score"]);
        let asked = json!({ "kind": "dossier", "directive": directive, "commands": ["cat a"] });
        assert_eq!(shop.refused("write_document", asked).await, "wrong_state", "no repository, no checkout");
        assert_eq!(
            shop.refused("write_document", json!({ "kind": "dossier", "directive": directive, "rerun": true })).await,
            "invalid_arguments"
        );
    }
}
