//! A time that recurs: an RFC 5545 rule in an IANA time zone, and how long each window lasts. Pure: the zones are built in.
//!
//! The rule is walked in local time without a zone, and each start is placed in the zone afterwards: `rrule` walked across a
//! change of the clock repeats some occurrences and skips others. A start that the clock skips begins when it goes on again, and
//! one that it shows twice begins the first time: what depends on a window never opens for want of an hour.

use super::time::Timestamp;
use jiff::{Span, civil, tz::TimeZone};
use rrule::RRuleSet;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Windows a year: more are no longer an exception.
const MOST_A_YEAR: usize = 1000;
/// The longest window, and how far one that another follows without a gap is followed.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
/// More seconds than zones differ from UTC, and months from each other.
const A_WEEK: i64 = 7 * 24 * 3600;
/// Before every window.
const EVER: Timestamp = Timestamp(i64::MIN / 2);
/// How local times are written in rules.
const BASIC: &str = "%Y%m%dT%H%M%S";

/// When it recurs, as it was checked by [`Recurrence::read`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// The rule: `FREQ=WEEKLY;BYDAY=FR;BYHOUR=15`.
    pub every: String,
    /// How long each window lasts: `65h` by the clock's hours, `3d` by the calendar's days.
    pub lasts: String,
    /// The zone: `Europe/Zurich`.
    pub zone: String,
    /// The local time the rule counts from.
    pub from: String,
}

/// A time it recurs that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant after it, and after those that follow it without a gap; none when that is more than a year away.
    pub until: Option<Timestamp>,
}

impl Recurrence {
    /// Checks what somebody wrote. Without `from` the rule counts from a midnight early enough for a window that is open already.
    pub fn read(every: &str, lasts: &str, zone: &str, from: Option<&str>, now: Timestamp) -> Result<Self, String> {
        let every = every.trim().trim_start_matches("RRULE:").to_ascii_uppercase();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ";=,+-".contains(c);
        if every.len() > 300 || !every.chars().all(is_plain) {
            return Err("the rule is one RFC 5545 RRULE: `FREQ=WEEKLY;BYDAY=FR;BYHOUR=15`".into());
        }
        let zone = zone_named(zone)?;
        let span: Span = lasts.parse().map_err(|_| format!("`{lasts}` is no duration: write `90m`, `65h` or `3d`"))?;
        let anchor = match from {
            Some(from) => local(from, &zone)?,
            None if counts_from_its_start(&every) => {
                return Err("this rule counts from its first day: say which with `--from`".into());
            }
            None => midnight_before(now, &span, &zone)?,
        };
        let recurrence = Recurrence {
            every,
            lasts: lasts.trim().to_owned(),
            zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            from: anchor.to_string(),
        };
        let first = recurrence.walk(EVER)?.next().ok_or("no window ever comes of this rule")?;
        let length = first.until.since(first.from);
        if length.is_zero() || length > YEAR {
            return Err(format!("`{lasts}` is not within one second and a year"));
        }
        if recurrence.walk(EVER)?.take_while(|open| open.from.since(first.from) < YEAR).take(MOST_A_YEAR + 1).count() > MOST_A_YEAR {
            return Err(format!("the rule makes more than {MOST_A_YEAR} windows a year"));
        }
        Ok(recurrence)
    }

    /// Returns the window that is open at an instant.
    pub fn window(&self, now: Timestamp) -> Result<Option<Window>, String> {
        let mut open: Option<Placed> = None;
        for next in self.walk(now)? {
            match &mut open {
                Some(open) if next.from <= open.until => open.until = open.until.max(next.until),
                Some(open) if now < open.until => break,
                _ if now < next.from => break,
                _ => open = Some(next),
            }
            if open.is_some_and(|open| open.until.since(now) > YEAR) {
                return Ok(Some(Window { until: None }));
            }
        }
        let open = open.filter(|open| open.from <= now && now < open.until);
        Ok(open.map(|open| Window { until: Some(open.until) }))
    }

    /// Returns when the first window after an instant opens; none when no further one comes.
    pub fn next(&self, now: Timestamp) -> Result<Option<Timestamp>, String> {
        Ok(self.walk(now)?.map(|window| window.from).find(|from| *from > now))
    }

