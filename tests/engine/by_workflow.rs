//! A place that a CI workflow deploys, when the platform or a run leaves it in doubt for long: time is handed in.

use crate::{forge::Forge, support::databases::databases, world::Shop};
use interlock::model::{DecisionKind, DecisionVerdict::Approve, ci::CiPlatform};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const HEAD: &str = "2222222222222222222222222222222222222222";
/// How long a run may take here.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an undo is tried.
const UNDONE_WITHIN: Duration = Duration::from_secs(300);

/// A shop whose staging is deployed by runs of a platform.
struct Place {
    shop: Shop,
    forge: Forge,
    at: SocketAddr,
    site: JoinHandle<()>,
}

impl Place {
    async fn of(platform: CiPlatform, database: &str) -> Self {
        let (shop, forge) = (Shop::open(database).await, Forge::start(platform, HEAD).await);
        let (at, site) = forge.site().await;
        let (name, workflow) = match platform {
            CiPlatform::Github => ("github", "workflow = \"release.yml\", "),
            CiPlatform::Gitlab => ("gitlab", ""),
        };
        let ours = format!("target = {{ kind = \"local\" }}\nrouter = {{ kind = \"proxy\", listen = \"{}\" }}", shop.at_staging);
        let theirs = format!(
            "target = {{ kind = \"ci\", {workflow}inputs = {{ version = \"{{version}}\" }}, timeout = \"60s\" }}\n\
             router = {{ kind = \"external\", address = \"{at}\" }}"
        );
        assert!(shop.text.contains(&ours));
        let ci = format!("\n[ci]\nplatform = \"{name}\"\nrepository = \"shop/web\"\naddress = \"http://{}\"\n", forge.address);
        shop.configure(&(shop.text.replace(&ours, &theirs) + &ci)).await;
        Place { shop, forge, at, site }
    }

    /// Lets runs of a version end with this word.
    fn ends(&self, version: &str, word: &'static str) {
        self.forge.set(|world| {
            world.outcomes.insert(version.into(), word);
        });
    }

    /// Begins a deployment, and returns it.
    async fn begin(&self, version: &str) -> Value {
        let directive = self.shop.order("staging", version).await;
        let plan = self.shop.plan_in_staging(&directive).await["plan"].take();
        self.shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take()
    }

    /// Begins a deployment that comes to its end by itself.
    async fn deploy(&self, version: &str) -> Value {
        self.shop.settled(&self.begin(version).await).await
    }

    async fn state(&self, deployment: &Value) -> String {
        self.shop.must("get_deployment", json!({ "deployment": deployment })).await["state"].as_str().unwrap().to_owned()
    }

