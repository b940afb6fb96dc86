//! The pages: what people read before they decide, on the listener of the server, complete without JavaScript. Where something waits
//! for a person, the page says what to type, or asks for the passkey that signs it; to stop and to go back takes a person who is signed in.
//!
//! To add a page: a file with `page(…)`, and a line in [`PAGES`]. Text from outside goes through [`shown`] and nothing else.

mod access;
mod actions;
mod audit;
mod configuration;
mod decide;
mod deployment;
mod directives;
mod figures;
mod freezes;
mod history;
mod home;
mod inbox;
mod incidents;
mod layout;
mod live;
mod notifications;
mod passkeys;
mod people;
mod plan;
mod raw;
mod runbooks;
mod sessions;
mod shown;
mod ventures;

pub use sessions::Doors;

use crate::{
    decisions::passkeys::Passkeys,
    engine::Engine,
    error::{Error, Result},
    model::{Caller, Timestamp},
    operations::{Context, Progress, Registry},
};
use axum::{
    Extension, Router,
    extract::{Path, RawQuery},
    http::{HeaderMap, Uri, header},
    middleware,
    response::Response,
    routing::{get, post},
};
use futures_util::future::BoxFuture;
use layout::Page;
use live::{Asked, Follows, Streams};
use serde_json::Value;
use sessions::Visit;
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::sync::CancellationToken;

/// What makes a page.
type Make = fn(Ask) -> BoxFuture<'static, Result<Page>>;

/// Every page, with its address.
const PAGES: &[(&str, Make)] = &[
    ("/", |ask| Box::pin(home::page(ask))),
    ("/plans/{id}", |ask| Box::pin(plan::page(ask))),
    ("/deployments/{id}", |ask| Box::pin(deployment::page(ask))),
    ("/directives", |ask| Box::pin(directives::list(ask))),
    ("/directives/{id}", |ask| Box::pin(directives::page(ask))),
    ("/history", |ask| Box::pin(history::page(ask))),
    ("/runbooks", |ask| Box::pin(runbooks::list(ask))),
    ("/runbooks/{id}", |ask| Box::pin(runbooks::page(ask))),
    ("/figures", |ask| Box::pin(figures::page(ask))),
    ("/ventures", |ask| Box::pin(ventures::active(ask))),
    ("/ventures/{id}", |ask| Box::pin(ventures::page(ask))),
    ("/freezes", |ask| Box::pin(freezes::page(ask))),
    ("/incidents", |ask| Box::pin(incidents::page(ask))),
    ("/configuration", |ask| Box::pin(configuration::page(ask))),
    ("/people", |ask| Box::pin(people::page(ask))),
    ("/decide/{id}", |ask| Box::pin(decide::page(ask))),
    ("/audit", |ask| Box::pin(audit::page(ask))),
];

/// Returns the address of every page; `{id}` stands for what it is of.
pub fn addresses() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(address, _)| *address)
}

/// What the pages of one server share.
pub struct Pages {
    registry: Arc<Registry>,
    doors: Doors,
    port: u16,
    streams: Arc<Streams>,
    /// None where no workspace is behind the server.
    passkeys: Option<Passkeys>,
}

/// What a page is made from: who is asked, and what for.
pub struct Ask {
    /// The engine.
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    /// What the session that asks may do here by passkey.
    decider: passkeys::Decider,
    /// When it is asked.
    now: Timestamp,
    /// What the address ends with, where the page is of one thing.
    id: String,
    query: BTreeMap<String, String>,
}

impl Pages {
    /// Returns the pages of a server that listens on this port; those that follow what happens do so until `stop`.
    pub fn new(registry: Arc<Registry>, doors: Doors, port: u16, stop: CancellationToken) -> Arc<Self> {
        let passkeys = registry.engine().and_then(|engine| Passkeys::at(engine.clone(), &origin(port)).ok());
        Arc::new(Pages { registry, doors, port, streams: Streams::until(stop), passkeys })
    }

    /// Returns a link that opens one session, leading to a page of ours.
    pub fn link(&self, leads_to: &str) -> Result<String> {
        if !is_page(leads_to) {
            return Err(Error::invalid("`to` is the address of a page: `/plans/plan_…`"));
        }
        Ok(format!("http://localhost:{}/enter?key={}", self.port, self.doors.link(leads_to)))
    }

