//! What has changed without a build: an order whose change the commits decide over, and the ways in which a word alone is not enough.

use crate::world::{Repository, Shop};
use crate::{agents, support::databases::databases};
use interlock::{
    model::{DecisionKind, DecisionVerdict::Approve, Who},
    phases::Fact,
};
use serde_json::{Value, json};

/// Orders a change in production for which nothing was built.
fn order(change: &str) -> Value {
    json!({ "service": "web", "environment": "production", "change": change })
}

/// Opens a shop with a repository, and 1.0.0 in production under the phase that names what makes it unnecessary.
async fn serving(url: &str) -> (Shop, Repository) {
    let shop = Shop::open(url).await;
    let repository = Repository::of(&shop);
    repository.commit("main.rs", "fn main() {}");
    shop.configure(&agents::under(&shop, "deployment-operations")).await;
    shop.deploy("1.0.0").await;
    let first = shop.order("production", "1.0.0").await;
    agents::drive(&shop, &first).await;
    (shop, repository)
}

#[tokio::test]
async fn what_was_not_built_is_skipped_when_the_paths_say_what_was_claimed() {
    for database in databases().await {
        let (shop, repository) = serving(&database.url).await;
        for (change, path, reason) in [
            ("documentation", "README.md", "nothing but documentation has changed"),
            ("configuration", "interlock.toml", "nothing but `interlock.toml` has changed, which is applied and not deployed"),
            (
                "development",
                ".editorconfig",
                "nothing but tests, CI or settings of editors has changed, or the environment itself serves development",
            ),
        ] {
            repository.begin_again();
            repository.commit(path, &shop.text);
            let ordered = shop.must("create_directive", order(change)).await;
            let directive = ordered["directive"]["id"].as_str().unwrap().to_owned();
            let seen = (&ordered["state"], &ordered["directive"]["version"], &ordered["change"]["counts_as"]);
            assert_eq!(seen, (&json!("nothing_to_deploy"), &json!("1.0.0"), &json!(change)), "{ordered:#}");
            let again = shop.must("create_directive", order(change)).await;
            assert_eq!((&again["directive"]["id"], &again["existing"]), (&json!(directive), &json!(true)));

            let status = shop.must("get_status", json!({ "directive": directive })).await;
            let necessity = [&status["can_execute"], &status["requires_deployment"]];
            assert_eq!((necessity, &status["change"]["claimed"]), ([&json!(false); 2], &json!(change)), "{status:#}");
            assert_eq!(status["next_actions"].as_array().unwrap().len(), 1, "there are no bytes to deploy all the same: {status:#}");
            let done = shop.must("complete_directive", json!({ "directive": directive })).await;
            assert_eq!(done["completed"], true, "{done:#}");
            let skip = shop.engine.store.phase_skip(&directive.as_str().into()).await.unwrap().unwrap();
            assert_eq!((skip.fact, skip.reason.as_str()), (format!("{change}_only"), reason), "{}", database.name);
        }
        assert_eq!(shop.production.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn one_line_of_code_refutes_a_claim_and_nothing_is_skipped_or_deployed() {
    for database in databases().await {
        let (shop, repository) = serving(&database.url).await;
        repository.commit("README.md", "# Shop");
        repository.commit("main.rs", "fn main() { loop {} }");
        let ordered = shop.must("create_directive", order("documentation")).await;
        let directive = ordered["directive"]["id"].clone();
        let expected = json!({ "claimed": "documentation", "counts_as": "code", "why": "not only documentation has changed: `main.rs`" });
        assert_eq!((&ordered["state"], &ordered["change"]), (&json!("not_built"), &expected), "{ordered:#}");
        let status = shop.must("get_status", json!({ "directive": directive })).await;
        let facts = (&status["should_skip"], &status["requires_deployment"]);
        assert_eq!(facts, (&Value::Null, &json!(true)), "these bytes serve, and are not what it is about: {status:#}");
        let offered: Vec<&Value> = status["next_actions"].as_array().unwrap().iter().map(|action| &action["tool"]).collect();
        assert_eq!(offered, ["create_directive", "cancel_directive"], "{status:#}");

        let done = shop.must("complete_directive", json!({ "directive": directive })).await;
        assert_eq!(done["completed"], false, "{done:#}");
        assert_eq!(shop.refused("plan_deployment", json!({ "directive": directive })).await, "wrong_state");
        // The same claim for another commit is other work, and who may end the first is said.
        repository.commit("main.rs", "fn main() {}  ");
        let refused = shop.call_as_person("create_directive", order("documentation")).await.unwrap_err();
        let ending = &refused.body["next_actions"][0];
        let offered = json!(["cancel_directive", { "directive": directive, "reason": "<why>" }]);
        assert_eq!(json!([ending["tool"], ending["arguments"]]), offered, "{:#}", refused.body);
        let refused = refused.error;
        assert_eq!(refused.code.as_str(), "wrong_state");
        let ends = format!("`agent` ordered it and alone may call `cancel_directive` for {}", directive.as_str().unwrap());
        assert!(refused.hint.contains(&ends), "{refused:?}");
        // Whoever has built something need not ask: the refuted one leads nowhere, and makes room.
        let build = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": "build/1.0.0" });
        let built = shop.call_as_person("create_directive", build).await.unwrap();
        let (refuted, next) = (directive.as_str().unwrap().into(), built["directive"]["id"].clone());
        assert_eq!((&built["existing"], next == directive), (&json!(false), false), "{built:#}");
        let refuted = shop.engine.directive(&refuted).await.unwrap();
        assert_eq!(refuted.state.as_str(), "cancelled", "{}", database.name);
        shop.call_as_person("cancel_directive", json!({ "directive": next, "reason": "these bytes serve" })).await.unwrap();

        // Less than was said is no lie; more caution than needed is kept.
        // The positive control: one that stands is nobody's to push aside.
        repository.begin_again();
        repository.commit("README.md", "# Shop");
        let stands = shop.must("create_directive", order("documentation")).await["directive"]["id"].take();
        let build = json!({ "service": "web", "environment": "production", "version": "1.0.0", "artifact": "build/1.0.0" });
        let refused = shop.call_as_person("create_directive", build).await.unwrap_err().error;
        assert_eq!(refused.code.as_str(), "wrong_state", "{refused:?}");
        shop.must("cancel_directive", json!({ "directive": stands, "reason": "seen" })).await;
        let lesser = shop.must("create_directive", order("development")).await;
        assert_eq!((&lesser["state"], &lesser["change"]["counts_as"]), (&json!("nothing_to_deploy"), &json!("documentation")));
        let built = shop.build("1.1.0");
        let careful = json!({ "service": "web", "environment": "production", "version": "1.1.0", "artifact": built, "change": "code" });
        let careful = shop.must("create_directive", careful).await;
        assert_eq!((&careful["state"], &careful["change"]["counts_as"]), (&json!("open"), &json!("code")), "{careful:#}");
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_skipped_by_a_persons_signature_alone() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&agents::under(&shop, "deployment-operations")).await;
        // Nothing serves that it could be compared with.
        let first = shop.call("create_directive", order("documentation")).await.unwrap_err();
        assert_eq!(first.error.code.as_str(), "wrong_state");
        assert!(first.error.message.starts_with("nothing of `web` serves in `production`"), "{first:?}");

        shop.deploy("1.0.0").await;
        let first = shop.order("production", "1.0.0").await;
        agents::drive(&shop, &first).await;
        // It went there without a repository: nobody knows its commit.
        let repository = Repository::of(&shop);
        repository.commit("README.md", "# Shop");
        let ordered = shop.must("create_directive", order("documentation")).await;
        let directive = ordered["directive"]["id"].clone();
        let why = "the commit of what serves is not known, so it counts as code until a person signs what it is";
        assert_eq!((&ordered["state"], &ordered["change"]["why"]), (&json!("not_built"), &json!(why)), "{ordered:#}");
        let sign = format!("interlock sign-off {} documentation_only", directive.as_str().unwrap());
        assert_eq!(ordered["next_actions"][0]["command"], json!(sign), "{ordered:#}");
        assert_eq!(shop.must("complete_directive", json!({ "directive": directive })).await["completed"], false);

        shop.sign(DecisionKind::SignOff, json!({ "directive": directive, "fact": "documentation_only" }), Approve).await;
        assert_eq!(shop.must("complete_directive", json!({ "directive": directive })).await["completed"], true);
        let skip = shop.engine.store.phase_skip(&directive.as_str().unwrap().into()).await.unwrap().unwrap();
        assert_eq!(skip.reason, "nothing but documentation has changed, as ada has signed", "{}", database.name);
    }
}

#[tokio::test]
async fn an_order_says_what_was_built_or_what_has_changed() {
    let databases = databases().await;
    let (shop, _repository) = serving(&databases[0].url).await;
    let before = shop.engine.store.open_directives().await.unwrap();
    let built = shop.build("1.1.0");
    let with = |more: Value| {
        let mut order = json!({ "service": "web", "environment": "production" });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        order
    };
    for (more, message) in [
        (json!({}), "an order needs `version` and `artifact`, or `change` where nothing was built"),
        (json!({ "version": "1.1.0" }), "`version` is given without `artifact`"),
        (json!({ "artifact": built }), "`artifact` is given without `version`"),
        (json!({ "artifact": built, "change": "documentation" }), "`artifact` is given without `version`"),
        (json!({ "change": "code" }), "code is deployed: it needs `version` and `artifact`"),
    ] {
        let refused = shop.call("create_directive", with(more)).await.unwrap_err();
        assert_eq!((refused.error.code.as_str(), refused.error.message.as_str()), ("invalid_arguments", message));
    }
    assert_eq!(shop.refused("create_directive", with(json!({ "change": "prose" }))).await, "invalid_arguments");
    // A place whose phase leaves nothing out has no use for it.
    let refused = shop.call("create_directive", json!({ "service": "web", "environment": "staging", "change": "documentation" })).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.error.code.as_str(), "wrong_state");
    assert!(refused.error.message.contains("is skipped by no `documentation_only`"), "{refused:?}");
    assert_eq!(shop.engine.store.open_directives().await.unwrap(), before, "none of these was opened");
}

#[tokio::test]
async fn while_a_way_back_is_under_way_nothing_else_goes_through_the_phase() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.configure(&agents::under(&shop, "deployment-operations")).await;
        let mut taken = Value::Null;
        for version in ["1.0.0", "1.1.0"] {
            shop.deploy(version).await;
            taken = shop.deploy_to_production(version).await["deployment"]["id"].take();
        }
        let (waiting, given_up) = (shop.order("production", "1.2.0").await, shop.order("production", "1.3.0").await);
        let status = async |directive: &str| shop.must("get_status", json!({ "directive": directive })).await;
        assert!(status(&waiting).await["should_skip"].is_null(), "nothing goes back yet");

        shop.production.halt();
        let asked = json!({ "deployment": taken, "reason": "the till is empty" });
        let back = shop.must("rollback_deployment", asked).await["deployment"].take();
        let seen = status(&waiting).await;
        let reason = format!("a way back is under way here: {} brings back 1.0.0", back.as_str().unwrap());
        assert_eq!(seen["should_skip"], json!({ "fact": "emergency_rollback", "reason": reason }), "{seen:#}");
        assert_eq!(
            (&seen["can_execute"], &seen["requires_deployment"]),
            (&json!(false), &json!(true)),
            "what it is about is not there yet"
        );
        // It can wait: an order for code is not lost by what is over in a moment.
        assert_eq!((&seen["state"], &seen["next_actions"][0]["tool"]), (&json!("way_back_first"), &json!("get_status")), "{seen:#}");
        let done = shop.must("complete_directive", json!({ "directive": given_up })).await;
        assert_eq!(done["completed"], true, "{done:#}");
        let skip = shop.engine.store.phase_skip(&given_up.as_str().into()).await.unwrap().unwrap();
        assert_eq!((skip.fact.as_str(), &skip.reason), ("emergency_rollback", &reason), "{}", database.name);

        // What brought nothing satisfies nobody who waits for it.
        let order = json!({ "service": "web", "environment": "staging", "version": "2.0.0", "artifact": shop.build("2.0.0") });
        let after = async |needed: &str| {
            let mut order = order.clone();
            order["depends_on"] = json!([needed]);
            shop.must("create_directive", order).await["directive"]["id"].as_str().unwrap().to_owned()
        };
        let dependent = after(&given_up).await;
        let refused = shop.call("plan_deployment", json!({ "directive": dependent })).await.unwrap_err();
        let message = format!("`{dependent}` depends on `{given_up}`, which was closed during a way back and brought nothing");
        assert_eq!((refused.error.code.as_str(), refused.error.message), ("gate_failed", message), "{}", database.name);
        let completed = async |dependent: &str| {
            let directive = shop.engine.directive(&dependent.into()).await.unwrap();
            let phase = interlock::phases::builtin("stage-30");
            shop.engine.facts(&directive, phase).await.unwrap()["dependencies_completed"].clone()
        };
        assert_eq!(completed(&dependent).await, Fact::False);
        shop.must("cancel_directive", json!({ "directive": dependent, "reason": "it would wait for ever" })).await;
        // The positive control: one that has brought something.
        let brought = shop.deploy("1.4.0").await["deployment"]["directive"].take();
        shop.must("complete_directive", json!({ "directive": brought })).await;
        let dependent = after(brought.as_str().unwrap()).await;
        assert_eq!(completed(&dependent).await, Fact::True);
        shop.plan_in_staging(&dependent).await;

        shop.production.go_on();
        shop.settled(&back).await;
        let seen = status(&waiting).await;
        assert!(seen["should_skip"].is_null() && seen["state"] == "open", "it is over, and the order stands: {seen:#}");
        assert_eq!(shop.must("complete_directive", json!({ "directive": waiting })).await["completed"], false);
        assert_eq!(shop.production.serving(), ["1.0.0"]);
    }
}

