//! A refusal as callers see it, built in one place for every edge, and the count of identical ones.

use super::{NextAction, entry, waiting};
use crate::{
    error::{Code, Error},
    model::{Sha256, Who},
};
use serde_json::{Map, Value, json};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

const REMEMBERED: usize = 1024;
const ENOUGH: u32 = 3;

/// The last thousand refused calls, in memory, each with how often it was refused in a row.
#[derive(Default)]
pub(super) struct RecentAttempts(Mutex<VecDeque<(Sha256, Code, u32)>>);

impl RecentAttempts {
    /// Adds one and returns how many there were.
    pub(super) fn add(&self, call: &Sha256, code: Code) -> u32 {
        let mut recent = self.known();
        let known = recent.iter().position(|(other, why, _)| other == call && *why == code).and_then(|at| recent.remove(at));
        let count = known.map_or(1, |(_, _, count)| count + 1);
        recent.push_back((call.clone(), code, count));
        if recent.len() > REMEMBERED {
            recent.pop_front();
        }
        count
    }

    /// Forgets a call that has worked; where none was refused, it is not even named.
    pub(super) fn forget(&self, call: impl FnOnce() -> Sha256) {
        let mut recent = self.known();
        if !recent.is_empty() {
            let call = call();
            recent.retain(|(other, _, _)| *other != call);
        }
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<(Sha256, Code, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a call for counting: who called what with which arguments.
pub(super) fn name_of_call(principal: &str, operation: &str, arguments: &Value) -> Sha256 {
    Sha256::of(serde_json::to_string(&json!([principal, operation, arguments])).expect("JSON can be written").as_bytes())
}

/// Returns the body of a refusal: `{code, message, hint, who, retryable, attempts, next_actions, …}`.
pub fn refusal(error: &Error, operation: &str, arguments: &Value, attempts: u32, is_operation: impl Fn(&str) -> bool) -> Value {
    let is_enough = attempts >= ENOUGH;
    let mut body = json!({
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "who": error.who,
        "retryable": error.after_seconds.is_some(),
        "attempts": attempts,
        "next_actions": next_actions(error, operation, arguments, is_enough, is_operation),
    });
    let fields = body.as_object_mut().expect("it was just written as an object");
    if let Some(seconds) = error.after_seconds {
        fields.insert("after_seconds".into(), seconds.into());
    }
    if let Some(details) = &error.details {
        fields.insert("details".into(), details.clone());
    }
    if is_enough {
        fields.insert("stop_and_tell_user".into(), true.into());
    }
    body
}

/// What can be done: the same call only after a wait, else what the hint names between backticks.
fn next_actions(
    error: &Error,
    operation: &str,
    arguments: &Value,
    is_enough: bool,
    is_operation: impl Fn(&str) -> bool,
) -> Vec<NextAction> {
    let mut actions = Vec::new();
    if is_enough {
        actions.push(NextAction::of(Who::Person, format!("refused {ENOUGH} times or more with `{}`: tell the user, and stop", error.code)));
    }
    if let Some(seconds) = error.after_seconds {
        let again = NextAction::tool(operation, arguments.clone(), "the same call may work then");
        actions.push(NextAction { after_seconds: Some(seconds), ..again });
    }
    for named in error.hint.split('`').skip(1).step_by(2) {
        if is_operation(named) {
            let known = known_arguments(named, arguments, error);
            if (named, &known) != (operation, arguments) {
                actions.push(NextAction::tool(named, known, &error.hint));
            }
        } else if named.starts_with("interlock ") {
            actions.push(NextAction::command(named, &error.hint));
        }
    }
    if actions.is_empty() {
        actions.push(NextAction::of(error.who, &error.hint));
    }
    entry::settle(&mut actions);
    actions
}

/// Carries over the id that both calls take, or that the refusal names, so that the offer can be called as it stands.
fn known_arguments(tool: &str, arguments: &Value, error: &Error) -> Value {
    let wanted: &[&str] = match tool {
        "get_status" | "plan_deployment" | "run_predeploy_checks" | "complete_directive" | "cancel_directive" => &["directive"],
        "get_deployment" | "read_log" => &["deployment"],
        "get_runbook" => &["runbook"],
        "list_deployments" => &["service", "environment"],
        _ => &[],
    };
    let named = |name| arguments.get(name).or_else(|| error.details.as_ref()?.get(name)).cloned();
    let mut known: Map<String, Value> = wanted.iter().filter_map(|&name| Some((name.to_owned(), named(name)?))).collect();
    if error.code == Code::ApprovalRequired && tool == "get_status" && known.contains_key("directive") {
        // A person takes their time: asking at once, and again and again, would say nothing.
        known.insert("wait_seconds".into(), waiting::MOST_SECONDS.into());
    }
    if tool == "cancel_directive" && known.contains_key("directive") {
        known.insert("reason".into(), "<why>".into());
    }
    Value::Object(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: Error, attempts: u32) -> Value {
        refusal(&error, "get_status", &json!({"directive": "SD-1"}), attempts, |name| name.starts_with("get_"))
    }

    #[test]
    fn a_refused_call_is_offered_again_only_after_a_wait() {
        let retryable = body(Error::new(Code::DatabaseUnavailable, "the database is locked"), 1);
        assert_eq!(retryable["next_actions"][0]["tool"], "get_status");
        assert_eq!(retryable["next_actions"][0]["after_seconds"], 2);
        assert_eq!(retryable["retryable"], true);

        let same = body(Error::new(Code::WrongState, "it is done"), 1);
        assert_eq!(same["next_actions"], json!([{"who": "agent", "why": same["hint"], "recommended": true}]));
    }

    #[test]
    fn the_hint_names_what_is_next() {
        let person = body(Error::new(Code::Stuck, "unknown outcome"), 1);
        assert_eq!(person["next_actions"][0]["tool"], "get_deployment");
        let approve = body(Error::new(Code::ConfigurationPending, "revision 2 waits"), 1);
        assert_eq!(approve["next_actions"][0]["command"], "interlock apply");
        assert_eq!(approve["next_actions"][0]["who"], "person");
    }

    #[test]
    fn the_third_identical_refusal_says_stop() {
        let twice = body(Error::new(Code::GateFailed, "no"), 2);
        assert!(twice.get("stop_and_tell_user").is_none());
        let thrice = body(Error::new(Code::GateFailed, "no"), 3);
        assert_eq!(thrice["stop_and_tell_user"], true);
        assert_eq!(thrice["next_actions"][0]["who"], "person");
        assert_eq!(thrice["next_actions"][0]["recommended"], true);
    }

    #[test]
    fn identical_refusals_are_counted_and_forgotten() {
        let (attempts, call, other) = (RecentAttempts::default(), Sha256::of(b"a"), Sha256::of(b"b"));
        assert_eq!(attempts.add(&call, Code::Frozen), 1);
        assert_eq!(attempts.add(&call, Code::Frozen), 2);
        assert_eq!(attempts.add(&call, Code::GateFailed), 1);
        assert_eq!(attempts.add(&other, Code::Frozen), 1);
        attempts.forget(|| call.clone());
        assert_eq!(attempts.add(&call, Code::Frozen), 1);
        for index in 0..REMEMBERED {
            attempts.add(&Sha256::of(&index.to_be_bytes()), Code::Frozen);
        }
        assert_eq!(attempts.0.lock().unwrap().len(), REMEMBERED);
    }
}
