//! There is a way back: the release that serves now can be served again.

use super::{Ask, needing};
use crate::model::{GateResult, Verdict, Who, text::visible_line};

/// The gate's name.
pub const NAME: &str = "rollback_ready";

/// What a rollback would go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack<'a> {
    /// Nothing serves yet: rollback withdraws the service.
    First,
    /// This release serves; its bytes were verified on disk, or were not and why.
    To {
        /// Its version.
        version: &'a str,
        /// Whether its bytes are on disk with their digest.
        on_disk: Result<(), &'a str>,
    },
    /// It is not known what serves, and why.
    Unknown(&'a str),
}

/// Judges the way back.
pub fn evaluate(ask: Ask<'_>, way_back: WayBack<'_>) -> GateResult {
    let result = |verdict, value: Option<String>, reason: String| {
        let result = ask.result(NAME, "the serving release can serve again", verdict, reason);
        GateResult { value, ..result }
    };
    match way_back {
        WayBack::First => result(Verdict::Pass, Some("withdraw".into()), "the first deployment: rollback withdraws it".into()),
        WayBack::To { version, on_disk: Ok(()) } => {
            result(Verdict::Pass, Some(format!("to {version}")), format!("rollback goes to {version}, whose bytes are verified on disk"))
        }
        WayBack::To { version, on_disk: Err(fault) } => {
            let reason = format!("{version} serves now and cannot be served again: {}", visible_line(fault, 200));
            let how =
                format!("put the release's bytes of {version} back into the server's release store, then call `run_predeploy_checks`");
            needing(result(Verdict::Fail, None, reason), format!("the bytes of {version} on disk"), Who::Person, how)
        }
        WayBack::Unknown(fault) => {
            let reason = format!("it is not known what serves now: {}", visible_line(fault, 200));
            let how = "read `get_status` for the environment; a person settles what serves";
            needing(result(Verdict::Inconclusive, None, reason), "a known serving release", Who::Person, how)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_way_back_is_the_base_or_withdrawal() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(0) };
        let judged = |way_back| {
            let result = evaluate(ask, way_back);
            (result.verdict, result.value)
        };
        assert_eq!(judged(WayBack::First), (Verdict::Pass, Some("withdraw".into())));
        assert_eq!(judged(WayBack::To { version: "1.3.9", on_disk: Ok(()) }), (Verdict::Pass, Some("to 1.3.9".into())));
        assert_eq!(judged(WayBack::To { version: "1.3.9", on_disk: Err("missing") }), (Verdict::Fail, None));
        assert_eq!(judged(WayBack::Unknown("stuck")), (Verdict::Inconclusive, None));
    }
}