    /// Returns the cookie's name. Browsers keep cookies by host: the port tells the servers of several workspaces apart.
    fn cookie_name(&self) -> String {
        format!("interlock_{}", self.port)
    }
}

/// Returns where the pages of the server at this port are: `http://localhost:8420`.
pub fn origin(port: u16) -> String {
    format!("http://{}", passkeys::host(port))
}

/// Tells whether it is the address of a page of ours, and not of another site.
fn is_page(address: &str) -> bool {
    let is_ours = address.parse().is_ok_and(|uri: Uri| uri.authority().is_none() && uri.path().starts_with('/'));
    is_ours && !address.starts_with("//") && address.len() <= 300
}

/// Returns the routes of the pages; Host, `Origin` and size are checked before them.
pub fn routes(pages: Arc<Pages>) -> Router {
    let inside =
        PAGES.iter().fold(Router::new(), |router, (address, make)| {
            let pages = pages.clone();
            let answer = move |visit: Extension<Visit>,
                               headers: HeaderMap,
                               uri: Uri,
                               id: Option<Path<String>>,
                               RawQuery(query): RawQuery| async move {
                let (id, query) = (id.map(|Path(id)| id).unwrap_or_default(), query.unwrap_or_default());
                let wants = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
                match wants.contains(live::MEDIA_TYPE) {
                    true => live::follow(Asked { pages, make: *make, visit: visit.0, id, query }),
                    false => pages.answer(*make, visit.0, &uri, id, &query).await,
                }
            };
            router.route(address, get(answer))
        });
    let raw = raw::routes(pages.registry.clone());
    let inside = inside.merge(raw).merge(runbooks::routes(pages.clone()));
    let inside = inside.merge(passkeys::inside(pages.clone())).merge(actions::routes(pages.clone()));
    let inside = inside.route("/leave", post(access::leave).with_state(pages.clone()));
    inside
        .route_layer(middleware::from_fn_with_state(pages.clone(), access::with_session))
        .route("/enter", get(access::enter).with_state(pages.clone()))
        .merge(passkeys::outside(pages))
        .route("/style.css", get(layout::style))
        .route("/pages.js", get(layout::script))
        .route("/icon.svg", get(layout::icon))
}

impl Pages {
    async fn answer(&self, make: Make, visit: Visit, uri: &Uri, id: String, query: &str) -> Response {
        match self.made(make, &visit, id, query).await {
            Ok((page, project)) => page.framed(&visit, &project, uri.path_and_query().map_or("/", |address| address.as_str())),
            Err(error) => {
                tracing::info!(code = %error.code, "no page `{}`: {}", uri.path(), error.message);
                layout::failed(&error)
            }
        }
    }

    /// Makes a page, and says of which project it is.
    async fn made(&self, make: Make, visit: &Visit, id: String, query: &str) -> Result<(Page, String)> {
        let ask = self.ask(visit, id, query)?;
        let project = ask.engine.newest().await?.map(|newest| newest.config.project.clone()).unwrap_or_default();
        let is_still = ask.asked("still").is_some();
        let page = make(ask).await?;
        Ok((Page { follows: if is_still { Follows::Not } else { page.follows }, ..page }, project))
    }

    fn engine(&self) -> Result<&Arc<Engine>> {
        self.registry.engine().ok_or_else(|| Error::invalid("no workspace is behind this server"))
    }

    fn ask(&self, visit: &Visit, id: String, query: &str) -> Result<Ask> {
        let engine = self.engine()?.clone();
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let decider = passkeys::Decider::of(self, visit);
        Ok(Ask { now: engine.clock.now(), registry: self.registry.clone(), decider, engine, id, query })
    }
}

impl Ask {
    /// Returns what the query says of a name; nothing where that is empty.
    fn asked(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(|said| said.trim()).filter(|said| !said.is_empty())
    }

    /// Asks an operation that reads, as the server itself: no other may be called this way.
    async fn read(&self, operation: &str, arguments: Value) -> Result<Value> {
        let caller = Caller::server();
        let entry = self.registry.find(&caller, operation).ok_or_else(|| Error::not_found("operation that reads", operation))?;
        let ctx = Context { engine: self.engine.clone(), caller, progress: Progress::default() };
        (entry.call)(Arc::new(ctx), arguments).await
    }
}
