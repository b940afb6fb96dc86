//! One-time links and the sessions they open. A session reads and decides nothing: a decision is a signature over bytes, whoever holds a
//! session. All of it is in memory, as hashes: a restart signs everybody out.
//!
//! A browser keeps cookies by host and not by port, so whatever else listens on this machine may be shown one that is meant for us. What it
//! could do with it is look at what the bearer token of an agent shows anyway, and where somebody is signed in, stop, take back and comment in
//! their name: nothing goes on by it.

use crate::model::{ApproverName, Clock, Reading, Sha256, digest::hex};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long a link may wait for its one use.
const LINK_LASTS: Duration = Duration::from_secs(600);
/// How long a session lasts that nobody uses.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long a session lasts at most.
const LASTS: Duration = Duration::from_secs(8 * 3_600);
/// Of more than so many unused links the oldest goes.
const LINKS: usize = 16;
/// Of more than so many sessions the one goes that was not used for longest.
const SESSIONS: usize = 64;

/// Who is let in: the links that were handed out, and the sessions they opened.
pub struct Doors {
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    links: HashMap<Sha256, Link>,
    sessions: HashMap<Sha256, Session>,
}

struct Link {
    made: Reading,
    leads_to: String,
}

struct Session {
    host: String,
    who: Option<ApproverName>,
    clones: u64,
    form_token: String,
    began: Reading,
    used: Reading,
}

/// A session that was just opened.
pub struct Entered {
    /// What the cookie holds: 256 random bits in hex, kept here as a hash only.
    pub cookie: String,
    /// The page the link leads to.
    pub leads_to: String,
}

/// A session that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Which session it is: the hash of its cookie.
    pub session: Sha256,
    /// Who has signed in with a passkey; nobody in a session that a link has opened.
    pub who: Option<ApproverName>,
    /// How many of their passkeys had been cloned by then. With the next one the session is over: nobody knows who of the two has opened it.
    pub clones: u64,
    /// The host it was opened at, with its port.
    pub host: String,
    /// What every form of this session carries, and no other site can know.
    pub form_token: String,
}

impl Doors {
    /// Returns doors that nobody has come through yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Doors { clock, open: Mutex::default() }
    }

    /// Makes a link's key, good for one use within ten minutes.
    pub fn link(&self, leads_to: &str) -> String {
        let (key, made) = (secret(), self.clock.reading());
        let mut open = self.open();
        open.links.retain(|_, link| is_within(&made, &link.made, LINK_LASTS));
        make_room(&mut open.links, LINKS, |link| link.made.ms);
        open.links.insert(Sha256::of(key.as_bytes()), Link { made, leads_to: leads_to.to_owned() });
        key
    }

    /// Uses a link up and opens a session at this host; none when there is no such link any more.
    pub fn enter(&self, key: &str, host: &str) -> Option<Entered> {
        let now = self.clock.reading();
        let mut open = self.open();
        let link = open.links.remove(&Sha256::of(key.as_bytes()))?;
        if !is_within(&now, &link.made, LINK_LASTS) {
            return None;
        }
        Some(Entered { cookie: open.admit(host, None, 0, now), leads_to: link.leads_to })
    }

    /// Opens a session at this host for somebody whose passkey has answered; returns its cookie.
    pub fn admit(&self, host: &str, who: &ApproverName, clones: u64) -> String {
        let now = self.clock.reading();
        self.open().admit(host, Some(who.clone()), clones, now)
    }

    /// Returns the session of this cookie where it is in force at this host, and notes that it is used.
    pub fn visit(&self, cookie: &str, host: &str) -> Option<Visit> {
        let now = self.clock.reading();
        let name = Sha256::of(cookie.as_bytes());
        let mut open = self.open();
        let session = open.sessions.get_mut(&name)?;
        if !session.is_in_force(&now) || session.host != host {
            return None;
        }
        session.used = now;
        let Session { host, who, clones, form_token, .. } = session;
        Some(Visit { session: name, who: who.clone(), clones: *clones, host: host.clone(), form_token: form_token.clone() })
    }

    /// Tells whether a session is still in force; to watch a page is no use of it.
    pub fn holds(&self, visit: &Visit) -> bool {
        let now = self.clock.reading();
        self.open().sessions.get(&visit.session).is_some_and(|session| session.is_in_force(&now))
    }

    /// Ends the session of this cookie.
    pub fn leave(&self, cookie: &str) {
        self.end(&Sha256::of(cookie.as_bytes()));
    }

    /// Ends a session.
    pub fn end(&self, session: &Sha256) {
        self.open().sessions.remove(session);
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it is held")
    }
}

