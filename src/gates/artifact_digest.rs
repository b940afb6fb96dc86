//! The pinned bytes are still the ones the directive names.

use super::{Ask, needing};
use crate::model::{GateResult, Sha256, Verdict, Who, text::visible_line};

/// The gate's name.
pub const NAME: &str = "artifact_digest";

/// Compares the directive's digest with the one just recomputed from disk, or with why it could not be.
pub fn evaluate(ask: Ask<'_>, pinned: &Sha256, recomputed: Result<&Sha256, &str>) -> GateResult {
    let result = |verdict, reason: String| ask.result(NAME, format!("digest == {pinned}"), verdict, reason);
    let how = "build the artifact again and call `create_directive` with it";
    match recomputed {
        Ok(digest) if digest == pinned => {
            let passed = result(Verdict::Pass, format!("the release's bytes have the digest {}", pinned.short()));
            GateResult { value: Some(digest.to_string()), ..passed }
        }
        Ok(digest) => {
            let reason = format!("the release's bytes have the digest {}, the directive names {}", digest.short(), pinned.short());
            let failed = GateResult { value: Some(digest.to_string()), ..result(Verdict::Fail, reason) };
            needing(failed, "a release whose bytes are the directive's", Who::Agent, how)
        }
        Err(fault) => {
            let reason = format!("the release's bytes cannot be read: {}", visible_line(fault, 200));
            needing(result(Verdict::Inconclusive, reason), "the release's bytes on disk", Who::Agent, how)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn only_the_same_bytes_pass() {
        let ask = Ask { directive: &"SD-DEPLOY-001".into(), by: "server", now: Timestamp(0) };
        let (ours, other) = (Sha256::of(b"a"), Sha256::of(b"b"));
        assert_eq!(evaluate(ask, &ours, Ok(&ours)).verdict, Verdict::Pass);
        assert_eq!(evaluate(ask, &ours, Ok(&other)).verdict, Verdict::Fail);
        let missing = evaluate(ask, &ours, Err("no such file\n\u{202e}"));
        assert_eq!((missing.verdict, missing.who), (Verdict::Inconclusive, Some(Who::Agent)));
        assert_eq!(missing.reason, "the release's bytes cannot be read: no such file \\u{202e}");
    }
}
