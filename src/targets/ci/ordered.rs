//! A run that was ordered for a deployment: what is known of it, from the order to its end. Pure.

use crate::model::{
    Reading,
    ci::{CheckState, CiFault, CiRun},
    text::visible_line,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a run may take to show under its name.
const APPEARS_WITHIN: Duration = Duration::from_secs(600);

/// A run that was ordered; it may be that nobody has heard the order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ordered {
    /// What the run is told to be called.
    pub name: String,
    /// When it was ordered.
    pub at: Reading,
    /// Whether the platform has taken the order.
    pub is_taken: bool,
    /// The run, once it shows.
    pub run: Option<CiRun>,
    /// Why nothing more is known.
    pub fault: Option<String>,
    /// How it has ended, and when that was seen; none while it may still do something.
    pub end: Option<(End, Reading)>,
    /// Whether its failure has been said: only then may another one take its place.
    #[serde(default)]
    pub is_said: bool,
}

/// How a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It has deployed.
    Succeeded,
    /// It has not, or only in part.
    Failed,
    /// The order was never answered, and there is no run of its name.
    NeverBegan,
}

impl Ordered {
    /// Returns an order that is about to be given.
    pub fn new(at: Reading) -> Self {
        let name = format!("interlock-{:016x}", rand::random::<u64>());
        Ordered { name, at, is_taken: false, run: None, fault: None, end: None, is_said: false }
    }

    /// Notes what the platform says of the run now. `timeout` is how long a run may take: a shorter one shows sooner.
    pub fn note(&mut self, asked: Result<Option<CiRun>, CiFault>, now: Reading, timeout: Duration) {
        self.fault = None;
        match asked {
            Ok(Some(run)) => {
                let end = match run.state {
                    CheckState::Pending => None,
                    CheckState::Passed => Some(End::Succeeded),
                    CheckState::Failed | CheckState::Silent => Some(End::Failed),
                };
                (self.run, self.is_taken) = (Some(readable(run)), true);
                self.end = end.map(|end| (end, now));
            }
            // After a reboot it is long enough.
            Ok(None) if now.since(&self.at).is_none_or(|waited| waited >= APPEARS_WITHIN.min(timeout)) => match self.is_taken {
                true => self.fault = Some("no run of that name has appeared; does its `run-name` hold `inputs.interlock`?".into()),
                false => self.end = Some((End::NeverBegan, now)),
            },
            Ok(None) => (),
            // It is no end: a platform also says 404 to whom it shows the repository no more.
            Err(fault) => self.fault = Some(fault.to_string()),
        }
    }

    /// Returns how it has ended.
    pub fn ended(&self) -> Option<End> {
        self.end.as_ref().map(|(end, _)| *end)
    }

    /// Says how it stands, with its address.
    pub fn story(&self) -> String {
        let mut story = match (&self.run, self.ended()) {
            (_, Some(End::NeverBegan)) => format!("`{}` was never begun", self.name),
            (Some(run), _) => format!("run {} ({}) is {}", run.id, run.address, run.word),
            (None, _) if self.is_taken => format!("`{}` is ordered, and does not show yet", self.name),
            (None, _) => format!("whether `{}` was begun is unknown", self.name),
        };
        if let Some(fault) = &self.fault {
            story.push_str(&format!("; {fault}"));
        }
        story
    }
}

/// Returns a run with the platform's texts as they may be read and recorded. Its id is a number.
fn readable(run: CiRun) -> CiRun {
    CiRun { commit: visible_line(&run.commit, 64), address: visible_line(&run.address, 300), word: visible_line(&run.word, 40), ..run }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn at(ms: u64) -> Reading {
        Reading { boot: "b".into(), ms }
    }

    fn run(state: CheckState) -> Result<Option<CiRun>, CiFault> {
        Ok(Some(CiRun { id: "7".into(), commit: "c".into(), address: "http://f/7".into(), word: "word".into(), state }))
    }

    #[test]
    fn only_a_success_is_one_and_only_an_end_is_an_end() {
        for (asked, end) in [
            (run(CheckState::Passed), Some(End::Succeeded)),
            (run(CheckState::Failed), Some(End::Failed)),
            (run(CheckState::Silent), Some(End::Failed)),
            (run(CheckState::Pending), None),
            (Ok(None), None),
            (Err(CiFault::Unauthorized), None),
            (Err(CiFault::Missing { what: "run 7".into(), status: 404 }), None),
            (Err(CiFault::TimedOut { after_ms: 1 }), None),
        ] {
            let mut ordered = Ordered::new(at(0));
            ordered.note(asked.clone(), at(1_000), LONG);
            assert_eq!(ordered.ended(), end, "{asked:?}: {}", ordered.story());
        }
    }

    #[test]
    fn what_does_not_show_was_never_begun_only_where_nobody_took_the_order() {
        let seen = |is_taken: bool, now: Reading, timeout: Duration| {
            let mut ordered = Ordered { is_taken, ..Ordered::new(at(0)) };
            ordered.note(Ok(None), now, timeout);
            (ordered.ended(), ordered.fault.is_some())
        };
        assert_eq!(seen(false, at(599_000), LONG), (None, false), "it may still appear");
        assert_eq!(seen(false, at(600_000), LONG), (Some(End::NeverBegan), false));
        assert_eq!(seen(true, at(600_000), LONG), (None, true), "it runs under another name");
        assert_eq!(seen(false, at(5_000), Duration::from_secs(5)).0, Some(End::NeverBegan));
        assert_eq!(seen(false, Reading { boot: "other".into(), ms: 1 }, LONG).0, Some(End::NeverBegan));
    }
}