impl Open {
    fn admit(&mut self, host: &str, who: Option<ApproverName>, clones: u64, now: Reading) -> String {
        let cookie = secret();
        self.sessions.retain(|_, session| session.is_in_force(&now));
        make_room(&mut self.sessions, SESSIONS, |session| session.used.ms);
        let session = Session { host: host.to_owned(), who, clones, form_token: secret(), began: now.clone(), used: now };
        self.sessions.insert(Sha256::of(cookie.as_bytes()), session);
        cookie
    }
}

impl Session {
    fn is_in_force(&self, now: &Reading) -> bool {
        is_within(now, &self.used, IDLE) && is_within(now, &self.began, LASTS)
    }
}

fn is_within(now: &Reading, since: &Reading, limit: Duration) -> bool {
    now.since(since).is_some_and(|passed| passed < limit)
}

/// Takes the smallest away where one more would be too many.
fn make_room<T>(kept: &mut HashMap<Sha256, T>, most: usize, order: impl Fn(&T) -> u64) {
    if kept.len() >= most
        && let Some(first) = kept.iter().min_by_key(|(_, one)| order(one)).map(|(name, _)| name.clone())
    {
        kept.remove(&first);
    }
}

fn secret() -> String {
    hex(&rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ManualClock, Timestamp};

    fn doors() -> (Doors, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        (Doors::new(clock.clone()), clock)
    }

    #[test]
    fn a_link_is_good_once_and_for_ten_minutes() {
        let (doors, clock) = doors();
        let key = doors.link("/plans/plan_1");
        assert!(doors.enter("another", "localhost:7").is_none());
        assert_eq!(doors.enter(&key, "localhost:7").unwrap().leads_to, "/plans/plan_1");
        assert!(doors.enter(&key, "localhost:7").is_none());
        let late = doors.link("/");
        clock.advance(LINK_LASTS);
        assert!(doors.enter(&late, "localhost:7").is_none());
    }

    #[test]
    fn a_session_ends_when_idle_when_old_when_left_and_holds_at_one_host() {
        let (doors, clock) = doors();
        let enter = || doors.enter(&doors.link("/"), "localhost:7").unwrap().cookie;
        let cookie = enter();
        assert!(doors.visit(&cookie, "localhost:7").is_some());
        assert!(doors.visit(&cookie, "127.0.0.1:7").is_none());
        assert!(doors.visit("another", "localhost:7").is_none());
        for _ in 0..8 {
            clock.advance(IDLE - Duration::from_secs(1));
            assert!(doors.visit(&cookie, "localhost:7").is_some());
        }
        clock.advance(IDLE - Duration::from_secs(1));
        assert!(doors.visit(&cookie, "localhost:7").is_none(), "it is more than eight hours old");
        let idle = enter();
        let watched = doors.visit(&idle, "localhost:7").unwrap();
        clock.advance(IDLE - Duration::from_secs(1));
        assert!(doors.holds(&watched), "to watch does not make it last");
        clock.advance(Duration::from_secs(1));
        assert!(!doors.holds(&watched));
        assert!(doors.visit(&idle, "localhost:7").is_none());
        let left = enter();
        doors.leave(&left);
        assert!(doors.visit(&left, "localhost:7").is_none());
    }

    #[test]
    fn links_and_sessions_are_few() {
        let (doors, clock) = doors();
        let first = doors.link("/");
        for _ in 0..LINKS {
            clock.advance(Duration::from_millis(1));
            doors.link("/");
        }
        assert!(doors.enter(&first, "h").is_none(), "the oldest link made room");
        let cookies: Vec<String> = (0..=SESSIONS)
            .map(|_| {
                clock.advance(Duration::from_millis(1));
                doors.enter(&doors.link("/"), "h").unwrap().cookie
            })
            .collect();
        assert!(doors.visit(&cookies[0], "h").is_none());
        assert_eq!(cookies.iter().filter(|cookie| doors.visit(cookie, "h").is_some()).count(), SESSIONS);
    }
}
