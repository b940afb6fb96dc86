//! Pages that go on once they are shown: the server tells a page when it says something else, by server-sent events. A page asks for them at its
//! own address (`Accept: text/event-stream`), with its session, so that what it is told is what it would be if it were loaded again.

use super::{
    Make, Pages,
    layout::{self, Page},
    sessions::Visit,
};
use crate::model::Sha256;
use axum::response::{
    IntoResponse, Response,
    sse::{Event, Sse},
};
use futures_util::stream;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// What a page that follows asks for.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// Silence that a page notices is longer than this (`live.js` waits for three).
const BEAT: Duration = Duration::from_secs(2);
/// The least time between two looks: whatever the record notes in between is told at once.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// How many pages of one session follow at a time. A browser opens six connections to a host, and needs some for everything else.
const OF_SESSION: usize = 4;
/// How many follow in all.
const IN_ALL: usize = 48;

/// How a page goes on once it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follows {
    /// It stands as it was made.
    #[default]
    Not,
    /// It says that it is not what the record says any more, and changes only when it is loaded again: somebody decides over it.
    Told,
    /// It changes with the record. A form with which somebody decides comes with the page alone: `live.js` brings none in and changes none.
    Record,
    /// It changes from second to second.
    Runs,
}

impl Follows {
    /// Returns its word on the page; none for one that stands.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Follows::Not => None,
            Follows::Told => Some("told"),
            Follows::Record => Some("record"),
            Follows::Runs => Some("runs"),
        }
    }

    /// Returns after how long it is looked at again although the record has nothing new: time passes, instances end, and a second process
    /// may write to the same database.
    fn at_least(self) -> Duration {
        Duration::from_secs(if self == Follows::Runs { 1 } else { 10 })
    }
}

/// The pages that follow now, by their sessions, and the end of the server, which is theirs.
pub(super) struct Streams {
    open: Mutex<Vec<Sha256>>,
    stop: CancellationToken,
}

impl Streams {
    pub(super) fn until(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Streams { open: Mutex::default(), stop })
    }

    /// Returns a place for one more page of this session; none where that is too many.
    fn place(self: &Arc<Self>, session: &Sha256) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_session = open.iter().filter(|other| *other == session).count();
        (of_session < OF_SESSION && open.len() < IN_ALL).then(|| {
            open.push(session.clone());
            Place { streams: self.clone(), session: session.clone() }
        })
    }
}

/// The place of a page that follows; free again when it is dropped.
struct Place {
    streams: Arc<Streams>,
    session: Sha256,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|other| *other == self.session) {
            open.swap_remove(at);
        }
    }
}

/// What is followed: a page as somebody asked for it.
pub(super) struct Asked {
    pub pages: Arc<Pages>,
    pub make: Make,
    pub visit: Visit,
    pub id: String,
    pub query: String,
}

/// Returns the stream of a page's events. The page says in `seen` which edition of itself it shows.
pub(super) fn follow(asked: Asked) -> Response {
    let changes = match asked.pages.engine() {
        Ok(engine) => engine.store.changes(),
        Err(error) => return layout::failed(&error),
    };
    let seen = form_urlencoded::parse(asked.query.as_bytes()).find(|(name, _)| name == "seen");
    let seen = seen.map(|(_, edition)| edition.into_owned());
    let place = asked.pages.streams.place(&asked.visit.session);
    let now = Instant::now();
    let following = Following { asked, changes, seen, follows: Follows::Runs, said_at: now, look_at: now, is_over: false, place };
    let events = stream::unfold(following, async |mut following| Some((Ok::<_, Infallible>(following.next().await?), following)));
    layout::with_headers(Sse::new(events).into_response())
}

struct Following {
    asked: Asked,
    changes: watch::Receiver<i64>,
    /// The edition that was told last.
    seen: Option<String>,
    follows: Follows,
    said_at: Instant,
    look_at: Instant,
    is_over: bool,
    place: Option<Place>,
}

