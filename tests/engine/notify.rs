//! Telling people elsewhere, over real sockets: each kind is told once, signed, and says where to decide; whoever does not take it holds up
//! nobody, and is told later. Signatures are verified by Python.

use crate::{
    control::left_at,
    support::{
        databases::{TestDatabase, databases},
        receiver::{Came, Receiver, SECRET, verified},
    },
    world::{Shop, person},
};
use interlock::{
    engine::{Engine, adapters::RealAdapters, decide::Direction::Back, freezing::FreezeRequest},
    model::{DecisionKind, DecisionVerdict::Approve},
    targets::fake::Behaviour,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Row};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

const PAGES: &str = "http://localhost:8420";
/// A path that nobody may read: whoever knows it can post there.
const SLACK_PATH: &str = "/services/T0/B0/canary-of-slack";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Returns a webhook's table; its secret is in a file.
fn webhook(shop: &Shop, name: &str, receiver: &Receiver, further: &str) -> String {
    let file = shop.engine.workspace.root.join("webhook-secret");
    fs::write(&file, SECRET).unwrap();
    format!(
        "\n[notify.{name}]\nkind = \"webhook\"\nurl = \"http://{}/hook\"\nsecret = \"file:{}\"\nprivate = true\n{further}\n",
        receiver.address,
        file.display()
    )
}

/// Returns a chat's table; its address is in a file.
fn chat(shop: &Shop, receiver: &Receiver) -> String {
    let file = shop.engine.workspace.root.join("slack-url");
    fs::write(&file, format!("http://{}{SLACK_PATH}\n", receiver.address)).unwrap();
    format!("\n[notify.chat]\nkind = \"slack\"\nurl = \"file:{}\"\nprivate = true\n", file.display())
}

/// Applies the shop's configuration with these destinations, and tells them so.
async fn told(shop: &Shop, destinations: &str) {
    shop.engine.pages_are_at(PAGES);
    round(shop).await;
    shop.configure(&format!("{}{destinations}", shop.text)).await;
    round(shop).await;
}

async fn freeze(shop: &Shop, reason: &str) -> String {
    let request = FreezeRequest { environment: Some("staging".into()), reason: reason.into(), ..FreezeRequest::default() };
    shop.engine.freeze(&person(), request).await.unwrap().id
}

async fn round(shop: &Shop) {
    shop.engine.notify_once().await.unwrap();
}

fn of_kind<'a>(came: &'a [Came], kind: &str) -> Vec<&'a Came> {
    came.iter().filter(|one| one.kind() == kind).collect()
}

/// Returns everything that the database holds, as text.
async fn everything(database: &TestDatabase) -> String {
    let mut connection = database.outside().await;
    let tables = match database.name {
        "sqlite" => "SELECT name FROM sqlite_master WHERE type = 'table'",
        _ => "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables WHERE table_schema = current_schema()",
    };
    let tables: Vec<String> = sqlx::query(tables).fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get("name")).collect();
    let mut all = String::new();
    for table in tables.iter().filter(|table| ["outbox", "deliveries", "audit_log", "config_revisions"].contains(&table.as_str())) {
        for row in sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch_all(&mut connection).await.unwrap() {
            for column in 0..row.len() {
                all.push_str(&row.try_get::<Option<String>, _>(column).ok().flatten().unwrap_or_default());
                all.push('\n');
            }
        }
    }
    connection.close().await.unwrap();
    all
}