#[tokio::test]
async fn where_a_person_begins_every_step_an_agent_leaves_none_out_either() {
    for database in databases().await {
        let (shop, repository) = serving(&database.url).await;
        let manual = "[environments.production]\nprogression = \"manual\"\n";
        shop.configure(&agents::under(&shop, "deployment-operations").replace("[environments.production]\n", manual)).await;
        repository.commit("README.md", "# Shop");
        let directive = shop.must("create_directive", order("documentation")).await["directive"]["id"].take();
        let complete = json!({ "directive": directive });
        let refused = shop.call("complete_directive", complete.clone()).await.unwrap_err();
        let command = format!("interlock complete-directive --directive {}", directive.as_str().unwrap());
        assert_eq!((refused.error.code.as_str(), refused.error.who), ("denied_by_policy", Who::Person), "{refused:?}");
        assert!(refused.error.hint.contains(&command), "{}: {refused:?}", database.name);
        let id = directive.as_str().unwrap().into();
        assert_eq!(shop.engine.store.phase_skip(&id).await.unwrap(), None);
        // The positive control: the same call of a person.
        assert_eq!(shop.call_as_person("complete_directive", complete).await.unwrap()["completed"], true);
        let skip = shop.engine.store.phase_skip(&id).await.unwrap().unwrap();
        assert_eq!((skip.fact.as_str(), skip.by.as_str()), ("documentation_only", "operator"));
    }
}

