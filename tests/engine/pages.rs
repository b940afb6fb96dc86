//! What a page reads of the record does not grow with it: as many statements and rows whether a place was deployed to a thousand times or
//! three thousand, and none that the database can only answer by looking at everything.

use crate::{
    statements::{Asked, asked_by},
    support::{
        databases::{TestDatabase, databases},
        large::Model,
        pages::Things,
    },
    world::Shop,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use interlock::{
    engine::metrics::NEWEST,
    model::RunbookId,
    operations::Registry,
    web::{self, Doors, Pages},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How far apart the deployments are: all of them are within every window a page has.
const APART: Duration = Duration::from_secs(5);

/// So many deployments there are at first, and then: more than any page looks at.
const FEW: u64 = NEWEST as u64 + 100;
const MANY: u64 = 3 * FEW;

/// What is read whole, and why it does not grow with deployments.
const SMALL: &[(&str, &str)] = &[
    ("config_environments", "a row for each environment"),
    ("approvers", "a row for each approver"),
    ("enrolment_links", "a row for each passkey that somebody was to make"),
    ("approver_keys", "a row for each key"),
    ("principals", "a row for each caller"),
    ("freezes", "a row for each time somebody stopped deployments"),
    ("ventures", "a row for each product"),
    ("serving", "a row for each place"),
    ("deliveries", "counted in an index of it, and forgotten after 30 days"),
    ("d", "the rows of an inner statement, which has a limit"),
];

#[tokio::test]
async fn what_a_page_reads_does_not_grow_with_the_record() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        shop.must("create_venture", json!({ "name": "Shop" })).await;
        let deployed = shop.deploy("1.0.0").await;
        let model = Model::of(&deployed);
        shop.must("write_runbook", json!({ "deployment": model.deployment })).await;
        let waiting = shop.plan_in_production("1.0.0").await.as_str().unwrap().to_owned();
        let open = shop.engine.store.plan(&waiting.as_str().into()).await.unwrap().unwrap().plan.directive.0;
        shop.rest().await;
        let of = |name: &str| deployed["deployment"][name].as_str().unwrap().to_owned();
        let things =
            Things { deployment: of("id"), completed: of("directive"), used: of("plan"), open, waiting, runbook: "rb_staging_web".into() };

        let browser = Browser::enter(&shop).await;
        let runbook = RunbookId::from(things.runbook.as_str());
        let mut outside = database.outside().await;
        model.goes_wrong(&mut outside).await.unwrap();
        model.repeat(&mut outside, 1, FEW - 1, APART).await.unwrap();
        let before = browser.every_page(&things).await;
        let whole = async || asked_by(shop.engine.store.runbook_versions(&runbook, i64::MAX, u32::MAX)).await.1[0].rows;
        let control = whole().await;
        model.repeat(&mut outside, FEW, MANY - 1, APART).await.unwrap();
        let after = browser.every_page(&things).await;

        assert!(after.len() > 25, "{}", database.name);
        for (page, asked) in &after {
            let (few, many) = (&before[page], asked);
            let told = format!("{} {page}: {few:#?}, then {many:#?}", database.name);
            let rows = |asked: &[Asked]| asked.iter().map(|asked| asked.rows).sum::<u64>();
            println!("figure: {} {page}: {} statements, {} rows", database.name, many.len(), rows(many));
            assert!(!many.is_empty(), "{told}");
            assert!(many.len() <= few.len() && rows(many) <= rows(few), "{told}");
        }
        assert_eq!((control, whole().await), (FEW, MANY), "the same count sees what grows");

        if database.file().is_some() {
            let mut found = BTreeMap::new();
            for Asked { statement, .. } in after.values().flatten() {
                found.insert(statement, read_whole(&database, statement).await);
            }
            found.retain(|_, whole| !whole.is_empty());
            assert_eq!(found, BTreeMap::new());
            // The same look sees what has no index, and what is sorted before most of it is left out.
            for planted in ["SELECT id FROM deployments WHERE version = $1", "SELECT id FROM deployments ORDER BY version LIMIT 1"] {
                assert_eq!(read_whole(&database, planted).await, ["SCAN deployments"], "{planted}");
            }
        }
    }
}

/// Returns where SQLite reads all of a table that grows with deployments to answer a statement.
async fn read_whole(database: &TestDatabase, statement: &str) -> Vec<String> {
    let mut outside = database.outside().await;
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let rows = outside.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    outside.close().await.unwrap();
    // In the order of an index and up to a limit, little of it is read.
    let is_sorted = steps.iter().any(|step| step.starts_with("USE TEMP B-TREE FOR ORDER BY"));
    let ends = |step: &str| step.contains("USING") && statement.contains(" LIMIT ") && !is_sorted;
    let is_small = |step: &str| SMALL.iter().any(|(name, _)| step.split(' ').nth(1) == Some(name));
    steps.into_iter().filter(|step| step.starts_with("SCAN ") && !is_small(step) && !ends(step)).collect()
}

/// A browser with a session, before the pages of this process.
struct Browser {
    router: Router,
    cookie: String,
}

/// What it calls the server.
const HOST: &str = "localhost:8420";

impl Browser {
    async fn enter(shop: &Shop) -> Self {
        let registry = Arc::new(Registry::over(shop.engine.clone()));
        let pages = Pages::new(registry, Doors::new(shop.clock.clone()), 8420, CancellationToken::new());
        let link = pages.link("/").unwrap();
        let router = web::routes(pages);
        let enter = Request::get(link.strip_prefix(&format!("http://{HOST}")).unwrap()).header(header::HOST, HOST);
        let entered = router.clone().oneshot(enter.body(Body::empty()).unwrap()).await.unwrap();
        let cookie = entered.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        Browser { router, cookie }
    }

    /// Returns what each page there is asks, by its address.
    async fn every_page(&self, things: &Things) -> BTreeMap<String, Vec<Asked>> {
        let mut seen = BTreeMap::new();
        for page in web::addresses().flat_map(|address| things.behind(address).unwrap()) {
            let request = Request::get(&page).header(header::HOST, HOST).header(header::COOKIE, &self.cookie).body(Body::empty()).unwrap();
            let (answer, mut asked) = asked_by(self.router.clone().oneshot(request)).await;
            // A page only reads; what a new connection is told is none of it.
            asked.retain(|asked| asked.statement.starts_with("SELECT"));
            let answer = answer.unwrap();
            let status = answer.status();
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{page}: {}", String::from_utf8_lossy(&body));
            seen.insert(page, asked);
        }
        seen
    }
}
