//! The kill matrix: the server at every failpoint of every kind of deployment, forward and back, and its helpers while it stands there.

use super::{
    cases::{Case, Course, Trip, Victim, Way},
    lanes::disturb,
};
use crate::support::{databases::Database, on_both};

// What the server was writing when it was killed is for the database to settle; the other victims write nothing.
on_both!(a_server_killed_anywhere_costs_no_request_and_its_deployment_settles);

async fn a_server_killed_anywhere_costs_no_request_and_its_deployment_settles(database: Database) {
    let (forward, failing) = (trip(Course::BlueGreen, Way::Forward), trip(Course::BlueGreen, Way::Failing));
    let cases = [killed_at(forward, forward.forward()), killed_at(failing, failing.back())].concat();
    assert_eq!(cases.len(), 49);
    disturb("blue-green", cases, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_anywhere_in_a_canary_leaves_the_share_that_is_recorded() {
    let (forward, aborted) = (trip(Course::Canary, Way::Forward), trip(Course::Canary, Way::Aborted));
    let cases = [killed_at(forward, forward.forward()), killed_at(aborted, aborted.back())].concat();
    assert_eq!(cases.len(), 73);
    disturb("canary", cases, &Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_anywhere_in_a_rolling_deployment_leaves_a_whole_set() {
    let (forward, aborted) = (trip(Course::Rolling, Way::Forward), trip(Course::Rolling, Way::Aborted));
    let cases = [killed_at(forward, forward.forward()), killed_at(aborted, aborted.back())].concat();
    assert_eq!(cases.len(), 73);
    disturb("rolling", cases, &Database::Sqlite).await;
}

/// What data steps have beside those of every deployment; the rest is blue-green.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_around_data_runs_each_migration_once() {
    let (forward, failing) = (trip(Course::Data, Way::Forward), trip(Course::Data, Way::Failing));
    let hooks = ["hook-before-start", "hook-before-shift", "hook-after-shift", "hook-after-success"];
    let own = [&["prepare", "backup", "migrate"][..], &hooks].concat();
    let on_demand = trip(Course::Data, Way::OnDemand);
    let back = on_demand.of_steps(&["return-data", "hook-after-rollback"], &["return-data"]);
    let cases = [
        killed_at(forward, forward.of_steps(&own, &["prepare", "backup", "migrate", "hook-before-shift"])),
        killed_at(failing, [failing.back(), failing.of_steps(&[], &["undo-migrate"])].concat()),
        killed_at(on_demand, back),
    ]
    .concat();
    assert_eq!(cases.len(), 32 + 15 + 9);
    disturb("data", cases, &Database::Sqlite).await;
}

/// Between two steps nothing happens to the helpers: each is killed before and after each effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_or_shim_killed_on_the_way_forward_leaves_a_deployment_that_settles() {
    let trip = trip(Course::BlueGreen, Way::Forward);
    let cases = with_each_helper(trip, trip.forward());
    assert_eq!(cases.len(), 54 + 6);
    disturb("helpers", cases, &Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_or_shim_killed_on_the_way_back_does_not_stop_it() {
    let trip = trip(Course::BlueGreen, Way::Failing);
    let cases = with_each_helper(trip, trip.back());
    assert_eq!(cases.len(), 12 + 6);
    disturb("helpers on the way back", cases, &Database::Sqlite).await;
}

fn trip(course: Course, way: Way) -> Trip {
    Trip { course, way }
}

fn killed_at(trip: Trip, places: Vec<String>) -> Vec<Case> {
    places.into_iter().map(|place| trip.kill(place)).collect()
}

fn with_each_helper(trip: Trip, places: Vec<String>) -> Vec<Case> {
    let victims = [Victim::Worker, Victim::NewShim, Victim::OldShim];
    let differs = |place: &String| !["claim:before", "before-intent", "after-result"].iter().any(|same| place.ends_with(same));
    let places = places.into_iter().filter(differs);
    places.flat_map(|place| victims.map(|victim| Case { victim, ..trip.kill(place.clone()) })).collect()
}
