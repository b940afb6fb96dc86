//! Tells people elsewhere: whom the configuration in force names, of what the outbox holds, until it arrived or is given up. Nothing waits
//! for it, and one destination never for another.

use super::{
    Engine,
    notices::{Of, Telling},
};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Destination, DestinationKind, EnvironmentName, Notice, NoticeKind, Sha256, Timestamp, notice},
    store::{Delivery, Tally, Told, Untold},
    targets::notify::{Answered, Message, tell},
};
use futures_util::future::join_all;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tracing::{info, warn};

/// How often the outbox is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long who sends a message has it: longer than resolving two secrets and one exchange take.
const HELD: Duration = Duration::from_secs(60);
/// How many entries are addressed in one round.
const ROUND: u32 = 200;
/// The name under which failures of a round are told.
const NOTIFYING: &str = "telling people elsewhere";
/// How long it is kept what was told.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What an engine knows of telling people.
#[derive(Default)]
pub(super) struct Notifying {
    /// Where the pages are.
    pages: OnceLock<String>,
    /// The destinations that are being told now.
    busy: Mutex<HashSet<String>>,
}

/// Held while a destination is told.
struct Busy<'a>(&'a Notifying, &'a str);

impl Notifying {
    /// Returns what keeps others from telling a destination; none where somebody tells it now.
    fn with<'a>(&'a self, destination: &'a str) -> Option<Busy<'a>> {
        self.busy().insert(destination.to_owned()).then_some(Busy(self, destination))
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy().remove(self.1);
    }
}

/// A destination, and how its messages fare.
#[derive(Debug, Clone, Serialize)]
pub struct Notified {
    /// Its name.
    pub name: String,
    /// How it is told; none where the configuration in force names it no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<DestinationKind>,
    /// Of what it is told.
    pub events: Vec<&'static str>,
    /// In which environments it is in force.
    pub environments: Vec<EnvironmentName>,
    /// Whether it has said that it wants nothing any more.
    pub is_gone: bool,
    /// How many messages wait.
    pub waiting: i64,
    /// How many have arrived in the last thirty days.
    pub delivered: i64,
    /// How many were given up in that time.
    pub given_up: i64,
    /// When one arrived last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Since when the oldest waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

impl Engine {
    /// Says where the pages are, for links: `http://localhost:8420`. Until then nobody is told anything. The first word counts.
    pub fn pages_are_at(&self, origin: &str) {
        let _ = self.notifying.pages.set(origin.to_owned());
    }