#[tokio::test]
async fn each_kind_is_told_once_signed_and_leads_to_where_it_is_decided() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (pager, slack) = (Receiver::start().await, Receiver::start().await);
        told(&shop, &(webhook(&shop, "pager", &pager, "") + &chat(&shop, &slack))).await;

        shop.deploy("1.0.0").await;
        shop.staging.behave("1.1.0", Behaviour { status: 200, shows: "1.1.0".into(), exits: true });
        assert_eq!(shop.deploy("1.1.0").await["state"], "rolled_back");
        let plan = shop.plan_in_production("1.0.0").await;
        shop.sign(DecisionKind::Plan, plan.clone(), Approve).await;
        let first = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&first).await["state"], "succeeded");
        shop.must("rollback_deployment", json!({ "deployment": first, "reason": "not yet" })).await;
        let frozen = freeze(&shop, "the till is empty").await;
        round(&shop).await;
        shop.sign(DecisionKind::Unfreeze, json!(frozen), Approve).await;
        let (stuck, _) = left_at(&shop, "1.2.0", "shift", Back, true).await;
        round(&shop).await;
        let came = pager.came();
        round(&shop).await;
        assert_eq!(pager.came().len(), came.len(), "{}: nothing is told twice", database.name);

        let kinds: BTreeMap<String, usize> = came.iter().fold(BTreeMap::new(), |mut kinds, one| {
            *kinds.entry(one.kind()).or_default() += 1;
            kinds
        });
        let all = ["asks", "decided", "failed", "frozen", "rolled_back", "stuck", "succeeded"];
        assert_eq!(kinds.keys().map(String::as_str).collect::<Vec<_>>(), all, "{}: {kinds:?}", database.name);
        assert_eq!(came.iter().map(Came::id).collect::<BTreeSet<_>>().len(), came.len(), "each has an id of its own");
        let page = |kind: &str, at: usize| of_kind(&came, kind)[at].says()["data"]["url"].as_str().unwrap().to_owned();
        let plan = plan.as_str().unwrap();
        assert!((0..kinds["asks"]).any(|at| page("asks", at) == format!("{PAGES}/plans/{plan}")), "{came:#?}");
        assert_eq!(page("stuck", 0), format!("{PAGES}/deployments/{}", stuck.id));
        assert_eq!((page("succeeded", 0), page("failed", 0)), (format!("{PAGES}/deployments/dep_1"), format!("{PAGES}/deployments/dep_2")));
        let titles: Vec<String> = of_kind(&came, "rolled_back").iter().map(|one| one.says()["data"]["title"].to_string()).collect();
        assert!(titles.iter().any(|title| title.contains("web 1.0.0 to production was withdrawn")), "{titles:?}");
        let failed = of_kind(&came, "failed")[0].says();
        assert_eq!((&failed["data"]["version"], &failed["data"]["environment"]), (&json!("1.1.0"), &json!("staging")), "{failed:#}");
        let frozen = of_kind(&came, "frozen")[0].says();
        assert_eq!(frozen["data"]["said"]["text"], "the till is empty", "{frozen:#}");

        // Every signature holds, and none of them over anything else.
        if let Some(hold) = verified(&came, SECRET) {
            assert!(hold.len() > 8 && hold.iter().all(|holds| *holds), "{}: {hold:?}", database.name);
            let altered: Vec<Came> = came.iter().map(|one| Came { body: one.body.replace("staging", "stagine"), ..one.clone() }).collect();
            assert!(verified(&altered, SECRET).unwrap().contains(&false), "an altered body is found");
        }

        // The chat has the same, without a signature and without anything to press.
        let posted = slack.came();
        assert_eq!((posted.len(), posted[0].path.as_str()), (came.len(), SLACK_PATH));
        for one in &posted {
            assert!(
                !one.headers.contains_key("webhook-signature") && !one.body.contains("\"button\"") && one.body.contains(PAGES),
                "{one:?}"
            );
        }

        // No secret is in the record, in what was sent or in what is shown; what is no secret is found by the same search.
        let shown = serde_json::to_string(&shop.engine.notified().await.unwrap()).unwrap();
        let sent: String = came.iter().chain(&posted).map(|one| one.body.as_str()).collect();
        let record = everything(&database).await;
        for place in [&record, &shown, &sent] {
            assert!(
                !place.contains("canary-of-slack") && !place.contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
                "{}: {place}",
                database.name
            );
        }
        assert!(record.contains("the till is empty") && record.contains("slack-url") && shown.contains("pager") && sent.contains("dep_2"));
        database.tamper("UPDATE deliveries SET said = '/services/T0/B0/canary-of-slack'").await;
        assert!(everything(&database).await.contains("canary-of-slack"), "the search finds a planted secret");
    }
}

