//! Runs cases, four workspaces at a time whatever tests run beside each other, and tells what went wrong.

use super::{
    answers::Answers,
    cases::{Case, Course},
    shop::{Shop, Times},
    walk::{Ended, one},
};
use crate::support::databases::Database;
use anyhow::{Context, Result};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Shops that are disturbed at the same time.
const LANES: usize = 4;
static FREE: Semaphore = Semaphore::const_new(LANES);

/// What became of cases that all ended as promised.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: usize,
    pub kills: usize,
    pub succeeded: usize,
    pub rolled_back: usize,
    /// Cases in which the server was killed twice.
    pub doubly: usize,
    /// The longest time from the last start of the server to the end of the deployment.
    pub longest: Duration,
    /// How often a person was asked what could not be judged.
    pub asked: usize,
}

/// Runs all cases once, and as often as `INTERLOCK_KILL_SEEDS` says with other times; fails with everything that was not as promised.
pub async fn disturb(name: &str, cases: Vec<Case>, database: &Database) -> Tally {
    let seeds: usize = std::env::var("INTERLOCK_KILL_SEEDS").map_or(1, |seeds| seeds.parse().expect("a number of runs"));
    let others = Times::OTHERS.iter().cycle().copied();
    let mut first = None;
    for times in [Times::USUAL].into_iter().chain(others).take(seeds.max(1)) {
        let tally = run(name, cases.clone(), database, times).await;
        first.get_or_insert(tally);
    }
    first.expect("it ran once")
}

async fn run(name: &str, cases: Vec<Case>, database: &Database, times: Times) -> Tally {
    // One case again and again, by part of its description: `INTERLOCK_CRASH_ONLY='Worker, place: "drain:'`.
    let only = std::env::var("INTERLOCK_CRASH_ONLY").unwrap_or_default();
    let cases: VecDeque<Case> = cases.into_iter().filter(|case| format!("{case:?}").contains(&only)).collect();
    let (began, wanted) = (Instant::now(), cases.len());
    let (queue, settled) = (Arc::new(Mutex::new(cases)), Arc::new(Mutex::new(Vec::new())));
    let (times_asked, mut lanes) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..LANES.min(wanted) {
        let (queue, settled, database, times_asked) = (queue.clone(), settled.clone(), database.clone(), times_asked.clone());
        lanes.spawn(async move {
            let _lane = FREE.acquire().await;
            let mut open: Option<Lane> = None;
            while let Some(case) = next(&queue, open.as_ref()) {
                let before = asked(&open);
                let outcome = one_in(&mut open, &case, &database, times).await;
                if outcome.is_err() {
                    // Whatever went wrong there must not go wrong twice.
                    open = None;
                }
                times_asked.fetch_add(asked(&open).saturating_sub(before), Ordering::SeqCst);
                settled.lock().unwrap().push((case, outcome));
            }
        });
    }
    lanes.join_all().await;
    let mut tally = Tally { cases: wanted, asked: times_asked.load(Ordering::SeqCst), ..Tally::default() };
    let mut wrong = Vec::new();
    for (case, outcome) in settled.lock().unwrap().iter() {
        match outcome {
            Ok(ended) => tally.add(ended),
            Err(error) => wrong.push(format!("{case:?}: {error:#}")),
        }
    }
    println!(
        "figure: {name}: {} kills in {wanted} deployments: {} succeeded, {} rolled back, {} parked and answered; settled at most {:.1} s after the last start; {:.0} s ({times:?})",
        tally.kills,
        tally.succeeded,
        tally.rolled_back,
        tally.asked,
        tally.longest.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{} of {wanted} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(tally.succeeded + tally.rolled_back, wanted);
    tally
}

impl Tally {
    fn add(&mut self, ended: &Ended) {
        self.kills += ended.kills;
        self.succeeded += usize::from(ended.state == "succeeded");
        self.rolled_back += usize::from(ended.state == "rolled_back");
        self.doubly += usize::from(ended.kills == 2);
        self.longest = self.longest.max(ended.took);
    }
}

/// Returns the next case, of the kind that the open shop is made for where there is one left.
fn next(queue: &Mutex<VecDeque<Case>>, open: Option<&Lane>) -> Option<Case> {
    let mut queue = queue.lock().unwrap();
    let fits = open.and_then(|lane| queue.iter().position(|case| case.trip.course == lane.shop.course));
    queue.remove(fits.unwrap_or(0))
}

fn asked(open: &Option<Lane>) -> usize {
    open.as_ref().and_then(|lane| lane.answers.as_ref()).map_or(0, Answers::given)
}

struct Lane {
    /// Who is asked, where a deployment may ask.
    answers: Option<Answers>,
    shop: Shop,
    serves: String,
    failures: u32,
}

async fn one_in(open: &mut Option<Lane>, case: &Case, database: &Database, times: Times) -> Result<Ended> {
    if open.as_ref().is_none_or(|lane| lane.shop.course != case.trip.course) {
        *open = None;
        let mut shop = Shop::open(database.another().await, case.trip.course, times).await?;
        let answers = (case.trip.course == Course::Canary).then(|| Answers::of(&shop));
        let serves = shop.deploy().await?;
        *open = Some(Lane { answers, shop, serves, failures: 0 });
    }
    let lane = open.as_mut().context("a shop is open")?;
    // A fourth failure in a row would freeze the environment, as it should.
    if lane.failures == 3 {
        lane.shop.stop().await?;
        lane.shop.serve(&[]).await?;
        (lane.serves, lane.failures) = (lane.shop.deploy().await?, 0);
    }
    let ended = one(&mut lane.shop, &lane.serves, case, times).await?;
    lane.failures = if ended.state == "succeeded" { 0 } else { lane.failures + 1 };
    lane.serves.clone_from(&ended.serves);
    Ok(ended)
}
