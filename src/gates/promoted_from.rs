//! The same bytes have succeeded in the environment named in `after`.

use super::{Ask, needing};
use crate::model::{DeploymentId, EnvironmentName, GateResult, Sha256, Verdict, Who};

/// The gate's name.
pub const NAME: &str = "promoted_from";

/// What the record says of `digest` in the environment named in `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion<'a> {
    /// The environment named in `after`.
    pub after: &'a EnvironmentName,
    /// The release's digest.
    pub digest: &'a Sha256,
    /// The latest deployment of these bytes there that succeeded.
    pub succeeded: Option<&'a DeploymentId>,
    /// The latest deployment of these bytes there that did not, and its state in one word.
    pub latest_other: Option<(&'a DeploymentId, &'a str)>,
}

/// Judges whether the bytes have proven themselves.
pub fn evaluate(ask: Ask<'_>, promotion: Promotion<'_>) -> GateResult {
    let Promotion { after, digest, succeeded, latest_other } = promotion;
    let result = |verdict, reason| ask.result(NAME, format!("the same digest succeeded in `{after}`"), verdict, reason);
    if let Some(deployment) = succeeded {
        let passed = result(Verdict::Pass, format!("{} succeeded in `{after}` as `{deployment}`", digest.short()));
        return GateResult { value: Some(deployment.to_string()), ..passed };
    }
    let missing = match latest_other {
        Some((deployment, state)) => {
            let reason = format!("{} did not succeed in `{after}`: `{deployment}` is {state}", digest.short());
            GateResult { value: Some(format!("{deployment} {state}")), ..result(Verdict::Fail, reason) }
        }
        None => result(Verdict::Inconclusive, format!("{} was never deployed to `{after}`", digest.short())),
    };
    let needs = format!("a successful deployment of {} to `{after}`", digest.short());
    let how = format!("deploy the same artifact to `{after}` first: `create_directive` with `environment: \"{after}\"`");
    needing(missing, needs, Who::Agent, how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn only_the_same_bytes_that_succeeded_there_are_promoted() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "environments.production", now: Timestamp(0) };
        let (after, digest, deployment) = ("staging".into(), Sha256::of(b"a"), "dep_1".into());
        let never = Promotion { after: &after, digest: &digest, succeeded: None, latest_other: None };
        assert_eq!(evaluate(ask, never).verdict, Verdict::Inconclusive);
        let rolled_back = Promotion { latest_other: Some((&deployment, "rolled_back")), ..never };
        assert_eq!(evaluate(ask, rolled_back).verdict, Verdict::Fail);
        assert!(evaluate(ask, rolled_back).how.unwrap().contains("environment: \"staging\""));
        assert_eq!(evaluate(ask, Promotion { succeeded: Some(&deployment), ..rolled_back }).verdict, Verdict::Pass);
    }
}
