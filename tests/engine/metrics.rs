//! Metrics of deployments that really ran, on both databases.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake::Behaviour;
use serde_json::{Value, json};

/// Two that stay, one that a trigger turns back, one that is taken back on demand by somebody at the command line.
pub async fn lived(shop: &Shop) {
    shop.deploy("1.0.0").await;
    let second = shop.deploy("1.1.0").await;
    shop.staging.behave("1.2.0", Behaviour { status: 200, shows: "another".into(), exits: false });
    assert_eq!(shop.deploy("1.2.0").await["state"], "rolled_back");
    let asked = json!({ "deployment": second["deployment"]["id"], "reason": "the till is empty" });
    let back = shop.call_as_person("rollback_deployment", asked).await.unwrap()["deployment"].take();
    shop.settled(&back).await;
    shop.deploy("1.3.0").await;
    // What follows a settled deployment is in the record.
    shop.rest().await;
}

fn named<'a>(reply: &'a Value, name: &str) -> &'a Value {
    let metrics = reply["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}: {reply:#}"))
}

#[tokio::test]
async fn what_happened_is_counted_and_rated() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let nothing = shop.must("get_metrics", json!({})).await;
        assert_eq!(nothing["state"], "unknown", "{}: {nothing:#}", database.name);
        let ratings: Vec<&Value> = nothing["metrics"].as_array().unwrap().iter().map(|metric| &metric["rating"]).collect();
        assert!(ratings.len() == 12 && ratings.iter().filter(|rating| **rating == "unknown").count() == 11, "{ratings:?}");

        lived(&shop).await;
        let reply = shop.must("get_metrics", json!({ "days": 7 })).await;
        let seen = |name: &str| {
            let metric = named(&reply, name);
            (metric["value"].as_f64(), metric["n"].as_u64().unwrap(), metric["rating"].as_str().unwrap())
        };
        assert_eq!(reply["state"], "red", "{reply:#}");
        assert_eq!(seen("deployment_success_rate"), (Some(75.0), 4, "red"), "{}: {reply:#}", database.name);
        // 1.0.0, 1.1.0, the way back to 1.0.0 and 1.3.0 moved traffic; 1.2.0 was found out before.
        assert_eq!(seen("downtime"), (Some(0.0), 4, "green"));
        assert_eq!(seen("change_failure_rate"), (Some(33.333), 3, "unrated"));
        assert_eq!(seen("trigger_activations"), (Some(0.25), 4, "red"));
        assert_eq!(named(&reply, "trigger_activations")["rules"]["DEPLOY-001"], 1, "{reply:#}");
        assert_eq!(seen("automatic_rollback_success"), (Some(100.0), 1, "green"));
        assert_eq!(seen("manual_intervention"), (Some(50.0), 2, "red"));
        assert_eq!(seen("rollback_time").1, 1, "the one that moved traffic");
        assert_eq!(named(&reply, "rollback_time")["rating"], "green");
        assert_eq!(seen("deployment_frequency"), (Some(0.429), 3, "unrated"), "3 in 7 days");
        assert_eq!(seen("deployment_rework_rate"), (Some(25.0), 4, "unrated"), "1.3.0 mends 1.2.0");
        assert_eq!(seen("monitoring_coverage"), (Some(0.0), 2, "unrated"), "nobody has seen an alert");
        assert_eq!(seen("change_lead_time"), (None, 0, "unknown"), "no repository, no commit");
        assert!(reply.to_string().len() < 8 * 1024, "{} bytes", reply.to_string().len());
    }
}

#[tokio::test]
async fn figures_are_told_apart_by_place_caller_and_window() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        lived(&shop).await;
        let count = async |arguments: Value| shop.must("get_metrics", arguments).await["metrics"][0]["n"].as_u64().unwrap();
        assert_eq!(count(json!({ "environment": "staging", "service": "web" })).await, 4, "{}", database.name);
        assert_eq!(count(json!({ "environment": "production" })).await, 0);
        assert_eq!(count(json!({ "caller": "person" })).await, 0, "a person asked for a way back only");
        assert_eq!(count(json!({ "caller": "agent" })).await, 4);
        assert_eq!(
            shop.refused("get_metrics", json!({ "venture": "none" })).await,
            "not_found",
            "a wrong name is no window without deployments"
        );
        assert_eq!(count(json!({ "from": "2020-01-01", "to": "2020-02-01" })).await, 0);
        assert_eq!(count(json!({ "from": "2020-01-01" })).await, 4);
        shop.clock.advance(std::time::Duration::from_secs(2 * 86_400));
        assert_eq!((count(json!({ "days": 1 })).await, count(json!({ "days": 3 })).await), (0, 4));

        let apart = shop.must("get_metrics", json!({ "by": "environment,caller" })).await;
        let groups = apart["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 2, "{apart:#}");
        assert_eq!((&groups[0]["environment"], &groups[0]["values"]["deployment_success_rate"]), (&json!("staging"), &json!(75.0)));
        assert_eq!((&groups[1]["caller"], &groups[1]["rating"], &groups[1]["deployments"]), (&json!("person"), &json!("red"), &json!(0)));
        assert!(apart.to_string().len() < 8 * 1024, "{} bytes", apart.to_string().len());
        let table = shop.must("get_metrics", json!({ "by": "service", "format": "csv" })).await;
        assert!(table["csv"].as_str().unwrap().contains("\r\nweb,,,deployment_success_rate,75,percent,4,,,,>= 99,red\r\n"), "{table:#}");

        for wrong in [
            json!({ "days": 0 }),
            json!({ "days": 367 }),
            json!({ "days": 1, "from": "2020-01-01" }),
            json!({ "to": "2020-01-01" }),
            json!({ "from": "2020-02-01", "to": "2020-01-01" }),
            json!({ "from": "yesterday" }),
            json!({ "caller": "robot" }),
            json!({ "by": "weather" }),
            json!({ "format": "xml" }),
        ] {
            assert_eq!(shop.refused("get_metrics", wrong).await, "invalid_arguments");
        }
    }
}

#[tokio::test]
async fn the_lead_time_begins_with_the_commit() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let git = |words: &[&str]| {
            let mut command = std::process::Command::new("git");
            command.args(words).current_dir(&shop.engine.workspace.root).env("GIT_CONFIG_GLOBAL", "/dev/null");
            // An hour ago, by the committer's clock.
            let date = format!("{} +0000", shop.engine.workspace.root.metadata().unwrap().modified().map_or(0, seconds) - 3600);
            command.env("GIT_COMMITTER_DATE", date).env("GIT_CONFIG_NOSYSTEM", "1");
            assert!(command.output().unwrap().status.success(), "git {words:?}");
        };
        git(&["init", "--quiet"]);
        let who = ["-c", "user.name=ada", "-c", "user.email=ada@shop.test"];
        git(&[&who[..], &["commit", "--quiet", "--allow-empty", "-m", "the release"]].concat());
        shop.deploy("1.0.0").await;
        shop.rest().await;
        let reply = shop.must("get_metrics", json!({})).await;
        let lead = named(&reply, "change_lead_time");
        let (value, n) = (lead["value"].as_f64().unwrap(), lead["n"].as_u64().unwrap());
        assert!(n == 1 && (3600.0..4200.0).contains(&value), "{}: {lead}", database.name);
        assert_eq!((&lead["p50"], &lead["unit"]), (&lead["max"], &json!("seconds")));
    }
}

fn seconds(at: std::time::SystemTime) -> u64 {
    at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
