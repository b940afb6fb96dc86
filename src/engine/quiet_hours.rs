//! When few customers are there: the hours of the day by what the router has counted, so that a person may choose when to deploy.
//!
//! It is advice. It stands beside a plan and not in it: a plan has no clock in it, the same input gives the same plan, and figures that change with
//! every hour would void what was approved an hour ago.

use super::Engine;
use crate::{
    error::Result,
    model::{Caller, EnvironmentName, ServiceName, Timestamp},
    store::{Measurement, ServingSet},
    targets::Samples,
};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Over how much time the hours are looked at, and kept: four weeks have each day of the week four times.
const KEPT: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// Two readings further apart, or nearer, are not an hour.
const AN_HOUR_MS: std::ops::RangeInclusive<i64> = HOUR_MS - 5 * 60_000..=HOUR_MS + 5 * 60_000;

/// The hours of the day, as far as they are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QuietHours {
    /// On how many days an hour was recorded.
    pub days: usize,
    /// How many of the 24 hours of the day were recorded.
    pub hours: usize,
    /// The hour of the day (UTC) with the fewest requests; none while an hour of the day is unknown, or none is quieter than another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quietest: Option<Hour>,
    /// The hour of the day with the most requests, beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busiest: Option<Hour>,
}

/// An hour of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// When it begins, 0 to 23, UTC.
    pub begins: u32,
    /// Requests in it, on average over its days.
    pub requests: u64,
}

impl QuietHours {
    /// Says it in a line.
    pub fn summary(&self) -> String {
        let days = if self.days == 1 { "1 day".to_owned() } else { format!("{} days", self.days) };
        match (self.quietest, self.busiest) {
            (Some(quietest), Some(busiest)) => format!(
                "{:02}:00 to {:02}:00 UTC, {} requests on average, beside {} at {:02}:00, over {days}",
                quietest.begins,
                (quietest.begins + 1) % 24,
                quietest.requests,
                busiest.requests,
                busiest.begins
            ),
            _ if self.hours == 0 => "no data: no hour of traffic is recorded yet".into(),
            _ if self.hours < 24 => format!("no suggestion: {} of 24 hours of the day are recorded, over {days}", self.hours),
            _ => format!("no suggestion: no hour is quieter than another, over {days}"),
        }
    }

    /// Returns the hours of readings, oldest first, each with what every set had answered by then. What lies between two readings counts where
    /// they are an hour apart and no counter began anew.
    fn of(readings: &[(Timestamp, BTreeMap<String, u64>)]) -> Self {
        let (mut days, mut by_hour) = (BTreeSet::new(), BTreeMap::<u32, (u64, u64)>::new());
        for pair in readings.windows(2) {
            let [(from, before), (to, after)] = pair else { continue };
            let counted = |(set, now): (&String, &u64)| now.checked_sub(before.get(set).copied().unwrap_or(0));
            let requests: Option<Vec<u64>> = after.iter().map(counted).collect();
            let (true, Some(requests)) = (AN_HOUR_MS.contains(&(to.0 - from.0)), requests) else { continue };
            // The middle is within the hour, also when both ends are a little off.
            let middle = from.0 + HOUR_MS / 2;
            days.insert(middle.div_euclid(DAY_MS));
            let (sum, count) = by_hour.entry((middle.rem_euclid(DAY_MS) / HOUR_MS) as u32).or_default();
            *sum += requests.iter().sum::<u64>();
            *count += 1;
        }
        let mean = |(begins, (sum, count)): (&u32, &(u64, u64))| Hour { begins: *begins, requests: sum / count };
        let quietest = by_hour.iter().map(mean).min_by_key(|hour| hour.requests);
        let busiest = by_hour.iter().map(mean).max_by_key(|hour| hour.requests);
        let tells = by_hour.len() == 24 && quietest.map(|hour| hour.requests) != busiest.map(|hour| hour.requests);
        QuietHours { days: days.len(), hours: by_hour.len(), quietest: quietest.filter(|_| tells), busiest: busiest.filter(|_| tells) }
    }
}

/// The hour that was noted last; none before the first look, which notes nothing: only an hour's beginning is noted.
pub(super) struct NotedHour(AtomicI64);

impl Default for NotedHour {
    fn default() -> Self {
        NotedHour(AtomicI64::new(i64::MIN))
    }
}

impl NotedHour {
    /// Tells whether an hour has begun since the last look.
    fn begins(&self, now: Timestamp) -> bool {
        let hour = now.0.div_euclid(HOUR_MS);
        let before = self.0.swap(hour, Ordering::Relaxed);
        before != i64::MIN && before != hour
    }
}

