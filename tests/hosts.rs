//! Two services told apart by host share one listener: each is deployed, taken back and taken down while the other serves under load.

mod support;

use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use support::{
    PATIENCE,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    on_both,
    wire::{finish, http_for},
    workspace::Workspace,
};

on_both!(services_share_a_listener_and_are_deployed_apart);

async fn services_share_a_listener_and_are_deployed_apart(database: Database) {
    let listen = free_address();
    let mut workspace = Workspace::new(database, &configuration(listen));
    workspace.serve(&[]).await.unwrap();
    must(&workspace, "apply", json!({ "text": workspace.read("interlock.toml") })).await;

    assert_eq!(deploy(&workspace, "web", "staging", "1.0.0").await, "succeeded");
    assert_eq!(deploy(&workspace, "blog", "preview", "2.0.0").await, "succeeded");
    assert_eq!(get(listen, "shop.test").await, (200, "hello from 1.0.0\n".into()));
    assert_eq!(get(listen, "news.blog.test").await, (200, "hello from 2.0.0\n".into()));
    let (status, body) = get(listen, "other.test").await;
    assert!(status == 404 && body.contains("no service here answers for this host"), "{status} {body}");

    let (shop, blog) = (Customers::of(listen, "shop.test"), Customers::of(listen, "blog.test"));
    assert_eq!(deploy(&workspace, "web", "staging", "1.1.0").await, "succeeded");
    assert_eq!(deploy(&workspace, "blog", "preview", "2.1.0").await, "succeeded");
    let back = must(&workspace, "rollback_deployment", json!({ "service": "web", "environment": "staging", "reason": "on demand" })).await;
    assert_eq!(settled(&workspace, &back["deployment"]).await, "succeeded");
    assert_eq!(get(listen, "shop.test").await.1, "hello from 1.0.0\n");
    assert_eq!(get(listen, "blog.test").await.1, "hello from 2.1.0\n");
    blog.lost_nothing().await;

    // One is taken down; the other does not notice.
    let down = finish(&mut workspace.interlock(&["down", "preview"])).await;
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert_eq!(get(listen, "blog.test").await.0, 404);
    shop.lost_nothing().await;

    // Gone from the configuration, its host is free for another service.
    let text = configuration(listen);
    let (without_blog, _) = text.split_once("[services.blog]").unwrap();
    let renamed = without_blog.replace(r#"["shop.test"]"#, r#"["shop.test", "blog.test"]"#);
    must(&workspace, "apply", json!({ "text": renamed })).await;
    assert_eq!(deploy(&workspace, "web", "staging", "1.2.0").await, "succeeded");
    assert_eq!(get(listen, "blog.test").await.1, "hello from 1.2.0\n");
    let down = finish(&mut workspace.interlock(&["down", "staging"])).await;
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(http_for(listen, "shop.test", "GET", "/", "", "").await.is_err(), "the last service takes the listener along");
}

/// Two services of the demo, in an environment each, at one address.
fn configuration(listen: SocketAddr) -> String {
    let own = service(&demo_app(), Times::SHORT);
    let (_, of_service) = own.split_once("[services.web]").unwrap();
    let web = format!("[project]\nname = \"shop\"\n\n[services.web]{of_service}hosts = [\"shop.test\"]\n");
    let blog = format!("[services.blog]{of_service}hosts = [\"blog.test\", \"*.blog.test\"]\n");
    let place_of_blog = place("preview", listen).replace("services.web", "services.blog");
    format!("{web}{}{blog}{place_of_blog}", place("staging", listen))
}

/// Customers of one host, one after the other.
struct Customers {
    host: &'static str,
    served: Arc<AtomicU64>,
    lost: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<()>,
}

impl Customers {
    fn of(listen: SocketAddr, host: &'static str) -> Self {
        let (served, lost, is_over): (Arc<AtomicU64>, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let (good, bad, end) = (served.clone(), lost.clone(), is_over.clone());
        let asking = tokio::spawn(async move {
            while !end.load(Relaxed) {
                let (status, body) = get(listen, host).await;
                if status == 200 && body.starts_with("hello from ") {
                    good.fetch_add(1, Relaxed);
                } else {
                    bad.lock().unwrap().push(format!("{status} {body}"));
                }
                // Each comes over a connection of its own: without a pause the machine may run out of ports before anything is lost.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Customers { host, served, lost, is_over, asking }
    }

    async fn lost_nothing(self) {
        self.is_over.store(true, Relaxed);
        self.asking.await.unwrap();
        let (served, lost) = (self.served.load(Relaxed), self.lost.lock().unwrap());
        assert!(served > 50 && lost.is_empty(), "{}: {served} were served and {} lost: {:?}", self.host, lost.len(), lost.first());
    }
}

async fn get(listen: SocketAddr, host: &str) -> (u16, String) {
    http_for(listen, host, "GET", "/", "", "").await.unwrap_or_else(|error| (0, error.to_string()))
}

async fn must(workspace: &Workspace, method: &str, params: Value) -> Value {
    workspace.client().call(method, params).await.unwrap()
}

/// Takes a version of a service to an environment; returns how it settled.
async fn deploy(workspace: &Workspace, service: &str, environment: &str, version: &str) -> String {
    let order = json!({ "service": service, "environment": environment, "version": version, "artifact": workspace.build(version) });
    let directive = must(workspace, "create_directive", order).await["directive"]["id"].take();
    let plan = must(workspace, "plan_deployment", json!({ "directive": directive })).await["plan"].take();
    let started = must(workspace, "execute_deployment", json!({ "plan": plan })).await;
    settled(workspace, &started["deployment"]).await
}

async fn settled(workspace: &Workspace, deployment: &Value) -> String {
    let began = Instant::now();
    loop {
        let asked = json!({ "deployment": deployment, "wait_seconds": 45, "until": "settled" });
        let seen = must(workspace, "get_deployment", asked).await;
        let state = seen["state"].as_str().unwrap().to_owned();
        if ["succeeded", "rolled_back", "stuck"].contains(&state.as_str()) {
            return state;
        }
        assert!(began.elapsed() < PATIENCE, "{seen:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