#[tokio::test]
async fn no_setting_of_the_repository_hides_what_has_changed() {
    let databases = databases().await;
    let (shop, repository) = serving(&databases[0].url).await;
    let another = format!("160000,{},vendor/till", "7".repeat(40));
    repository.git(&["update-index", "--add", "--cacheinfo", &another]);
    repository.git(&["commit", "-qm", "another repository"]);
    repository.commit("README.md", "# Shop");
    repository.git(&["config", "diff.ignoreSubmodules", "all"]);
    assert_eq!(repository.git(&["diff", "--name-only", "base", "HEAD"]).trim(), "README.md", "the setting hides it");
    let ordered = shop.must("create_directive", order("documentation")).await;
    assert_eq!(ordered["change"]["why"], "not only documentation has changed: `vendor/till`", "{ordered:#}");
}

#[tokio::test]
async fn no_commit_graph_says_another_tree_than_the_commit_has() {
    let databases = databases().await;
    let (shop, repository) = serving(&databases[0].url).await;
    repository.commit("main.rs", "fn main() { loop {} }");
    repository.git(&["commit-graph", "write", "--reachable"]);
    let tree = |commit: &str| {
        let id = repository.git(&["rev-parse", &format!("{commit}^{{tree}}")]);
        (0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect::<Vec<u8>>()
    };
    let (from, to, graph) = (tree("base"), tree("HEAD"), shop.engine.workspace.root.join(".git/objects/info/commit-graph"));
    let mut bytes = std::fs::read(&graph).unwrap();
    let at = bytes.windows(20).position(|window| window == to).expect("it holds the tree of each commit");
    bytes[at..at + 20].copy_from_slice(&from);
    std::fs::remove_file(&graph).unwrap();
    std::fs::write(&graph, bytes).unwrap();
    assert_eq!(repository.git(&["diff", "--name-only", "base", "HEAD"]).trim(), "", "the graph hides it");
    let ordered = shop.must("create_directive", order("documentation")).await;
    assert_eq!(ordered["change"]["why"], "not only documentation has changed: `main.rs`", "{ordered:#}");
}

#[tokio::test]
async fn more_paths_than_are_read_count_as_code_until_a_person_signs() {
    let databases = databases().await;
    let (shop, _repository) = serving(&databases[0].url).await;
    // A commit with so many empty documents, whose paths have 240 bytes each.
    let many = |branch: &str, count: usize| {
        let files: String = (0..count).map(|number| format!("M 100644 inline docs/{number:0231}.md\ndata 0\n\n")).collect();
        let stream =
            format!("commit refs/heads/{branch}\ncommitter ann <ann@shop.test> 1700000000 +0000\ndata 4\nmany\nfrom base^0\n{files}");
        let file = shop.engine.workspace.root.join("stream");
        std::fs::write(&file, stream).unwrap();
        let mut command = std::process::Command::new("git");
        command.args(["fast-import", "--quiet"]).current_dir(&shop.engine.workspace.root).stdin(std::fs::File::open(file).unwrap());
        assert!(command.status().unwrap().success());
    };
    let said = async |branch: &str| {
        let mut order = order("documentation");
        order["commit"] = branch.into();
        let ordered = shop.must("create_directive", order).await;
        shop.must("cancel_directive", json!({ "directive": ordered["directive"]["id"], "reason": "seen" })).await;
        ordered
    };
    many("few", 17_000);
    assert_eq!(said("few").await["change"]["counts_as"], "documentation", "4,080,000 bytes are read");
    many("more", 17_600);
    let ordered = said("more").await;
    let why = ordered["change"]["why"].as_str().unwrap();
    assert!(ordered["change"]["counts_as"] == "code" && why.starts_with("more than 4 MiB of paths differ between "), "{ordered:#}");
    assert!(why.ends_with(", so it counts as code until a person signs what it is"), "{why}");
    let next = ordered["next_actions"][0]["command"].as_str().unwrap();
    assert!(next.starts_with("interlock sign-off ") && next.ends_with(" documentation_only"), "{ordered:#}");
}