#[tokio::test]
async fn whoever_fails_for_a_day_is_told_then_and_the_others_at_once() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (down, up) = (Receiver::start().await, Receiver::start().await);
        told(&shop, &(webhook(&shop, "down", &down, "events = [\"frozen\"]") + &webhook(&shop, "up", &up, "events = [\"frozen\"]"))).await;
        down.answers(503, "retry-after: 7200\r\n");
        freeze(&shop, "the till is empty").await;
        round(&shop).await;
        assert_eq!((up.came().len(), down.came().len()), (1, 1), "{}", database.name);

        // What the receiver asks for is obeyed, and not for ever.
        shop.clock.advance(HOUR);
        round(&shop).await;
        assert_eq!(down.came().len(), 1, "{}: it asked for two hours", database.name);
        down.answers(500, "");
        for _ in 0..25 {
            shop.clock.advance(HOUR);
            round(&shop).await;
        }
        let tries = down.came();
        assert!((4..9).contains(&tries.len()), "{}: {} tries in a day", database.name, tries.len());
        let notified = shop.engine.notified().await.unwrap();
        assert_eq!((notified[0].waiting, notified[0].said.as_deref(), notified[1].delivered), (1, Some("answered 500: ok"), 1));

        // Deployments have gone on meanwhile: `up` is told, and nothing waits for `down`.
        shop.sign(DecisionKind::Unfreeze, json!("frz_1"), Approve).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");

        down.answers(204, "");
        while down.came().len() == tries.len() {
            shop.clock.advance(HOUR);
            round(&shop).await;
        }
        let last = down.came().pop().unwrap();
        assert_eq!((last.id(), last.body.clone()), (tries[0].id(), tries[0].body.clone()), "it is the same message");
        assert!(last.sent_at() - tries[0].sent_at() > 24 * 3600, "sent at another time");
        if let Some(hold) = verified(&[tries[0].clone(), last], SECRET) {
            assert_eq!(hold, [true, true]);
        }
        assert_eq!(shop.engine.notified().await.unwrap()[0].waiting, 0);

        // Who never takes one is given up after ten tries, and the record says so.
        down.answers(500, "");
        let before = down.came().len();
        freeze(&shop, "still empty").await;
        for _ in 0..200 {
            round(&shop).await;
            shop.clock.advance(HOUR);
        }
        assert_eq!(down.came().len() - before, 10, "{}", database.name);
        let notified = shop.engine.notified().await.unwrap();
        assert_eq!((notified[0].waiting, notified[0].given_up), (0, 1), "{}", database.name);
        let head = shop.engine.store.sequence().await.unwrap();
        let entries = shop.engine.store.audit_entries(head - 5, 5).await.unwrap();
        assert!(entries.iter().any(|entry| entry.action == "give_up_delivery" && entry.detail["destination"] == "down"), "{entries:#?}");
    }
}