    /// Lets time pass, as much as a run may take at once, until a deployment stands so; returns how much has passed.
    async fn passes_until(&self, deployment: &Value, state: &str) -> Duration {
        let (began, mut passed) = (Instant::now(), Duration::ZERO);
        while self.state(deployment).await != state {
            assert!(began.elapsed() < crate::world::PATIENCE, "never {state}: {}", self.state(deployment).await);
            self.shop.clock.advance(TIMEOUT);
            passed += TIMEOUT;
            // Whoever follows a run looks again within a second.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        passed
    }

    /// Returns what people are told of a stuck deployment.
    async fn told(&self, deployment: &Value) -> String {
        let seen = self.shop.must("get_deployment", json!({ "deployment": deployment, "detail": true })).await;
        seen["incidents"].to_string()
    }

    async fn choose(&self, deployment: &Value, choice: &str) -> Value {
        let subject = json!({ "deployment": deployment, "choice": choice, "reason": "looked at the platform" });
        self.shop.sign(DecisionKind::Resolve, subject, Approve).await;
        self.shop.settled(deployment).await
    }
}

#[tokio::test]
async fn an_order_that_was_taken_and_never_shows_is_stuck_until_a_person_chooses() {
    for database in databases().await {
        let place = Place::of(CiPlatform::Github, &database.url).await;
        place.ends("1.0.0", "success");
        assert_eq!(place.deploy("1.0.0").await["state"], "succeeded");
        for (version, choice) in [("1.1.0", "retry"), ("1.2.0", "mark_done")] {
            let before = place.forge.started().len();
            place.forge.set(|world| world.shows_runs = false);
            let lost = place.begin(version).await;
            let passed = place.passes_until(&lost, "stuck").await;
            assert!(passed >= UNDONE_WITHIN, "{}: {passed:?}", database.name);
            // It may go on, so nothing else was begun, and people are told what to look for.
            assert_eq!(place.forge.started()[before..], [version]);
            let told = place.told(&lost).await;
            assert!(told.contains("does not show yet") && told.contains("run-name"), "{told}");

            // Once it shows it is ended, and what served before is deployed again; or a person has done so, and it is waited for no more.
            place.forge.set(|world| world.shows_runs = choice == "retry");
            let settled = place.choose(&lost, choice).await;
            assert_eq!(settled["state"], "rolled_back", "{choice} on {}: {settled:#}", database.name);
            let begun: &[&str] = if choice == "retry" { &[version, "1.0.0"] } else { &[version] };
            assert_eq!(place.forge.started()[before..], *begun, "{choice}");
        }
        place.forge.set(|world| world.shows_runs = true);
        place.ends("1.3.0", "success");
        let next = place.deploy("1.3.0").await;
        assert_eq!((&next["state"], place.forge.deployed().as_str()), (&json!("succeeded"), "1.3.0"), "{}: {next:#}", database.name);
    }
}

#[tokio::test]
async fn a_first_run_that_failed_is_stuck_while_something_answers_that_no_run_takes_away() {
    for (platform, failed) in [(CiPlatform::Github, "failure"), (CiPlatform::Gitlab, "failed")] {
        let database = databases().await.remove(0);
        let place = Place::of(platform, &database.url).await;
        place.ends("1.0.0", failed);
        let first = place.begin("1.0.0").await;
        place.passes_until(&first, "stuck").await;
        let told = place.told(&first).await;
        let asked = format!("1.0.0 still answers at {}: nothing served before it, and no run takes it away", place.at);
        assert!(told.contains(&asked), "{told}");
        assert_eq!(place.forge.started(), ["1.0.0"], "no run is begun for it");

        // A person takes away what answers.
        place.site.abort();
        let settled = place.choose(&first, "retry").await;
        assert_eq!((&settled["state"], place.forge.started().len()), (&json!("rolled_back"), 1), "{settled:#}");
    }
}

#[tokio::test]
async fn a_way_back_that_fails_is_begun_again_after_a_minute_and_not_before() {
    for database in databases().await {
        for (platform, failed) in [(CiPlatform::Github, "failure"), (CiPlatform::Gitlab, "failed")] {
            let another = databases().await.into_iter().find(|one| one.name == database.name).unwrap();
            let place = Place::of(platform, &another.url).await;
            place.ends("1.0.0", "success");
            assert_eq!(place.deploy("1.0.0").await["state"], "succeeded");
            place.ends("1.0.0", failed);
            place.ends("1.1.0", failed);
            let deployment = place.begin("1.1.0").await;
            let started = async |versions: &[&str]| {
                let began = Instant::now();
                while place.forge.started().len() < versions.len() {
                    assert!(began.elapsed() < crate::world::PATIENCE, "{:?}", place.forge.started());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                assert_eq!(place.forge.started(), versions);
            };
            started(&["1.0.0", "1.1.0", "1.0.0"]).await;
            // It is tried again within seconds, and the platform is left alone until the minute is over.
            tokio::time::sleep(Duration::from_secs(1)).await;
            place.shop.clock.advance(Duration::from_secs(50));
            tokio::time::sleep(Duration::from_secs(1)).await;
            started(&["1.0.0", "1.1.0", "1.0.0"]).await;
            assert_eq!(place.state(&deployment).await, "rolling_back");
            place.shop.clock.advance(Duration::from_secs(10));
            started(&["1.0.0", "1.1.0", "1.0.0", "1.0.0"]).await;

            // It fails for as long as an undo is tried: a person deploys by hand what served, and says so.
            place.passes_until(&deployment, "stuck").await;
            let told = place.told(&deployment).await;
            assert!(told.contains("could not be undone") && told.contains("http://forge/"), "{told}");
            let settled = place.choose(&deployment, "mark_done").await;
            assert_eq!(settled["state"], "rolled_back", "{settled:#}");

            // What served is again what is gone back to: the next one that fails is replaced by it.
            let before = place.forge.started().len();
            place.ends("1.0.0", "success");
            place.ends("1.2.0", failed);
            let next = place.deploy("1.2.0").await;
            assert_eq!(next["state"], "rolled_back", "{}: {next:#}", another.name);
            assert_eq!(
                (place.forge.started()[before..].to_vec(), place.forge.deployed()),
                (vec!["1.2.0".into(), "1.0.0".into()], "1.0.0".into())
            );
        }
    }
}