    /// Returns the windows, the earliest first, without those that are over at an instant for sure.
    fn walk(&self, now: Timestamp) -> Result<impl Iterator<Item = Placed>, String> {
        let zone = zone_named(&self.zone)?;
        let anchor: civil::DateTime = self.from.parse().map_err(|_| format!("`{}` is no local time", self.from))?;
        let span: Span = self.lasts.parse().map_err(|_| format!("`{}` is no duration", self.lasts))?;
        let rule = format!("DTSTART:{}Z\nRRULE:{}", anchor.strftime(BASIC), until_as_local(&self.every, &zone)?);
        let rule: RRuleSet = rule.parse().map_err(|error| format!("`{}` is no RFC 5545 rule: {error}", self.every))?;
        let is_calm = |rule: &rrule::RRule| rule.get_freq() <= rrule::Frequency::Daily;
        if !rule.get_rrule().iter().all(is_calm) {
            return Err("the rule is at most daily: FREQ=DAILY, WEEKLY, MONTHLY or YEARLY".into());
        }
        let placed = move |start: i64| {
            let start = jiff::Timestamp::from_second(start).ok()?.to_zoned(TimeZone::UTC).datetime();
            let start = zone.to_zoned(start).ok()?;
            let end = start.checked_add(span).ok()?;
            Some(Placed { from: instant(start.timestamp()), until: instant(end.timestamp()) })
        };
        // Placing one costs more than finding it.
        let lasts = anchor.checked_add(span).map_err(|error| error.to_string())?.duration_since(anchor).as_secs();
        let over = now.0 / 1000 - lasts - A_WEEK;
        Ok((&rule.limit()).into_iter().map(|start| start.timestamp()).skip_while(move |start| *start < over).map_while(placed))
    }
}

/// A window by itself, placed in its zone.
#[derive(Debug, Clone, Copy)]
struct Placed {
    from: Timestamp,
    until: Timestamp,
}

/// Reads an instant: with an offset, or a local time or day of the zone.
pub fn instant_of(text: &str, zone: Option<&str>) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(instant(at));
    }
    let at: civil::DateTime = text.parse().map_err(|_| no_time(text))?;
    let zone = zone.ok_or_else(|| format!("`{text}` is a local time: say where with `--zone`, or write `{text}Z`"))?;
    let at = zone_named(zone)?.to_zoned(at).map_err(|error| error.to_string())?;
    Ok(instant(at.timestamp()))
}

fn zone_named(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("`{}` is no IANA time zone: write `Europe/Zurich`", super::text::visible_line(name, 60)))
}

fn instant(at: jiff::Timestamp) -> Timestamp {
    Timestamp(at.as_millisecond())
}

fn no_time(text: &str) -> String {
    format!("`{}` is no time: write `2026-12-24T12:00:00Z`, or `2026-12-24T12:00` and a zone", super::text::visible_line(text, 60))
}

/// Reads a time as the zone's clocks show it.
fn local(text: &str, zone: &TimeZone) -> Result<civil::DateTime, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(at.to_zoned(zone.clone()).datetime()),
        Err(_) => text.parse().map_err(|_| no_time(text)),
    }
}

/// Tells whether another first day makes other windows: what is counted, and what takes its day from the first one.
fn counts_from_its_start(rule: &str) -> bool {
    let value = |name: &str| rule.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let names_its_days = ["BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"].iter().any(|name| value(name).is_some());
    value("COUNT").is_some() || value("INTERVAL").is_some_and(|every| every != "1") || (value("FREQ") != Some("DAILY") && !names_its_days)
}

/// Returns the midnight before everything that may still be open.
fn midnight_before(now: Timestamp, lasts: &Span, zone: &TimeZone) -> Result<civil::DateTime, String> {
    let now = jiff::Timestamp::from_millisecond(now.0).map_err(|error| error.to_string())?.to_zoned(zone.clone());
    let began = now.checked_sub(*lasts).map_err(|error| error.to_string())?;
    Ok(began.date().to_datetime(civil::Time::midnight()))
}