#[tokio::test]
async fn whoever_hangs_holds_up_nobody_and_a_server_that_ends_meanwhile_loses_nothing() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (hangs, up) = (Receiver::start().await, Receiver::start().await);
        told(&shop, &(webhook(&shop, "hangs", &hangs, "") + &webhook(&shop, "up", &up, ""))).await;
        hangs.hangs();
        let before = (hangs.came().len(), up.came().len());
        let frozen = freeze(&shop, "the till is empty").await;
        let engine = shop.engine.clone();
        let telling = tokio::spawn(async move { engine.notify_once().await });
        let (first, told) = (hangs.until(before.0 + 1).await.pop().unwrap(), up.until(before.1 + 1).await);
        assert!(of_kind(&told, "frozen").len() == 1 && !telling.is_finished(), "{}: {told:#?}", database.name);
        shop.sign(DecisionKind::Unfreeze, json!(frozen), Approve).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded", "a deployment waits for nobody who is told");

        // The server ends in the middle of it: nobody knows whether it arrived, so it is sent once more, with the same id.
        telling.abort();
        assert!(telling.await.unwrap_err().is_cancelled());
        hangs.answers(200, "");
        let (workspace, store) = (shop.engine.workspace.clone(), shop.engine.store.clone());
        let adapters = RealAdapters::new("".into(), workspace.clone(), shop.clock.clone());
        let engine = Engine::new(workspace, store, shop.clock.clone(), Box::new(adapters));
        engine.notify_once().await.unwrap();
        assert_eq!(hangs.came().len(), before.0 + 1, "{}: nobody is told before links lead anywhere", database.name);
        engine.pages_are_at(PAGES);
        engine.notify_once().await.unwrap();
        let of_first = |came: Vec<Came>| came.into_iter().filter(|one| one.id() == first.id()).count();
        assert_eq!(of_first(hangs.came()), 1, "{}: somebody may still have it in hand", database.name);
        shop.clock.advance(Duration::from_secs(61));
        engine.notify_once().await.unwrap();
        assert_eq!(of_first(hangs.came()), 2, "{}", database.name);
        assert_eq!(up.came().iter().map(Came::id).collect::<BTreeSet<_>>(), hangs.came().iter().map(Came::id).collect());
    }
}

#[tokio::test]
async fn nothing_inward_is_told_by_a_redirect_or_a_name_and_who_is_gone_is_left_alone() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (receiver, inward) = (Receiver::start().await, Receiver::start().await);
        let secret = shop.engine.workspace.root.join("webhook-secret");
        let sly = |name: &str, url: String| {
            format!(
                "\n[notify.{name}]\nkind = \"webhook\"\nurl = \"{url}\"\nsecret = \"file:{}\"\nevents = [\"frozen\"]\n",
                secret.display()
            )
        };
        let port = inward.address.port();
        let written = shop.engine.workspace.root.join("plain-url");
        fs::write(&written, format!("http://{}/hook", inward.address)).unwrap();
        let destinations = webhook(&shop, "receiver", &receiver, "events = [\"frozen\", \"decided\"]")
            + &sly("sly-a", format!("https://localhost:{port}/hook"))
            + &sly("sly-b", format!("https://127.0.0.1:{port}/hook"))
            + &sly("sly-c", format!("https://[::ffff:127.0.0.1]:{port}/hook"))
            + &sly("sly-d", format!("file:{}", written.display()));
        told(&shop, &destinations).await;
        receiver.answers(307, &format!("location: http://{}/hook\r\n", inward.address));
        let before = receiver.came().len();
        freeze(&shop, "the till is empty").await;
        round(&shop).await;
        let notified = shop.engine.notified().await.unwrap();
        let said: BTreeMap<&str, &str> = notified.iter().map(|one| (one.name.as_str(), one.said.as_deref().unwrap_or_default())).collect();
        assert_eq!((receiver.came().len(), inward.came().len()), (before + 1, 0), "{}: {said:#?}", database.name);
        assert_eq!(said["receiver"], "answered 307; redirects are not followed");
        for name in ["sly-a", "sly-b", "sly-c"] {
            assert!(said[name].contains("leads to this machine or into a private network"), "{name}: {said:#?}");
        }
        assert_eq!(said["sly-d"], "its address is not https, and it is not `private`");

        // 410: it is told nothing any more, until it takes a test.
        receiver.answers(410, "");
        shop.clock.advance(Duration::from_secs(10));
        round(&shop).await;
        let gone = receiver.came().len();
        freeze(&shop, "still empty").await;
        round(&shop).await;
        assert_eq!((receiver.came().len(), shop.engine.notified().await.unwrap()[0].is_gone), (gone, true), "{}", database.name);
        let refused = shop.engine.notify_test(&person(), "receiver").await.unwrap_err();
        assert!(refused.message.contains("answered 410"), "{refused:?}");
        receiver.answers(200, "");
        assert_eq!(shop.engine.notify_test(&person(), "receiver").await.unwrap(), "answered 200: ok");
        freeze(&shop, "at last").await;
        round(&shop).await;
        let came = receiver.came();
        assert_eq!(came.last().unwrap().says()["data"]["said"]["text"], "at last", "{}", database.name);
        assert_eq!(came[came.len() - 2].kind(), "test");
        let unknown = shop.engine.notify_test(&person(), "nobody").await.unwrap_err();
        assert_eq!(unknown.code.as_str(), "not_found");
        assert!(unknown.hint.contains("`receiver`"), "{unknown:?}");
    }
}

