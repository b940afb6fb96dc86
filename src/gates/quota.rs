//! The place it goes to has room for it: disk, ports, file descriptors, memory.

use super::{
    Ask, needing,
    sign_off::{SignedFact, or_word},
};
use crate::model::{
    Comparator, GateResult, Sha256, Verdict, Who,
    capacity::{Capacity, Holds},
    text::visible_line,
};
use std::collections::BTreeMap;

/// The gate's name.
pub const NAME: &str = "quota";

/// What a person signs where the place cannot say.
pub const FACT: &str = "quota";

/// How often the artifact must still fit: this release once more, where a way back brings it back, and the next one.
const RELEASES: u64 = 2;
/// What else is written beside releases: the record, reports, backups of the record. Bytes.
const BESIDE: u64 = 64 << 20;
/// What one instance may write into its log, rotated files included (design §6: 10 MiB × 5). Bytes.
const LOGS: u64 = 50 << 20;
/// What an instance is taken to need while none was measured. Bytes.
const MEMORY: u64 = 64 << 20;
/// File descriptors that an instance is taken to need: a small server with a hundred customers. The usual soft limit is 1024.
const DESCRIPTORS: u64 = 256;
const MB: u64 = 1 << 20;

/// What a deployment will need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Size of the artifact, bytes.
    pub artifact_bytes: u64,
    /// Instances of the new set, which run beside the old ones.
    pub instances: u64,
    /// Memory of the largest instance that serves now, bytes; none where none was measured.
    pub measured_bytes: Option<u64>,
}

/// One thing that is needed.
struct Line {
    what: &'static str,
    unit: &'static str,
    needs: u64,
    has: Option<u64>,
    /// What configuration asks for besides.
    limit: Option<Comparator>,
}

