//! A person has signed a fact, `uat` above all, for exactly this release.

use super::{Ask, needing};
use crate::model::{ApproverName, GateResult, Sha256, Timestamp, Verdict, Who};

/// The gate's name.
pub const NAME: &str = "sign_off";

/// A signed fact from the record, its signature already checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedFact<'a> {
    /// The fact: `uat`.
    pub fact: &'a str,
    /// The release it was signed for.
    pub digest: &'a Sha256,
    /// Whether the person accepted, or refused.
    pub accepted: bool,
    /// Who signed.
    pub by: &'a ApproverName,
    /// When.
    pub at: Timestamp,
}

/// Judges whether `fact` is signed for the release with this digest; the latest signature over it counts.
pub fn evaluate(ask: Ask<'_>, fact: &str, digest: &Sha256, signed: &[SignedFact<'_>]) -> GateResult {
    let result = |verdict, reason| ask.result(NAME, format!("`{fact}` is signed off"), verdict, reason);
    let of_fact = || signed.iter().filter(|signed| signed.fact == fact && signed.at <= ask.now);
    let latest = of_fact().filter(|signed| signed.digest == digest).max_by_key(|signed| signed.at);
    let open = match latest {
        Some(signed) if signed.accepted => {
            let passed = result(Verdict::Pass, format!("{} signed `{fact}` off at {}", signed.by, signed.at));
            return GateResult { value: Some(signed.by.to_string()), ..passed };
        }
        Some(signed) => result(Verdict::Fail, format!("{} refused `{fact}` at {}", signed.by, signed.at)),
        None if of_fact().next().is_some() => {
            result(Verdict::Inconclusive, format!("`{fact}` is signed off for another release, not for {}", digest.short()))
        }
        None => result(Verdict::Inconclusive, format!("nobody has signed `{fact}` off")),
    };
    needing(open, format!("a person's sign-off of `{fact}`"), Who::Person, format!("interlock sign-off {} {fact}", ask.directive))
}

/// Lets a person's word stand for what nobody else can say: the open result passes once `fact` is signed off, and asks for that until
/// then. The word is part of what a plan rests on, so the result is not live.
pub(super) fn or_word(ask: Ask<'_>, open: GateResult, fact: &str, digest: &Sha256, signed: &[SignedFact<'_>]) -> GateResult {
    let word = evaluate(ask, fact, digest, signed);
    let reason = format!("{}; {}", open.reason, word.reason);
    GateResult { gate: open.gate, rule: open.rule, reason, live: false, ..word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_off_counts_for_its_release_alone() {
        let directive = "SD-DEPLOY-001".into();
        let ask = Ask { directive: &directive, by: "phase phase-06", now: Timestamp(100) };
        let (digest, other, by) = (Sha256::of(b"a"), Sha256::of(b"b"), "dana".into());
        let signed = SignedFact { fact: "uat", digest: &digest, accepted: true, by: &by, at: Timestamp(50) };
        let judged = |signed: &[SignedFact<'_>]| evaluate(ask, "uat", &digest, signed).verdict;
        assert_eq!(judged(&[signed]), Verdict::Pass);
        assert_eq!(judged(&[signed, SignedFact { accepted: false, at: Timestamp(60), ..signed }]), Verdict::Fail);
        for open in
            [SignedFact { digest: &other, ..signed }, SignedFact { fact: "legal", ..signed }, SignedFact { at: Timestamp(101), ..signed }]
        {
            assert_eq!(judged(&[open]), Verdict::Inconclusive);
        }
        assert_eq!(evaluate(ask, "uat", &digest, &[]).how.unwrap(), "interlock sign-off SD-DEPLOY-001 uat");
    }
}