#[tokio::test]
async fn production_tells_nobody_whom_its_approver_has_not_signed() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let receiver = Receiver::start().await;
        shop.engine.pages_are_at(PAGES);
        shop.deploy("1.0.0").await;
        round(&shop).await;
        // Nobody signs for `preview`; production rests on staging, and `preview` on neither.
        let (address, _) = shop.another_address().await;
        let preview = format!("\n[environments.preview.services.web]\nrouter = {{ kind = \"proxy\", listen = \"{address}\" }}\n");
        let text = format!("{}{preview}{}", shop.text, webhook(&shop, "spy", &receiver, ""));
        let applied = shop.engine.apply(&person(), &text).await.unwrap();
        assert_eq!(applied.in_force, ["preview".into()], "{}", database.name);
        let waits = applied.proposal.unwrap();
        let production = waits.differences.iter().find(|one| one.environment.as_str() == "production").unwrap();
        assert!(production.changes.iter().any(|change| change.path == "notify.spy.url"), "{:#?}", waits.differences);
        shop.plan_in_production("1.0.0").await;
        let request = FreezeRequest { environment: Some("preview".into()), reason: "later".into(), ..FreezeRequest::default() };
        shop.engine.freeze(&person(), request).await.unwrap();
        round(&shop).await;
        let kinds: Vec<String> = receiver.came().iter().map(Came::kind).collect();
        assert_eq!(kinds, ["frozen"], "{}: {:#?}", database.name, receiver.came());

        // Signed, it is told; and its removal takes a signature as well.
        shop.sign(DecisionKind::Configuration, json!(applied.revision), Approve).await;
        shop.deploy("1.1.0").await;
        shop.plan_in_production("1.1.0").await;
        round(&shop).await;
        let of_production = |one: &&Came| one.says()["data"]["environment"] == "production";
        assert!(of_kind(&receiver.came(), "asks").into_iter().any(|one| of_production(&one)), "{}", database.name);
        let removed = shop.engine.apply(&person(), &shop.text).await.unwrap();
        assert!(removed.proposal.is_some_and(|waits| waits.environments.contains(&"production".into())));
    }
}

#[tokio::test]
async fn what_others_write_reaches_people_as_their_words_and_as_nothing_else() {
    let databases = databases().await;
    let shop = Shop::open(&databases[0].url).await;
    let (pager, slack) = (Receiver::start().await, Receiver::start().await);
    told(&shop, &(webhook(&shop, "pager", &pager, "") + &chat(&shop, &slack))).await;
    let hostile = format!("<!channel> <https://evil.example|approve here> \u{202e}live {}", "x".repeat(400));
    freeze(&shop, &hostile).await;
    round(&shop).await;
    let said = of_kind(&pager.came(), "frozen")[0].says()["data"]["said"].clone();
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("\\u{202e}") && text.contains("more characters") && text.chars().count() < 340, "{text}");
    assert_eq!(said["written_by"], "others: data, not instructions");
    let posted: Value = slack.came().iter().find(|one| one.body.contains("evil.example")).unwrap().says();
    assert!(!posted["text"].as_str().unwrap().contains("evil"), "{posted:#}");
    let blocks = posted["blocks"].as_array().unwrap();
    let quoting: Vec<&Value> = blocks.iter().filter(|block| block.to_string().contains("evil.example")).collect();
    assert!(matches!(quoting.as_slice(), [block] if block["text"]["type"] == "plain_text"), "{posted:#}");
}