/// Judges what a place has left; `None` where it cannot say, which a person then does. Live: what is free changes.
pub fn evaluate(
    ask: Ask<'_>,
    limits: &BTreeMap<&str, Comparator>,
    needs: &Needs,
    has: Result<Option<&Capacity>, &str>,
    word: (&Sha256, &[SignedFact<'_>]),
) -> GateResult {
    let rule = "the place has what the deployment needs";
    let result = |verdict, reason: String| GateResult { live: true, ..ask.result(NAME, rule, verdict, reason) };
    let capacity = match has {
        Ok(Some(capacity)) => capacity,
        Ok(None) => {
            let open = result(Verdict::Inconclusive, "this kind of target cannot say what it has left".into());
            return or_word(ask, open, FACT, word.0, word.1);
        }
        Err(why) => {
            let open = result(Verdict::Inconclusive, format!("the target does not say what it has left: {}", visible_line(why, 200)));
            return needing(open, "an answer of the target", Who::Person, "see that the target answers; then call `run_predeploy_checks`");
        }
    };
    let lines = lines(limits, needs, capacity);
    let said: Vec<String> = lines.iter().map(Line::said).collect();
    let value = Some(format!("{} of {}", lines.iter().filter(|line| line.holds() == Some(true)).count(), lines.len()));
    let wanting: Vec<&str> =
        lines.iter().zip(&said).filter(|(line, _)| line.holds() == Some(false)).map(|(_, said)| said.as_str()).collect();
    if !wanting.is_empty() {
        let failed = result(Verdict::Fail, format!("not enough: {}", wanting.join(", ")));
        let how = "make room where the instances run, or lower what is asked for in `[environments.X.gates] quota`; then call `run_predeploy_checks`";
        return GateResult { value, ..needing(failed, wanting.join(", "), Who::Person, how) };
    }
    let unknown: Vec<&str> = lines.iter().filter(|line| line.holds().is_none()).map(|line| line.what).collect();
    if !unknown.is_empty() {
        let open = GateResult { value, ..result(Verdict::Inconclusive, format!("not known: {}", unknown.join(", "))) };
        return or_word(ask, open, FACT, word.0, word.1);
    }
    GateResult { value, ..result(Verdict::Pass, said.join(", ")) }
}

fn lines(limits: &BTreeMap<&str, Comparator>, needs: &Needs, has: &Capacity) -> Vec<Line> {
    let of = |holds: &Holds| match holds {
        Holds::Releases => needs.artifact_bytes.saturating_mul(RELEASES).saturating_add(BESIDE),
        Holds::Instances => needs.instances * LOGS,
    };
    let limit = |measure: &str| limits.get(measure).copied();
    let mut lines = Vec::new();
    for holds in [Holds::Releases, Holds::Instances] {
        let disk = has.disks.iter().find(|disk| disk.holds.contains(&holds));
        let (what, is_shared) = match (disk.map_or(1, |disk| disk.holds.len()), holds) {
            (2, Holds::Releases) => ("disk", false),
            // One disk is asked for once, for all that lies there.
            (2, Holds::Instances) => ("disk", true),
            (_, Holds::Releases) => ("disk of releases", false),
            (_, Holds::Instances) => ("disk of instances", false),
        };
        if !is_shared {
            let needed: u64 = disk.map_or_else(|| of(&holds), |disk| disk.holds.iter().map(of).sum());
            let has = disk.map(|disk| disk.free_bytes / MB);
            lines.push(Line { what, unit: " MB", needs: needed.div_ceil(MB), has, limit: limit("disk_mb") });
        }
    }
    let memory = needs.instances.saturating_mul(needs.measured_bytes.unwrap_or(MEMORY));
    let each = Line { what: "descriptors of an instance", unit: "", needs: DESCRIPTORS, has: has.descriptors_each, limit: None };
    lines.extend([
        Line {
            what: "memory",
            unit: " MB",
            needs: memory.div_ceil(MB),
            has: has.memory_bytes.map(|bytes| bytes / MB),
            limit: limit("memory_mb"),
        },
        Line { what: "ports", unit: "", needs: needs.instances, has: has.ports, limit: limit("ports") },
        Line { limit: limit("descriptors_each"), ..each },
        Line {
            what: "descriptors of the system",
            unit: "",
            needs: needs.instances * DESCRIPTORS,
            has: has.descriptors,
            limit: limit("descriptors"),
        },
    ]);
    lines
}

impl Line {
    /// Tells whether there is enough; none where that is not known.
    fn holds(&self) -> Option<bool> {
        let has = self.has?;
        Some(has >= self.needs && self.limit.is_none_or(|limit| limit.holds(has as f64)))
    }

    fn said(&self) -> String {
        let Line { what, unit, needs, .. } = self;
        let limit = self.limit.map_or(String::new(), |limit| format!(" and {limit}"));
        let has = match self.has {
            None => "what it has is not known".to_owned(),
            Some(u64::MAX) => "has no limit".to_owned(),
            Some(has) => format!("has {has}{unit}"),
        };
        format!("{what} needs {needs}{unit}{limit}, {has}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, capacity::Disk};

    fn ample() -> Capacity {
        Capacity {
            disks: vec![Disk { holds: vec![Holds::Releases, Holds::Instances], free_bytes: 10_000 * MB }],
            ports: Some(1000),
            descriptors_each: Some(1024),
            descriptors: Some(100_000),
            memory_bytes: Some(1000 * MB),
            used_bytes: BTreeMap::new(),
        }
    }

    fn judged(limits: &BTreeMap<&str, Comparator>, needs: &Needs, has: &Capacity) -> GateResult {
        let (directive, digest) = ("SD-DEPLOY-001".into(), Sha256::of(b"a"));
        let ask = Ask { directive: &directive, by: "phase phase-06", now: Timestamp(100) };
        evaluate(ask, limits, needs, Ok(Some(has)), (&digest, &[]))
    }

    const NEEDS: Needs = Needs { artifact_bytes: 100 * MB, instances: 2, measured_bytes: None };

    #[test]
    fn each_thing_that_is_short_fails_with_its_numbers() {
        let none = BTreeMap::new();
        let passed = judged(&none, &NEEDS, &ample());
        assert_eq!((passed.verdict, passed.live), (Verdict::Pass, true), "{passed:?}");
        assert_eq!(passed.value.as_deref(), Some("5 of 5"));
        assert!(passed.reason.starts_with("disk needs 364 MB, has 10000 MB, memory needs 128 MB, has 1000 MB, ports needs 2"));
        let apart =
            vec![Disk { holds: vec![Holds::Releases], free_bytes: 264 * MB }, Disk { holds: vec![Holds::Instances], free_bytes: 99 * MB }];
        let disk = |free_bytes| vec![Disk { holds: vec![Holds::Releases, Holds::Instances], free_bytes }];
        for (has, said) in [
            (Capacity { disks: disk(363 * MB), ..ample() }, "disk needs 364 MB, has 363 MB"),
            (Capacity { disks: apart, ..ample() }, "disk of instances needs 100 MB, has 99 MB"),
            (Capacity { ports: Some(1), ..ample() }, "ports needs 2, has 1"),
            (Capacity { descriptors_each: Some(255), ..ample() }, "descriptors of an instance needs 256, has 255"),
            (Capacity { descriptors: Some(511), ..ample() }, "descriptors of the system needs 512, has 511"),
            (Capacity { memory_bytes: Some(127 * MB), ..ample() }, "memory needs 128 MB, has 127 MB"),
        ] {
            let failed = judged(&none, &NEEDS, &has);
            assert_eq!((failed.verdict, failed.reason), (Verdict::Fail, format!("not enough: {said}")));
            assert_eq!((failed.needs.as_deref(), failed.who), (Some(said), Some(Who::Person)));
        }
        assert_eq!(judged(&none, &NEEDS, &Capacity { disks: disk(364 * MB), ..ample() }).verdict, Verdict::Pass);
    }

    #[test]
    fn what_serves_is_the_measure_of_memory_and_configuration_may_ask_for_more() {
        let none = BTreeMap::new();
        let large = Needs { measured_bytes: Some(501 * MB), ..NEEDS };
        assert_eq!(judged(&none, &large, &ample()).reason, "not enough: memory needs 1002 MB, has 1000 MB");
        let limits = BTreeMap::from([("disk_mb", ">= 20000".parse().unwrap()), ("ports", ">= 10".parse().unwrap())]);
        assert_eq!(judged(&limits, &NEEDS, &ample()).reason, "not enough: disk needs 364 MB and >= 20000, has 10000 MB");
    }

    #[test]
    fn what_is_not_known_is_no_pass_and_a_person_says_it() {
        let (directive, digest, by) = ("SD-DEPLOY-001".into(), Sha256::of(b"a"), "dana".into());
        let ask = Ask { directive: &directive, by: "phase phase-06", now: Timestamp(100) };
        let word = [SignedFact { fact: FACT, digest: &digest, accepted: true, by: &by, at: Timestamp(50) }];
        let judged = |has, word: &[SignedFact<'_>]| evaluate(ask, &BTreeMap::new(), &NEEDS, has, (&digest, word));
        let partly = Capacity { memory_bytes: None, ..ample() };
        let portless = Capacity { ports: None, ..ample() };
        let diskless = Capacity { disks: Vec::new(), ..ample() };
        for has in [Ok(None), Ok(Some(&partly)), Ok(Some(&portless)), Ok(Some(&diskless))] {
            let open = judged(has, &[]);
            assert_eq!((open.verdict, open.who), (Verdict::Inconclusive, Some(Who::Person)), "{open:?}");
            assert_eq!(open.how.as_deref(), Some("interlock sign-off SD-DEPLOY-001 quota"));
            assert_eq!(judged(has, &word).verdict, Verdict::Pass);
        }
        // What is known to be short, nobody signs away; and a target that broke down says nothing.
        let short = Capacity { ports: Some(0), memory_bytes: None, ..ample() };
        assert_eq!(judged(Ok(Some(&short)), &word).verdict, Verdict::Fail);
        assert_eq!(judged(Err("no answer"), &word).verdict, Verdict::Inconclusive);
    }
}