    /// Tells people until the server stops.
    pub(super) async fn notify(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => (),
                () = self.stopped() => return,
            }
            match self.due().await {
                Ok(due) => {
                    self.setbacks.mended(NOTIFYING);
                    for (destination, deliveries) in due {
                        let engine = Arc::clone(&self);
                        self.spawn(async move { engine.send(&destination, deliveries).await });
                    }
                }
                Err(error) if self.setbacks.is_news(NOTIFYING, &error.message) => warn!("{NOTIFYING}: {error}"),
                Err(_) => (),
            }
        }
    }

    /// One round: addresses what is new, and tries what is due; ends when each destination has answered or was given time to.
    pub async fn notify_once(self: &Arc<Self>) -> Result<()> {
        let due = self.due().await?;
        join_all(due.iter().map(|(destination, deliveries)| self.send(destination, deliveries.clone()))).await;
        Ok(())
    }

    /// Forgets what was told long ago.
    pub(super) async fn forget_told(&self) -> Result<()> {
        self.store.forget_told(self.clock.now().minus(KEPT)).await?;
        Ok(())
    }

    /// Addresses what is new, and returns what is due, by destination.
    async fn due(&self) -> Result<BTreeMap<String, Vec<Delivery>>> {
        if self.notifying.pages.get().is_none() {
            return Ok(BTreeMap::new());
        }
        for untold in self.store.untold(ROUND).await? {
            let what = format!("telling of entry {} of the audit log", untold.entry.seq);
            match self.address(&untold).await {
                Ok(()) => self.setbacks.mended(&what),
                Err(error) if self.setbacks.is_news(&what, &error.message) => warn!("{what}: {error}"),
                Err(_) => (),
            }
        }
        let mut due = BTreeMap::<String, Vec<Delivery>>::new();
        for delivery in self.store.due_deliveries(self.present()).await? {
            due.entry(delivery.destination.clone()).or_default().push(delivery);
        }
        Ok(due)
    }

    /// Puts what an entry of the audit log is to people on its way to each of them.
    async fn address(&self, untold: &Untold) -> Result<()> {
        let Some(telling) = self.telling(&untold.entry).await? else {
            self.store.address(&untold.id, None, None, &[]).await?;
            return Ok(());
        };
        let to = self.whom(&telling).await?;
        self.store.address(&untold.id, Some(&telling.notice), telling.topic.as_deref(), &to).await?;
        Ok(())
    }

    /// Returns each destination that is told of it once, with the environment whose configuration says so; none that has said that it
    /// wants nothing any more.
    async fn whom(&self, telling: &Telling) -> Result<Vec<(EnvironmentName, String)>> {
        let mut to = BTreeMap::new();
        for (environment, is_production) in self.told_in().await? {
            let is_of = match &telling.of {
                Of::These(these) => these.contains(&environment),
                Of::All => true,
                Of::Approved => is_production,
            };
            if !is_of {
                continue;
            }
            for destination in self.destinations(&environment).await? {
                let is_meant = destination.events.contains(&telling.notice.kind);
                if is_meant && !self.store.is_gone(&destination.name, &Sha256::of_canonical(&destination)).await? {
                    to.entry(destination.name).or_insert_with(|| environment.clone());
                }
            }
        }
        Ok(to.into_iter().map(|(destination, environment)| (environment, destination)).collect())
    }

    /// Returns every environment with a configuration in force, and whether it asks for approval.
    async fn told_in(&self) -> Result<Vec<(EnvironmentName, bool)>> {
        let mut environments = Vec::new();
        for (name, revision) in self.store.configured_environments().await? {
            if revision.is_some() {
                let applied = self.applied(&name).await?.config;
                let is_production = applied.environment(&name).map(|environment| environment.is_production());
                environments.extend(is_production.map(|is_production| (name, is_production)));
            }
        }
        // Where two have a destination of one name, the one with approval says how it is told.
        environments.sort_by_key(|(_, is_production)| !is_production);
        Ok(environments)
    }

    /// Returns who is told of what happens in an environment, as it is in force there.
    async fn destinations(&self, environment: &EnvironmentName) -> Result<Vec<Destination>> {
        let config = self.applied(environment).await?.config;
        Ok(config.notify.values().filter(|destination| destination.is_told_of(environment)).cloned().collect())
    }

    /// Tells a destination what is due, one after the other; nothing where that is being done.
    async fn send(&self, destination: &str, deliveries: Vec<Delivery>) {
        let Some(_busy) = self.notifying.with(destination) else { return };
        for delivery in &deliveries {
            if self.is_stopping() {
                return;
            }
            if let Err(error) = self.deliver(delivery).await {
                return warn!("telling `{destination}`: {error}");
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<()> {
        super::failpoint::reach("notify:addressed").await;
        let now = self.present();
        if !self.store.take_delivery(delivery, now, now.plus(HELD)).await? {
            return Ok(());
        }
        let (name, tries) = (&delivery.destination, delivery.tries + 1);
        let found = self.destinations(&delivery.environment).await?.into_iter().find(|destination| &destination.name == name);
        let told = match found {
            None => Told::GivenUp { said: format!("the configuration in force in `{}` does not name it", delivery.environment) },
            Some(destination) => {
                let spec_sha256 = Sha256::of_canonical(&destination);
                match self.store.is_gone(name, &spec_sha256).await? {
                    true => Told::GivenUp { said: "it has said that it wants nothing any more".into() },
                    false => self.told(&destination, delivery, tries, spec_sha256).await,
                }
            }
        };
        match &told {
            Told::Delivered => info!("told `{name}` of `{}`", delivery.notice.subject),
            Told::Later { at, said } => warn!("`{name}` was not told of `{}`, and will be tried at {at}: {said}", delivery.notice.subject),
            Told::GivenUp { said } => warn!("`{name}` will not be told of `{}`: {said}", delivery.notice.subject),
            Told::Gone { said, .. } => warn!("`{name}` is told nothing any more: {said}"),
        }
        Ok(self.store.settle_delivery(&Caller::server(), delivery, &told).await?)
    }

    async fn told(&self, destination: &Destination, delivery: &Delivery, tries: u32, spec_sha256: Sha256) -> Told {
        match self.tell(destination, &delivery.id, &delivery.notice).await {
            Answered::Taken { .. } => Told::Delivered,
            Answered::Gone { said } => Told::Gone { spec_sha256, said },
            Answered::Not { said, retry_after } => {
                let is_old = self.present().since(delivery.queued_at) > notice::TOLD_FOR;
                match notice::pause(tries, retry_after, rand::random()).filter(|_| !is_old) {
                    Some(pause) => Told::Later { at: self.present().plus(pause), said },
                    None => Told::GivenUp { said },
                }
            }
        }
    }

    async fn tell(&self, destination: &Destination, id: &str, notice: &Notice) -> Answered {
        let pages = self.notifying.pages.get().map_or("", String::as_str);
        tell(destination, &Message { id, at: self.clock.now(), notice, pages }).await
    }

    /// Sends a destination a message that tells of nothing, and returns what it said; one that takes it is told again, if it was gone.
    pub async fn notify_test(&self, by: &Caller, name: &str) -> Result<String> {
        let mut known = BTreeSet::new();
        for (environment, _) in self.told_in().await? {
            for destination in self.destinations(&environment).await? {
                if destination.name != name {
                    known.insert(destination.name);
                    continue;
                }
                let id = format!("msg_test_{:032x}", rand::random::<u128>());
                return match self.tell(&destination, &id, &test(self.clock.now())).await {
                    Answered::Taken { said } => {
                        self.store.is_back(by, name).await?;
                        Ok(said)
                    }
                    Answered::Gone { said } | Answered::Not { said, .. } => {
                        let hint = format!("mend what it says, or `[notify.{name}]`, and try again; what waits is tried by itself");
                        Err(Error::new(Code::TargetFailed, format!("`{name}` did not take it: {said}")).hint(hint))
                    }
                };
            }
        }
        let known = super::configuration::names(known.into_iter());
        Err(Error::not_found("destination in force", name).hint(format!("there are: {known}; `[notify.{name}]` counts once it is applied")))
    }

    /// Returns every destination, in force or with messages, and how they fare.
    pub async fn notified(&self) -> Result<Vec<Notified>> {
        let tallies = self.store.tallies().await?;
        let mut all: BTreeMap<_, _> = tallies.into_iter().map(|tally| (tally.destination.clone(), Notified::of(tally))).collect();
        for (environment, _) in self.told_in().await? {
            for destination in self.destinations(&environment).await? {
                let is_gone = self.store.is_gone(&destination.name, &Sha256::of_canonical(&destination)).await?;
                let none_yet = || Notified::of(Tally { destination: destination.name.clone(), ..Tally::default() });
                let notified = all.entry(destination.name.clone()).or_insert_with(none_yet);
                if notified.kind.is_none() {
                    notified.kind = Some(destination.kind);
                    notified.events = destination.events.iter().map(|kind| kind.as_str()).collect();
                    notified.is_gone = is_gone;
                }
                notified.environments.push(environment.clone());
            }
        }
        Ok(all.into_values().collect())
    }
}

impl Notified {
    fn of(tally: Tally) -> Self {
        let Tally { destination, waiting, delivered, given_up, delivered_at, waiting_since, said } = tally;
        let (events, environments) = (Vec::new(), Vec::new());
        Notified {
            name: destination,
            kind: None,
            events,
            environments,
            is_gone: false,
            waiting,
            delivered,
            given_up,
            delivered_at,
            waiting_since,
            said,
        }
    }
}

/// Returns a notice of nothing but that notices arrive.
fn test(now: Timestamp) -> Notice {
    let title = "somebody tries whether messages of Interlock arrive here".to_owned();
    Notice::of(NoticeKind::Test, "test", "test", title, "/configuration", now)
}
