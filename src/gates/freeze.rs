//! The environment is not frozen.

use super::{Ask, needing};
use crate::model::{GateResult, Timestamp, Verdict, Who, text::visible_line};

/// The gate's name.
pub const NAME: &str = "freeze";

/// A freeze of the environment that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze<'a> {
    /// `frz_1`.
    pub id: &'a str,
    /// Why, in the words of whoever froze it.
    pub reason: &'a str,
    /// Who froze it.
    pub by: &'a str,
    /// Until when it lasts by itself.
    pub until: Option<Timestamp>,
}

/// Judges the freezes that are in force in the environment. Live: run again at execution.
pub fn evaluate(ask: Ask<'_>, freezes: &[Freeze<'_>]) -> GateResult {
    let result = |verdict, reason| GateResult { live: true, ..ask.result(NAME, "no freeze is in force", verdict, reason) };
    // The one that lasts longest: when it is over, so are the others.
    let Some(longest) = freezes.iter().max_by_key(|freeze| (freeze.until.is_none(), freeze.until)) else {
        return result(Verdict::Pass, "no freeze is in force".to_owned());
    };
    let until = longest.until.map_or("until it is lifted".to_owned(), |until| format!("until {until}"));
    let others = match freezes.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    let (id, by) = (longest.id, visible_line(longest.by, 60));
    let reason = format!("frozen by {by} {until} ({id}): \"{}\"{others}", visible_line(longest.reason, 200));
    let needs = match longest.until {
        Some(until) => format!("the freeze to end at {until}, or an approver to lift {id}; rollback and abort are exempt"),
        None => format!("an approver to lift {id}; rollback and abort are exempt"),
    };
    let frozen = GateResult { value: Some(format!("{} in force", freezes.len())), ..result(Verdict::Fail, reason) };
    needing(frozen, needs, Who::Person, format!("interlock unfreeze {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_freeze_in_force_fails_and_the_longest_is_told() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(100) };
        let freeze = Freeze { id: "frz_1", reason: "holiday", by: "dana", until: Some(Timestamp(200)) };
        let judged = |freezes: &[Freeze<'_>]| evaluate(ask, freezes).verdict;
        assert_eq!(judged(&[]), Verdict::Pass);
        assert_eq!(judged(&[freeze]), Verdict::Fail);
        let both = evaluate(ask, &[freeze, Freeze { id: "frz_2", until: None, reason: "incident", ..freeze }]);
        assert!(both.live && both.reason.contains("incident") && both.reason.contains("and 1 more"), "{}", both.reason);
        assert_eq!((both.who, both.how.as_deref()), (Some(Who::Person), Some("interlock unfreeze frz_2")));
    }
}
