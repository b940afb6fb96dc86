//! Own phase files: part of what is applied and signed, and pinned by the directives that were begun under them.

use crate::{
    support::databases::databases,
    world::{Shop, person},
};
use interlock::{
    error::Code,
    model::{DecisionKind, DecisionVerdict},
    phases,
};
use serde_json::json;
use std::fs;

/// The exit of a phase without a fault.
const GOOD: &str = "deployed, verified";

/// A phase without gates of its own: it ends when a person has signed user acceptance of what serves.
pub fn own(exit: &str) -> String {
    format!(
        "---\nname: own\ntitle: Own\ndescription: One line.\nphase: 1\nversion: 1.0.0\nscope: project\nowner: Ann\nsteps:\n  \
         - {{ id: deploy, title: Deploy, by: agent, operation: execute_deployment, done_when: [deployed] }}\n  \
         - {{ id: accept, title: Accept, by: person, done_when: [uat_signed] }}\nexit: [{exit}]\n---\n\n{{{{gates}}}}\n\n{{{{steps}}}}\n"
    )
}

/// Writes the own phase, and returns the shop's configuration with it in the environment named.
fn configured(shop: &Shop, environment: &str, exit: &str) -> String {
    with(shop, &shop.text, environment, &own(exit))
}

/// Writes the phase `own`, and returns the configuration with it in the environment named.
pub fn with(shop: &Shop, text: &str, environment: &str, phase: &str) -> String {
    let folder = shop.engine.workspace.root.join("stages");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own.md"), phase).unwrap();
    let header = format!("[environments.{environment}]\n");
    let text = match text.contains(&header) {
        true => text
            .replace("phase    = \"phase-06\"\n", "")
            .replace("phase = \"phase-06\"\n", "")
            .replace(&header, &format!("{header}phase = \"own\"\n")),
        false => format!("{text}\n{header}phase = \"own\"\n"),
    };
    format!("{text}\n[phases]\ndir = \"stages\"\n")
}

#[tokio::test]
async fn an_own_phase_counts_as_it_was_applied_and_a_directive_goes_by_the_one_it_was_begun_under() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&configured(&shop, "staging", "deployed, uat_signed")).await;
        let settled = shop.deploy("1.0.0").await;
        let id = settled["deployment"]["directive"].as_str().unwrap().to_owned();
        let directive = shop.engine.directive(&id.as_str().into()).await.unwrap();
        assert_eq!(directive.phase.as_deref(), Some("own"), "{}", database.name);
        assert_eq!(directive.phase_sha256, Some(phases::recall(&own("deployed, uat_signed")).unwrap().sha256));
        let status = shop.must("get_status", json!({ "directive": id })).await;
        let command = format!("interlock sign-off {id} uat");
        assert!(status["next_actions"].to_string().contains(&command), "{status:#}");
        assert_eq!(status["asked"][0], format!("a person has signed user acceptance for exactly this release? person: {command}"));

        // The file on disk changes nothing, and neither does applying it for what was begun before.
        let text = configured(&shop, "staging", "deployed, uat_signed");
        fs::write(shop.engine.workspace.config_file(), &text).unwrap();
        assert!(!shop.engine.overview().await.unwrap().is_drifted);
        let eased = configured(&shop, "staging", "deployed, verified");
        assert!(shop.engine.overview().await.unwrap().is_drifted, "an edited phase file is a difference to what was applied");
        let open = async || shop.must("complete_directive", json!({ "directive": id })).await["missing"].clone();
        assert_eq!(open().await, json!(["uat_signed: missing"]));
        shop.configure(&eased).await;
        assert_eq!(open().await, json!(["uat_signed: missing"]), "it is pinned");
        let in_force = shop.engine.phase_of(&"staging".into()).await.unwrap().unwrap();
        assert_eq!(in_force.exit, ["deployed", "verified"], "the next directive goes by this one");
        shop.sign(DecisionKind::SignOff, json!({ "directive": id, "fact": "uat" }), DecisionVerdict::Approve).await;
        shop.must("complete_directive", json!({ "directive": id })).await;
        assert_eq!(shop.engine.directive(&id.as_str().into()).await.unwrap().state.as_str(), "completed");
    }
}

#[tokio::test]
async fn a_changed_phase_of_an_environment_with_approval_waits_for_its_approver() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&configured(&shop, "production", "deployed, uat_signed")).await;
        let text = configured(&shop, "production", "deployed, verified");
        let applied = shop.engine.apply(&person(), &text).await.unwrap();
        let proposal = applied.proposal.expect("it waits for a signature");
        assert!(proposal.text.contains("exit: [deployed, verified]\n"), "what is signed shows the phase itself: {}", proposal.text);
        let changed: Vec<&str> = proposal.differences.iter().flat_map(|one| &one.changes).map(|change| change.path.as_str()).collect();
        assert_eq!(changed, ["phases.files.own"], "{}", database.name);
        let exit = async || shop.engine.phase_of(&"production".into()).await.unwrap().unwrap().exit.clone();
        assert_eq!(exit().await, ["deployed", "uat_signed"]);
        shop.sign(DecisionKind::Configuration, json!(applied.revision), DecisionVerdict::Approve).await;
        assert_eq!(exit().await, ["deployed", "verified"]);
    }
}

#[tokio::test]
async fn a_phase_with_faults_or_without_the_approval_it_asks_for_is_refused() {
    let databases = databases().await;
    let shop = Shop::open(&databases[0].url).await;
    let refused = async |text: &str| {
        let error = shop.engine.apply(&person(), text).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidConfiguration, "{error:?}");
        error.message
    };
    let good = configured(&shop, "staging", GOOD);
    let file = shop.engine.workspace.root.join("stages/own.md");
    for (from, to, expected) in [
        ("exit: [deployed,", "exit: [deployd,", "own.md:12: exit: unknown fact `deployd`; did you mean `deployed`?"),
        ("name: own", "name: mine", "own.md:2: name: `mine` is not the name of its file; write name: own, or name the file mine.md"),
        ("owner: Ann", "owner: Ann\napproval: chairman", "environments.staging.approval: phase `own` asks for the approval of `chairman`"),
    ] {
        fs::write(&file, own(GOOD).replace(from, to)).unwrap();
        let told = refused(&good).await;
        assert!(told.contains(expected), "{expected} in {told}");
    }
    fs::write(&file, own(GOOD)).unwrap();
    let told = refused(&good.replace("phase = \"own\"", "phase = \"ownn\"")).await;
    assert!(told.contains("there is no phase `ownn`; there are: phase-06") && told.contains(", own"), "{told}");
    assert!(refused(&good.replace("\"stages\"", "\"../stages\"")).await.contains("leads"));
    assert!(refused(&good.replace("\"stages\"", "\"nowhere\"")).await.contains("phases.dir: `nowhere` cannot be read"));
    assert!(refused(&format!("{good}\n[phases.files]\nown = \"\"\n")).await.contains("phases.files: is not written by hand"));
    fs::write(file.with_file_name("phase-06.md"), own(GOOD)).unwrap();
    assert!(refused(&good).await.contains("phases.files.phase-06: `phase-06` is a phase of Interlock"));
}
