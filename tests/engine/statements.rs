//! How often a call asks the database: a question of the record is asked once, and what belongs together is one commit.

use crate::{
    support::databases::databases,
    world::{JUNIT, Shop},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, Once},
};
use tracing::{
    Event, Instrument, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// The span of a call whose statements are counted. It goes with them to the database's thread.
const COUNTED: &str = "counted";

/// The statements of every counted call, by its span.
static SEEN: Mutex<BTreeMap<u64, Vec<Asked>>> = Mutex::new(BTreeMap::new());

#[tokio::test]
async fn a_call_asks_each_question_once_and_records_in_one_commit() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let deployed = shop.deploy("1.0.0").await["deployment"]["directive"].take();
        let open = shop.order("staging", "1.1.0").await;
        shop.rest().await;
        let about = json!({ "directive": open });
        let evidence = json!({ "directive": open, "kind": "tests", "content": JUNIT });
        for (operation, arguments, most, commits) in [
            ("get_status", json!({}), 1, 0),
            ("list_deployments", json!({}), 1, 0),
            ("get_status", about, 2, 0),
            ("get_status", json!({ "directive": deployed }), 8, 0),
            ("record_evidence", evidence, 12, 1),
        ] {
            let asked = statements(&shop, operation, arguments.clone()).await;
            let told = format!("{}: `{operation}` {arguments} asked {}: {asked:#?}", database.name, asked.len());
            assert!((1..=most).contains(&asked.len()), "{told}");
            let ended = asked.iter().filter(|statement| statement.starts_with("UPDATE audit_head SET seq = $1")).count();
            assert_eq!(ended, commits, "{told}");
            for (number, statement) in asked.iter().enumerate().filter(|(_, statement)| statement.starts_with("SELECT")) {
                assert!(commits > 0 || !asked[..number].contains(statement), "asked twice: {told}");
            }
        }
    }
}

/// Returns the statements of a call that must work.
async fn statements(shop: &Shop, operation: &str, arguments: Value) -> Vec<String> {
    let asked = asked_by(shop.must(operation, arguments)).await.1;
    // A call that finds no connection kept opens one and sets it up, which asks the record nothing.
    asked
        .into_iter()
        .map(|asked| asked.statement)
        .filter(|statement| !statement.starts_with("SET ") && !statement.starts_with("PRAGMA "))
        .collect()
}

/// Returns what comes of something, and the statements it has asked.
pub async fn asked_by<T>(something: impl Future<Output = T>) -> (T, Vec<Asked>) {
    static COUNT: Once = Once::new();
    COUNT.call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Count)).unwrap());
    let span = tracing::info_span!(COUNTED);
    let id = span.id().expect("spans are recorded").into_u64();
    let came = something.instrument(span).await;
    (came, SEEN.lock().unwrap().remove(&id).unwrap_or_default())
}

/// A statement as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its text.
    pub statement: String,
    /// How many rows came back.
    pub rows: u64,
}

struct Count;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Count {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: Context<'_, S>) {
        if attributes.metadata().name() == COUNTED {
            SEEN.lock().unwrap().insert(id.into_u64(), Vec::new());
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut seen = SEEN.lock().unwrap();
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(statements) = seen.get_mut(&span.id().into_u64()) {
                statements.push(text.asked());
            }
        }
    }
}

/// The text of a statement, as the driver tells it: whole, or its beginning where it is long.
#[derive(Default)]
struct Text(BTreeMap<&'static str, String>);

impl Text {
    fn asked(&self) -> Asked {
        let of = |name: &str| self.0.get(name).filter(|text| !text.is_empty());
        let text = of("db.statement").or(of("summary")).expect("the driver tells the statement");
        let rows = of("rows_returned").and_then(|rows| rows.parse().ok()).expect("the driver tells how many rows came");
        Asked { statement: text.split_whitespace().collect::<Vec<_>>().join(" "), rows }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