impl Engine {
    /// Notes at the beginning of an hour what each router has counted; what does not answer is left out.
    pub async fn note_hour(&self) -> Result<()> {
        if !self.noted_hour.begins(self.clock.now()) {
            return Ok(());
        }
        for set in self.store.all_serving().await? {
            if let Some(samples) = self.counted(&set).await {
                let requests: BTreeMap<&String, u64> = samples.versions.iter().map(|(set, seen)| (set, seen.requests)).collect();
                let keep_from = self.clock.now().minus(KEPT);
                self.store.note_hour(&Caller::server(), &set.deployment, &json!(requests), keep_from).await?;
            }
        }
        Ok(())
    }

    async fn counted(&self, set: &ServingSet) -> Option<Samples> {
        let (_, _, spec) = self.service(&set.environment, &set.service).await.ok()?;
        // A router that Interlock does not run counts nothing.
        self.adapters.router(&spec).measure().await.ok().filter(|samples| !samples.versions.is_empty())
    }

    /// Returns the hours of the day of a service in an environment, as far as they are recorded.
    pub async fn quiet_hours(&self, service: &ServiceName, environment: &EnvironmentName) -> Result<QuietHours> {
        let since = self.clock.now().minus(KEPT);
        let noted = self.store.noted_hours(service, environment, since).await?;
        let reading = |noted: Measurement| Some((noted.measured_at, serde_json::from_value(noted.body).ok()?));
        Ok(QuietHours::of(&noted.into_iter().filter_map(reading).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings at the beginning of each hour, of a set that answers so many requests in each hour of the day.
    fn readings(hours: i64, requests: impl Fn(i64) -> u64) -> Vec<(Timestamp, BTreeMap<String, u64>)> {
        let total = |hour: i64| (0..hour).map(|hour| requests(hour % 24)).sum();
        (0..=hours).map(|hour| (Timestamp(hour * HOUR_MS + 400), BTreeMap::from([("1.0.0".to_owned(), total(hour))]))).collect()
    }

    fn day(hour: i64) -> u64 {
        if hour == 3 { 12 } else { 100 + hour as u64 }
    }

    #[test]
    fn the_hour_with_the_fewest_requests_is_suggested() {
        let seen = QuietHours::of(&readings(72, day));
        assert_eq!((seen.days, seen.hours), (3, 24));
        assert_eq!(seen.summary(), "03:00 to 04:00 UTC, 12 requests on average, beside 123 at 23:00, over 3 days");
    }

    #[test]
    fn what_is_not_known_is_no_suggestion() {
        assert_eq!(QuietHours::of(&[]).summary(), "no data: no hour of traffic is recorded yet");
        assert_eq!(QuietHours::of(&readings(0, day)).summary(), "no data: no hour of traffic is recorded yet", "one reading is no hour");
        assert_eq!(QuietHours::of(&readings(23, day)).summary(), "no suggestion: 23 of 24 hours of the day are recorded, over 1 day");
        assert_eq!(QuietHours::of(&readings(48, |_| 5)).summary(), "no suggestion: no hour is quieter than another, over 2 days");
    }

    #[test]
    fn an_hour_that_was_not_seen_whole_does_not_count() {
        // The server was away for two hours; then a counter began anew.
        let mut gap = readings(48, day);
        gap.remove(3);
        assert_eq!((QuietHours::of(&gap).hours, QuietHours::of(&gap).days), (24, 2));
        let mut anew = readings(24, day);
        for (_, sets) in &mut anew[4..] {
            sets.insert("1.0.0".into(), 0);
        }
        let seen = QuietHours::of(&anew);
        assert_eq!((seen.hours, seen.quietest), (23, None), "the hour in which it fell is unknown");
        // A set that came within the hour counts whole; one that went is not missed.
        let sets = |name: &str, requests| BTreeMap::from([(name.to_owned(), requests)]);
        let switched = [(Timestamp(0), sets("1.0.0", 500)), (Timestamp(HOUR_MS), sets("1.1.0", 40))];
        assert_eq!(QuietHours::of(&switched).hours, 1);
    }

    #[test]
    fn only_the_beginning_of_an_hour_is_noted() {
        let noted = NotedHour::default();
        let looks = [HOUR_MS - 5000, HOUR_MS - 1000, HOUR_MS + 10, HOUR_MS + 1000, 2 * HOUR_MS];
        assert_eq!(looks.map(|at| noted.begins(Timestamp(at))), [false, false, true, false, true]);
    }
}
