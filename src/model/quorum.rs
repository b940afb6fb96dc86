//! How many approvals a plan needs, and which of those that were given count. Pure: the same rule when one is given and at execution.

use super::{decision::DecisionVerdict, ids::ApproverName, plan::RequiredApproval};
use std::collections::BTreeSet;

/// The principal of everybody at the command line: a person, and nobody knows which.
pub const NAMELESS: &str = "operator";

/// What was decided over a plan, oldest first; every signature was checked.
pub type Given = (ApproverName, DecisionVerdict);

impl RequiredApproval {
    /// Returns how many different approvers must approve what these have asked for.
    ///
    /// Under `four_eyes` that is one more than the one who asked. Who asked at the command line has no name: of two approvers one is another.
    pub fn needed(&self, asked_by: &BTreeSet<String>) -> usize {
        let unnamed = self.four_eyes && asked_by.contains(NAMELESS);
        (self.signatures.max(1) as usize).max(if unnamed { 2 } else { 1 })
    }

    /// Returns those whose approvals count, in their order: each person once, none from before a no, under `four_eyes` none who asked.
    pub fn counting(&self, asked_by: &BTreeSet<String>, given: &[Given]) -> Vec<ApproverName> {
        let since = given.iter().rposition(|(_, verdict)| *verdict == DecisionVerdict::Reject).map_or(0, |no| no + 1);
        let mut counting: Vec<ApproverName> = Vec::new();
        for (approver, _) in &given[since..] {
            let is_own = self.four_eyes && asked_by.contains(approver.as_str());
            if !is_own && !counting.contains(approver) {
                counting.push(approver.clone());
            }
        }
        counting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEOPLE: [&str; 5] = ["ada", "bob", "cleo", "dan", "eve"];

    /// Tells whether it stands, told another way: as a walk over what happened.
    fn stands(k: u32, four_eyes: bool, asked_by: &str, given: &[Given]) -> bool {
        let mut yes = BTreeSet::new();
        for (who, verdict) in given {
            match verdict {
                DecisionVerdict::Reject => yes.clear(),
                DecisionVerdict::Approve if four_eyes && who.as_str() == asked_by => {}
                DecisionVerdict::Approve => drop(yes.insert(who.clone())),
            }
        }
        let least = if four_eyes && asked_by == "operator" { k.max(2) } else { k };
        yes.len() >= least as usize
    }

    #[test]
    fn k_different_people_approve_and_none_who_asked_and_none_before_a_no() {
        let (mut cases, mut stood) = (0, 0);
        let verdicts = [DecisionVerdict::Approve, DecisionVerdict::Reject];
        // Every sequence of up to four decisions of four people, for each k, asked for by each of them, the agent and the command line.
        let steps: Vec<Given> = PEOPLE[..4].iter().flat_map(|who| verdicts.map(|verdict| ((*who).into(), verdict))).collect();
        for length in 0..=4_u32 {
            for number in 0..steps.len().pow(length) {
                let given: Vec<Given> = (0..length).map(|at| steps[number / steps.len().pow(at) % steps.len()].clone()).collect();
                for (k, four_eyes) in [(1, false), (1, true), (2, false), (2, true), (3, true), (5, false)] {
                    for asked_by in ["agent", "operator", "ada", "dan"] {
                        let required = RequiredApproval { role: "chairman".into(), expires_ms: 1, signatures: k, four_eyes };
                        let asked = BTreeSet::from([asked_by.to_owned()]);
                        let counting = required.counting(&asked, &given);
                        let enough = counting.len() >= required.needed(&asked);
                        assert_eq!(enough, stands(k, four_eyes, asked_by, &given), "{k} {four_eyes} {asked_by} {given:?}");
                        assert!(!four_eyes || counting.iter().all(|who| who.as_str() != asked_by));
                        (cases, stood) = (cases + 1, stood + usize::from(enough));
                    }
                }
            }
        }
        assert!(cases > 100_000 && stood > 10_000 && stood < cases, "{stood} of {cases}");
    }
}
