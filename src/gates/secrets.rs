//! Every secret the service refers to can be resolved. Names only: neither values nor what a resolver printed is ever shown.

use super::{Ask, needing};
use crate::model::{GateResult, Verdict, Who, service::SecretRef, text::visible_line};

/// The gate's name.
pub const NAME: &str = "secrets";

/// A secret, and whether it could be resolved just now.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Its name.
    pub name: String,
    /// What configuration writes in its place.
    pub reference: SecretRef,
    /// Whether there is a value, or why not.
    pub resolved: Result<(), String>,
}

/// Returns what supplies a secret: what a person runs on the machine of the server. Never a value.
fn supply(reference: &SecretRef) -> String {
    match reference {
        SecretRef::Env(name) => format!("`export {}=…` where `interlock serve` is started, and start it again", visible_line(name, 80)),
        SecretRef::File(path) => format!("`install -m 600 /dev/stdin {}`", visible_line(path, 200)),
        SecretRef::Exec(argv) => format!("see that `{}` prints it", visible_line(&argv.join(" "), 200)),
    }
}

/// Judges which of the named secrets could be resolved just now. Live: run again at execution.
pub fn evaluate(ask: Ask<'_>, secrets: &[Looked]) -> GateResult {
    let lost: Vec<&Looked> = secrets.iter().filter(|secret| secret.resolved.is_err()).collect();
    let missing: Vec<String> = lost.iter().map(|secret| format!("`{}`", secret.name)).collect();
    let result = |verdict, reason| GateResult { live: true, ..ask.result(NAME, "every secret resolves", verdict, reason) };
    match (secrets.len(), missing.len()) {
        (0, _) => result(Verdict::Pass, "the service refers to no secret".to_owned()),
        (count, 0) => result(Verdict::Pass, format!("{count} of {count} secrets resolve")),
        (count, _) => {
            let failed = result(Verdict::Fail, format!("{} of {count} secrets do not resolve: {}", missing.len(), missing.join(", ")));
            let mut supplies: Vec<String> = lost.iter().map(|secret| supply(&secret.reference)).collect();
            supplies.dedup();
            let how = format!("on the machine of the server: {}; then call `run_predeploy_checks`", supplies.join("; "));
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
        let looked =
            |name: &str, reference: &str, resolved| Looked { name: name.into(), reference: SecretRef::parse(reference).unwrap(), resolved };
        let secrets = [looked("API_KEY", "env:API_KEY", Err("output: hunter2".into())), looked("DB", "file:/run/db", Ok(()))];
        let failed = evaluate(ask, &secrets);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert_eq!(failed.reason, "1 of 2 secrets do not resolve: `API_KEY`");
        assert!(failed.live && !serde_json::to_string(&failed).unwrap().contains("hunter2"));
        let how = "on the machine of the server: `export API_KEY=…` where `interlock serve` is started, and start it again; then call `run_predeploy_checks`";
        assert_eq!(failed.how.as_deref(), Some(how));
        let others = [looked("DB", "file:/run/db", Err("x".into())), looked("KEY", "exec:vault read key", Err("x".into()))];
        let how = evaluate(ask, &others).how.unwrap();
        assert!(how.contains("`install -m 600 /dev/stdin /run/db`; see that `vault read key` prints it; then"), "{how}");
        assert_eq!(evaluate(ask, &secrets[1..]).verdict, Verdict::Pass);
        assert_eq!(evaluate(ask, &[]).verdict, Verdict::Pass);
    }
}
