//! Every secret the service refers to can be resolved. Names only: neither values nor what a resolver printed is ever shown.

use super::{Ask, needing};
use crate::model::{GateResult, Verdict, Who};

/// The gate's name.
pub const NAME: &str = "secrets";

/// Judges which of the named secrets could be resolved just now. Live: run again at execution.
pub fn evaluate(ask: Ask<'_>, secrets: &[(String, Result<(), String>)]) -> GateResult {
    let missing: Vec<_> = secrets.iter().filter(|(_, resolved)| resolved.is_err()).map(|(name, _)| format!("`{name}`")).collect();
    let result = |verdict, reason| GateResult { live: true, ..ask.result(NAME, "every secret resolves", verdict, reason) };
    match (secrets.len(), missing.len()) {
        (0, _) => result(Verdict::Pass, "the service refers to no secret".to_owned()),
        (count, 0) => result(Verdict::Pass, format!("{count} of {count} secrets resolve")),
        (count, _) => {
            let failed = result(Verdict::Fail, format!("{} of {count} secrets do not resolve: {}", missing.len(), missing.join(", ")));
            let how = "supply what the references in interlock.toml name, on the machine of the server, then call `run_predeploy_checks`";
            needing(failed, format!("a value for {}", missing.join(", ")), Who::Person, how)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn missing_secrets_are_named_and_nothing_more_is_said() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(0) };
        let secrets = [("API_KEY".into(), Err("output: hunter2".into())), ("DB".into(), Ok(()))];
        let failed = evaluate(ask, &secrets);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert_eq!(failed.reason, "1 of 2 secrets do not resolve: `API_KEY`");
        assert!(failed.live && !serde_json::to_string(&failed).unwrap().contains("hunter2"));
        assert_eq!(evaluate(ask, &secrets[1..]).verdict, Verdict::Pass);
        assert_eq!(evaluate(ask, &[]).verdict, Verdict::Pass);
    }
}
