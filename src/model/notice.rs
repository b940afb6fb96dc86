//! What people are told elsewhere: of which change of the record, and where they see and decide it. A notice decides nothing. Pure.

use super::{EnvironmentName, PlanState, ServiceName, Timestamp, service::SecretRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// What a notice tells of: the word for it in configuration and in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Something waits for a person.
    Asks,
    /// A person has decided.
    Decided,
    /// A deployment did not go through, and goes back.
    Failed,
    /// What served before serves again.
    RolledBack,
    /// Nobody knows how a deployment stands, and a person must choose.
    Stuck,
    /// Deployments are stopped.
    Frozen,
    /// A deployment went to its end.
    Succeeded,
    /// Somebody tries whether messages arrive.
    Test,
}

impl NoticeKind {
    /// Every kind that configuration may name.
    pub const ALL: [(&str, NoticeKind); 7] = [
        ("asks", NoticeKind::Asks),
        ("decided", NoticeKind::Decided),
        ("failed", NoticeKind::Failed),
        ("rolled_back", NoticeKind::RolledBack),
        ("stuck", NoticeKind::Stuck),
        ("frozen", NoticeKind::Frozen),
        ("succeeded", NoticeKind::Succeeded),
    ];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        NoticeKind::ALL.iter().find(|(_, kind)| *kind == self).map_or("test", |(word, _)| word)
    }
}

/// What is told. Nothing in it is a secret; what somebody outside has written stands in `said` alone, and in names, capped and visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it tells of.
    pub kind: NoticeKind,
    /// What it is about: `plan`, `configuration`, `runbook`, `sign_off`, `deployment`, `approver`, `freeze`.
    pub about: String,
    /// Its id.
    pub subject: String,
    /// One line for people, in our words.
    pub title: String,
    /// The service, where it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The environment, where it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentName>,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The stable code of what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `approve` or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Who has decided, declared or asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A reason in the words of somebody else: data, never ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The page where a person sees and decides it: `/plans/plan_…`.
    pub page: String,
    /// When it happened.
    pub at: Timestamp,
}

impl Notice {
    /// Returns one that says no more than this.
    pub fn of(kind: NoticeKind, about: &str, subject: &str, title: String, page: &str, at: Timestamp) -> Self {
        let (about, subject, page) = (about.to_owned(), subject.to_owned(), page.to_owned());
        let (service, environment, version, code, verdict, by, said) = Default::default();
        Notice { kind, about, subject, title, service, environment, version, code, verdict, by, said, page, at }
    }
}

/// How somebody elsewhere is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// A signed webhook (<https://www.standardwebhooks.com>).
    Webhook,
    /// An incoming webhook of Slack, or of what reads the same.
    Slack,
}

/// `[notify.NAME]`: whom to tell, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// How it is told.
    pub kind: DestinationKind,
    /// The address, or the reference to it.
    pub url: String,
    /// The reference to what signs; a webhook has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Of what it is told.
    pub events: BTreeSet<NoticeKind>,
    /// Of which environments; of all when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub environments: BTreeSet<EnvironmentName>,
    /// Whether it may be on this machine, or in a private network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

impl Destination {
    /// Tells whether it is told of what happens in an environment.
    pub fn is_told_of(&self, environment: &EnvironmentName) -> bool {
        self.environments.is_empty() || self.environments.contains(environment)
    }

    /// Returns the references to secrets it needs.
    pub fn secrets(&self) -> impl Iterator<Item = SecretRef> {
        [Some(&self.url), self.secret.as_ref()].into_iter().flatten().filter_map(|value| SecretRef::parse(value))
    }
}

/// Tells whether an entry of the audit log may be one to tell people of. What gates ask of people is told where verdicts are recorded.
pub fn is_told(action: &str, detail: &Value) -> bool {
    let is = |name: &str, words: &[&str]| detail[name].as_str().is_some_and(|word| words.contains(&word));
    match action {
        "record_decision" | "add_freeze" | "reopen_request" | "mark_rolled_back" => true,
        "save_plan" => is("state", &[PlanState::AwaitingApproval.as_str()]),
        "set_pending" => detail["environments"].as_array().is_some_and(|environments| !environments.is_empty()),
        "save_runbook_version" => is("state", &["in_review"]),
        "set_runbook_state" => is("to", &["in_review"]),
        "use_enrolment_link" => detail["waits"] == true,
        "set_hold" => is("held_by", &[super::Caller::server().principal.as_str()]),
        "transition" => is("to", &["rolling_back", "rolled_back", "stuck", "succeeded"]),
        _ => false,
    }
}

/// The pauses between tries, as Standard Webhooks gives them as its example: ten tries in three days and four hours.
const PAUSES: [Duration; 9] = {
    const HOUR: u64 = 60 * 60;
    const fn of(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
    [of(5), of(5 * 60), of(30 * 60), of(2 * HOUR), of(5 * HOUR), of(10 * HOUR), of(14 * HOUR), of(20 * HOUR), of(24 * HOUR)]
};

/// However far a receiver's `Retry-After` puts the tries: what is this old is given up when its next try fails.
pub const TOLD_FOR: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// Returns how long to wait after so many tries that failed; none when it is given up. `asked` is what the receiver asks for, obeyed up to
/// a day; `chance`, from 0 to 1, makes it up to a fifth longer, so that what failed together is not tried together.
pub fn pause(tries: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    let pause = *PAUSES.get(usize::try_from(tries).ok()?.checked_sub(1)?)?;
    let longest = PAUSES[PAUSES.len() - 1];
    Some(pause.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 5.0).max(asked.unwrap_or_default().min(longest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ten_tries_take_three_days_and_no_receiver_makes_them_take_for_ever() {
        let pauses: Vec<u64> = (1..).map_while(|tries| pause(tries, None, 0.0)).map(|pause| pause.as_secs()).collect();
        assert_eq!((pauses.len() + 1, pauses.iter().sum::<u64>()), (10, 75 * 3600 + 35 * 60 + 5));
        let asked = |seconds: u64| pause(1, Some(Duration::from_secs(seconds)), 0.0).unwrap().as_secs();
        assert_eq!([asked(1), asked(90), asked(u64::MAX)], [5, 90, 24 * 3600]);
        assert_eq!(pause(1, None, 1.0), Some(Duration::from_secs(6)));
        assert_eq!((pause(0, None, 0.0), pause(10, Some(Duration::from_secs(1)), 0.0)), (None, None));
    }

    #[test]
    fn of_the_audit_log_only_what_people_wait_for_is_told() {
        for (action, detail) in [
            ("save_plan", json!({ "state": "awaiting_approval" })),
            ("set_hold", json!({ "from": null, "held_by": "server" })),
            ("transition", json!({ "to": "stuck" })),
            ("add_freeze", json!({})),
        ] {
            assert!(is_told(action, &detail), "{action}");
        }
        for (action, detail) in [
            ("save_plan", json!({ "state": "planned" })),
            ("set_hold", json!({ "from": "server", "held_by": null })),
            ("set_hold", json!({ "held_by": "agent" })),
            ("transition", json!({ "to": "running" })),
            ("set_pending", json!({ "environments": [] })),
            ("write_step", json!({ "to": "done" })),
        ] {
            assert!(!is_told(action, &detail), "{action}");
        }
    }

    #[test]
    fn each_kind_has_its_word() {
        for (word, kind) in NoticeKind::ALL {
            assert_eq!((kind.as_str(), json!(kind)), (word, json!(word)));
        }
        assert_eq!(json!(NoticeKind::Test), json!(NoticeKind::Test.as_str()));
    }
}