/// Returns the rule with `UNTIL` as the zone's clocks show it: that is how it is walked. A day counts to its end.
fn until_as_local(rule: &str, zone: &TimeZone) -> Result<String, String> {
    let part = |part: &str| {
        let Some(until) = part.strip_prefix("UNTIL=") else { return Ok(part.to_owned()) };
        let wrong = || format!("`{part}` is no end: write `UNTIL=20271231T225959Z`");
        let read = |text: &str| civil::DateTime::strptime(BASIC, text).map_err(|_| wrong());
        let until = match until.strip_suffix('Z') {
            Some(utc) => TimeZone::UTC.to_timestamp(read(utc)?).map_err(|_| wrong())?.to_zoned(zone.clone()).datetime(),
            None if until.contains('T') => read(until)?,
            None => read(&format!("{until}T235959"))?,
        };
        Ok(format!("UNTIL={}Z", until.strftime(BASIC)))
    };
    rule.split(';').map(part).collect::<Result<Vec<_>, String>>().map(|parts| parts.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        instant_of(text, None).unwrap()
    }

    fn weekend() -> Recurrence {
        Recurrence::read("FREQ=WEEKLY;BYDAY=FR;BYHOUR=15", "65h", "Europe/Zurich", None, at("2026-11-18T12:00:00Z")).unwrap()
    }

    fn window(recurrence: &Recurrence, now: &str) -> Option<Option<String>> {
        Some(recurrence.window(at(now)).unwrap()?.until.map(|until| until.to_string()))
    }

    fn open(until: &str) -> Option<Option<String>> {
        Some(Some(until.into()))
    }

    #[test]
    fn a_window_opens_and_closes_by_the_zones_clock() {
        let weekend = weekend();
        let this = open("2026-11-23T07:00:00Z");
        assert_eq!(window(&weekend, "2026-11-20T13:59:59Z"), None);
        assert_eq!(window(&weekend, "2026-11-20T14:00:00Z"), this);
        assert_eq!(window(&weekend, "2026-11-23T06:59:59Z"), this);
        assert_eq!(window(&weekend, "2026-11-23T07:00:00Z"), None);
        assert_eq!(weekend.next(at("2026-11-20T14:00:00Z")).unwrap(), Some(at("2026-11-27T14:00:00Z")));
        // In summer the same rule opens an hour earlier by UTC.
        assert_eq!(window(&weekend, "2027-07-03T00:00:00Z"), open("2027-07-05T06:00:00Z"));
        // A clock that jumps asks again, and gets what is true there.
        for (jumped, is_open) in [("2026-11-20T13:30:00Z", false), ("2026-11-20T14:30:00Z", true), ("2026-11-20T13:30:00Z", false)] {
            assert_eq!(window(&weekend, jumped).is_some(), is_open, "{jumped}");
        }
    }

    #[test]
    fn a_change_of_the_clock_skips_repeats_and_loses_no_window() {
        let read = |every: &str, lasts: &str| {
            Recurrence::read(every, lasts, "Europe/Zurich", Some("2027-03-01T02:30"), at("2027-03-01T00:00:00Z")).unwrap()
        };
        let nightly = read("FREQ=DAILY", "1h");
        let starts = |from: &str, until: &str| {
            let (mut now, mut seen) = (at(from), Vec::new());
            while let Some(next) = nightly.next(now).unwrap().filter(|next| *next < at(until)) {
                seen.push(next.to_string());
                now = next;
            }
            seen
        };
        // 2027-03-28: 02:30 does not exist, 03:30 takes its place, once.
        assert_eq!(
            starts("2027-03-26T12:00:00Z", "2027-03-30T12:00:00Z"),
            ["2027-03-27T01:30:00Z", "2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"]
        );
        // 2027-10-31: 02:30 comes twice; it counts the first time.
        assert_eq!(
            starts("2027-10-29T12:00:00Z", "2027-11-01T12:00:00Z"),
            ["2027-10-30T00:30:00Z", "2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]
        );
        // Days are the calendar's, hours are the clock's.
        let days = Recurrence::read("FREQ=WEEKLY;BYDAY=SA", "2d", "Europe/Zurich", None, at("2027-10-01T00:00:00Z")).unwrap();
        assert_eq!(window(&days, "2027-10-31T12:00:00Z"), open("2027-10-31T23:00:00Z"));
        let hours = Recurrence::read("FREQ=WEEKLY;BYDAY=SA", "48h", "Europe/Zurich", None, at("2027-10-01T00:00:00Z")).unwrap();
        assert_eq!(window(&hours, "2027-10-31T12:00:00Z"), open("2027-10-31T22:00:00Z"));
    }

    #[test]
    fn windows_without_a_gap_are_one() {
        let read = |every: &str, lasts: &str| Recurrence::read(every, lasts, "UTC", None, at("2026-11-18T12:00:00Z")).unwrap();
        let weekend = read("FREQ=WEEKLY;BYDAY=SA,SU", "1d");
        assert_eq!(window(&weekend, "2026-11-21T12:00:00Z"), open("2026-11-23T00:00:00Z"));
        assert_eq!(window(&weekend, "2026-11-22T12:00:00Z"), open("2026-11-23T00:00:00Z"));
        let for_ever = read("FREQ=DAILY", "1d");
        assert_eq!(window(&for_ever, "2026-12-22T12:00:00Z"), Some(None));
    }

    #[test]
    fn a_window_that_is_open_already_counts() {
        let saturday = at("2026-11-21T12:00:00Z");
        let weekend = Recurrence::read("FREQ=WEEKLY;BYDAY=FR;BYHOUR=15", "65h", "UTC", None, saturday).unwrap();
        assert_eq!(window(&weekend, "2026-11-21T12:00:00Z"), open("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn an_end_is_an_instant_whatever_the_zone() {
        let read = |until: &str| {
            let rule = format!("RRULE:FREQ=DAILY;BYHOUR=23;UNTIL={until}");
            Recurrence::read(&rule, "30m", "America/New_York", None, at("2026-11-18T12:00:00Z")).unwrap()
        };
        // 23:00 in New York is 04:00 UTC of the next day.
        for (until, last) in [
            ("20261121T040000Z", Some("2026-11-21T04:00:00Z")),
            ("20261121T035959Z", None),
            ("20261120", Some("2026-11-21T04:00:00Z")),
            ("20261120T225959", None),
        ] {
            let last = last.map(at);
            assert_eq!(read(until).next(at("2026-11-20T12:00:00Z")).unwrap(), last, "{until}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let read = |every: &str, lasts: &str, zone: &str, from: Option<&str>| {
            Recurrence::read(every, lasts, zone, from, at("2026-11-18T12:00:00Z")).unwrap_err()
        };
        let (rule, zone) = ("FREQ=WEEKLY;BYDAY=FR", "Europe/Zurich");
        for (refused, says) in [
            (read("every friday", "1h", zone, None), "RFC 5545"),
            (read("FREQ=WEEKLY;BYDAY=XX", "1h", zone, None), "RFC 5545"),
            (read("FREQ=DAILY\nEXDATE:20261121T000000Z", "1h", zone, None), "RFC 5545"),
            (read("FREQ=HOURLY", "1m", zone, Some("2026-11-18")), "at most daily"),
            (read("FREQ=DAILY;BYHOUR=0,6,12;BYMINUTE=0,30", "1m", zone, None), "windows a year"),
            (read("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "1h", zone, None), "no window ever"),
            (read(rule, "soon", zone, None), "no duration"),
            (read(rule, "0s", zone, None), "not within"),
            (read(rule, "-1h", zone, None), "not within"),
            (read(rule, "2y", zone, None), "not within"),
            (read(rule, "1h", "Zurich", None), "IANA"),
            (read("FREQ=DAILY;COUNT=3", "1h", zone, None), "`--from`"),
            (read("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "1h", zone, None), "`--from`"),
            (read("FREQ=MONTHLY", "1h", zone, None), "`--from`"),
            (read(rule, "1h", zone, Some("tomorrow")), "no time"),
        ] {
            assert!(refused.contains(says), "{refused}");
        }
        assert!(instant_of("2026-12-24T12:00", None).unwrap_err().contains("--zone"));
        assert_eq!(instant_of("2026-12-24T12:00", Some("Europe/Zurich")).unwrap(), at("2026-12-24T11:00:00Z"));
        assert_eq!(instant_of("2026-12-24", Some("UTC")).unwrap(), at("2026-12-24T00:00:00Z"));
    }
}
