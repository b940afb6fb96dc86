//! The environment is not frozen.

use super::{Ask, needing};
use crate::model::{GateResult, Timestamp, Verdict, Who, text::visible_line};

/// The gate's name.
pub const NAME: &str = "freeze";

/// A freeze of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze<'a> {
    /// Why, in the words of whoever froze it.
    pub reason: &'a str,
    /// Who froze it.
    pub by: &'a str,
    /// From when.
    pub from: Timestamp,
    /// Until when it lasts by itself.
    pub until: Option<Timestamp>,
}

/// Judges the environment's freezes; those that have ended or not begun do not count. Live: run again at execution.
pub fn evaluate(ask: Ask<'_>, freezes: &[Freeze<'_>]) -> GateResult {
    let result = |verdict, reason| GateResult { live: true, ..ask.result(NAME, "no freeze is in force", verdict, reason) };
    let in_force = |freeze: &&Freeze<'_>| freeze.from <= ask.now && freeze.until.is_none_or(|until| ask.now < until);
    let active: Vec<_> = freezes.iter().filter(in_force).collect();
    // The one that lasts longest: when it is over, so are the others.
    let Some(longest) = active.iter().max_by_key(|freeze| (freeze.until.is_none(), freeze.until)) else {
        return result(Verdict::Pass, "no freeze is in force".to_owned());
    };
    let until = longest.until.map_or("until it is lifted".to_owned(), |until| format!("until {until}"));
    let others = match active.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    let reason = format!("frozen by {} {until}: \"{}\"{others}", visible_line(longest.by, 60), visible_line(longest.reason, 200));
    let needs = match longest.until {
        Some(until) => format!("the freeze to end at {until}, or an approver to lift it"),
        None => "an approver to lift the freeze".to_owned(),
    };
    let frozen = GateResult { value: Some(format!("{} in force", active.len())), ..result(Verdict::Fail, reason) };
    needing(frozen, needs, Who::Person, "an approver lifts the freeze by a signed decision; rollback and abort are exempt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_counts_only_while_it_lasts() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(100) };
        let freeze = Freeze { reason: "holiday", by: "dana", from: Timestamp(0), until: Some(Timestamp(200)) };
        let judged = |freezes: &[Freeze<'_>]| evaluate(ask, freezes).verdict;
        assert_eq!(judged(&[]), Verdict::Pass);
        assert_eq!(judged(&[freeze]), Verdict::Fail);
        assert_eq!(judged(&[Freeze { until: None, ..freeze }]), Verdict::Fail);
        assert_eq!(judged(&[Freeze { until: Some(Timestamp(100)), ..freeze }]), Verdict::Pass);
        assert_eq!(judged(&[Freeze { from: Timestamp(101), ..freeze }]), Verdict::Pass);
        let both = evaluate(ask, &[freeze, Freeze { until: None, reason: "incident", ..freeze }]);
        assert!(both.live && both.reason.contains("incident") && both.reason.contains("and 1 more"), "{}", both.reason);
    }
}
