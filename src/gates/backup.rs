//! A backup of the data was taken not long ago, and was brought back somewhere to see whether it can be.

use super::{Ask, needing};
use crate::model::{Comparator, GateResult, Timestamp, Verdict, Who, text::visible_line};

/// The gate's name.
pub const NAME: &str = "backup";

/// How old it may be, in hours, unless a threshold on `age_hours` says otherwise.
const AGE_HOURS: f64 = 24.0;

/// What the record has of backups.
#[derive(Debug, Clone, PartialEq)]
pub enum LastBackup<'a> {
    /// The service configures none.
    NotConfigured,
    /// None was tried since, or by the commands that are configured now.
    None,
    /// The last one that was tried was not taken, and why.
    Failed(&'a str),
    /// One was taken.
    Taken {
        /// When it was there.
        at: Timestamp,
        /// Whether a command has said that it can be read back.
        verified: bool,
        /// Whether it was restored into a scratch place; otherwise why not.
        rehearsed: Result<(), &'a str>,
    },
}

/// Judges the last backup against these thresholds on its age in hours. Live: run again at execution, as age only grows.
pub fn evaluate(ask: Ask<'_>, limits: &[Comparator], last: LastBackup<'_>) -> GateResult {
    let shown: Vec<String> = limits.iter().map(|limit| format!("age_hours {limit}")).collect();
    let rule = match shown.as_slice() {
        [] => format!("rehearsed, and age_hours <= {AGE_HOURS}"),
        some => format!("rehearsed, and {}", some.join(", ")),
    };
    let result = |verdict, reason: String| GateResult { live: true, ..ask.result(NAME, rule.clone(), verdict, reason) };
    let how = format!("interlock setup-backup --directive {}", ask.directive);
    let need = |result, needs: &str| needing(result, needs, Who::Person, how.clone());
    let configure = |result, needs: &str| needing(result, needs, Who::Person, "interlock apply");
    match last {
        LastBackup::NotConfigured => configure(
            result(Verdict::Inconclusive, "the service configures no `backup`".into()),
            "`backup` in the configuration of the service, applied",
        ),
        LastBackup::None => need(
            result(Verdict::Inconclusive, "no backup was tried with the commands that are configured now".into()),
            "a backup that was brought back in a scratch place",
        ),
        LastBackup::Failed(why) => {
            need(result(Verdict::Fail, format!("the last backup failed: {}", visible_line(why, 300))), "a backup that can be taken")
        }
        LastBackup::Taken { verified: false, .. } => configure(
            result(Verdict::Fail, "nothing has verified the last backup".into()),
            "`verify` of `backup`, applied, and a new backup",
        ),
        LastBackup::Taken { rehearsed: Err(why), .. } => need(
            result(Verdict::Fail, format!("the last backup was not brought back anywhere: {}", visible_line(why, 300))),
            "a backup that was brought back in a scratch place",
        ),
        LastBackup::Taken { at, .. } => {
            // One of the future is no backup of now: a clock was set back, and its age is not known.
            if at > ask.now {
                return need(result(Verdict::Inconclusive, format!("the last backup is of {at}, which is to come")), "a new backup");
            }
            let age_hours = ask.now.since(at).as_secs_f64() / 3600.0;
            let is_young = match limits {
                [] => age_hours <= AGE_HOURS,
                some => some.iter().all(|limit| limit.holds(age_hours)),
            };
            let value = Some(format!("{age_hours:.1} h"));
            match is_young {
                true => GateResult { value, ..result(Verdict::Pass, format!("a backup of {at} was brought back in a scratch place")) },
                false => GateResult { value, ..need(result(Verdict::Fail, format!("the last backup is of {at}")), "a younger backup") },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_backup_counts_while_it_is_young_and_was_brought_back() {
        let directive = "SD-DEPLOY-001".into();
        let ask = Ask { directive: &directive, by: "environments.production.gates", now: Timestamp(100 * HOUR) };
        let taken = |hours_ago: i64| LastBackup::Taken { at: Timestamp((100 - hours_ago) * HOUR), verified: true, rehearsed: Ok(()) };
        let limit: Comparator = "<= 48".parse().unwrap();
        for (limits, last, expected) in [
            (&[][..], taken(23), Verdict::Pass),
            (&[], taken(25), Verdict::Fail),
            (&[limit], taken(47), Verdict::Pass),
            (&[limit], taken(49), Verdict::Fail),
            (&[], taken(-1), Verdict::Inconclusive),
            (&[], LastBackup::None, Verdict::Inconclusive),
            (&[], LastBackup::NotConfigured, Verdict::Inconclusive),
            (&[], LastBackup::Failed("disk full"), Verdict::Fail),
            (&[], LastBackup::Taken { at: ask.now, verified: false, rehearsed: Ok(()) }, Verdict::Fail),
            (&[], LastBackup::Taken { at: ask.now, verified: true, rehearsed: Err("no `rehearse`") }, Verdict::Fail),
        ] {
            let judged = evaluate(ask, limits, last.clone());
            assert_eq!(judged.verdict, expected, "{last:?}: {judged:?}");
            assert!(judged.live && (expected == Verdict::Pass) == judged.needs.is_none(), "{judged:?}");
        }
        assert_eq!(evaluate(ask, &[], LastBackup::None).how.as_deref(), Some("interlock setup-backup --directive SD-DEPLOY-001"));
    }
}