impl Following {
    /// Returns what the page is told next; nothing more when it stands, or its session or the server ends.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.asked.pages.streams.stop.clone();
        if self.is_over {
            return None;
        }
        if self.place.is_none() {
            return self.last("full");
        }
        loop {
            // While nobody can say whether it is over, no page can be made either.
            if stop.run_until_cancelled(self.asked.pages.holds(&self.asked.visit)).await?.is_ok_and(|holds| !holds) {
                return self.last("over");
            }
            if let Some(event) = stop.run_until_cancelled(self.look()).await? {
                self.said_at = Instant::now();
                return Some(event);
            }
            let beat_at = self.said_at + BEAT;
            if Instant::now() >= beat_at {
                self.said_at = Instant::now();
                return Some(word("beat"));
            }
            stop.run_until_cancelled(self.rest(beat_at)).await?;
        }
    }

    /// Makes the page where it is time to, and returns what there is to say of it.
    async fn look(&mut self) -> Option<Event> {
        if Instant::now() < self.look_at {
            return None;
        }
        self.changes.mark_unchanged();
        let Asked { pages, make, visit, id, query } = &self.asked;
        let made = pages.made(*make, visit, id.clone(), query).await;
        self.look_at = Instant::now() + self.follows.at_least();
        // One that cannot be made for a moment has not changed.
        let (page, _) = made.ok()?;
        self.follows = page.follows;
        self.look_at = Instant::now() + self.follows.at_least();
        let edition = edition(&page);
        if self.follows != Follows::Not && self.seen.as_ref() == Some(&edition) {
            return None;
        }
        self.seen = Some(edition);
        match self.follows {
            Follows::Told => self.last("changed"),
            Follows::Not => {
                self.is_over = true;
                said("end", &page)
            }
            Follows::Record | Follows::Runs => said("page", &page),
        }
    }

    /// Waits for the next beat or the next look, which comes sooner when the record grows.
    async fn rest(&mut self, beat_at: Instant) {
        let until = beat_at.min(self.look_at);
        tokio::select! {
            () = sleep_until(until) => {}
            Ok(()) = self.changes.changed() => self.look_at = self.look_at.min(Instant::now() + LOOK_AGAIN),
        }
    }

    fn last(&mut self, event: &str) -> Option<Event> {
        self.is_over = true;
        Some(word(event))
    }
}

/// Returns an event that says no more than its name. Browsers hand on none without data.
fn word(event: &str) -> Event {
    Event::default().event(event).data("-")
}

fn said(event: &str, page: &Page) -> Option<Event> {
    Event::default().event(event).json_data(&page.body.0).ok()
}

/// Returns what tells one state of a page from another. Where nothing is replaced, how long ago something was is none of it.
pub(super) fn edition(page: &Page) -> String {
    let html = &page.body.0;
    match page.follows {
        Follows::Told => {
            let mut parts = html.split("<time");
            let first = parts.next().unwrap_or_default().to_owned();
            let rest: String = parts.map(|part| part.split_once("</time>").map_or(part, |(_, after)| after)).collect();
            Sha256::of((first + &rest).as_bytes()).short().to_owned()
        }
        _ => Sha256::of(html.as_bytes()).short().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maud::PreEscaped;

    #[test]
    fn the_pages_that_follow_are_few_and_make_room_when_they_end() {
        let streams = Streams::until(CancellationToken::new());
        let session = |number: usize| Sha256::of(&number.to_be_bytes());
        let mut mine: Vec<Place> = (0..OF_SESSION).filter_map(|_| streams.place(&session(0))).collect();
        assert_eq!(mine.len(), OF_SESSION);
        assert!(streams.place(&session(0)).is_none() && streams.place(&session(1)).is_some());
        mine.pop();
        mine.extend(streams.place(&session(0)));
        assert_eq!(mine.len(), OF_SESSION);
        let others: Vec<Place> = (1..IN_ALL).filter_map(|number| streams.place(&session(number))).collect();
        assert_eq!(mine.len() + others.len(), IN_ALL);
        drop((mine, others));
        assert_eq!(*streams.open.lock().unwrap(), []);
    }

    #[test]
    fn where_nothing_is_replaced_time_alone_changes_nothing() {
        let page = |follows, body: &str| Page { title: String::new(), section: "/", follows, body: PreEscaped(body.to_owned()) };
        let now = "<p>asked <time datetime=\"1\" title=\"1\">1 s ago</time>, until <time title=\"2\">in 9 s</time></p>";
        let then = now.replace("1 s", "2 s").replace("9 s", "8 s");
        let same = |follows, other: &str| edition(&page(follows, now)) == edition(&page(follows, other));
        assert!(same(Follows::Told, &then) && !same(Follows::Runs, &then) && !same(Follows::Record, &then));
        assert!(!same(Follows::Told, &now.replace("until", "by")));
    }
}
