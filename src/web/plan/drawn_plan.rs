//! Plans whose every field is drawn, hostile texts among them.

use crate::model::{
    assessment::{Assessment, Classification, Recommendation, Risk},
    comparator::{Comparator, Operator},
    data::{BackupEvidence, DataReturn, HookPoint, PlannedMigration, PlannedReturn},
    metric::{MetricSource, MetricSpec},
    migration::MigrationClass,
    plan::*,
    *,
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use std::collections::BTreeMap;

/// What turns text round, hides it, moves the cursor, or looks like something else; written out, and not asked of the code under test.
pub const HOSTILE: &[&str] = &[
    "\u{202e}",
    "\u{2066}",
    "\u{2069}",
    "\u{200e}",
    "\u{61c}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{2060}",
    "\u{ad}",
    "\u{34f}",
    "\u{180b}",
    "\u{3164}",
    "\u{e0041}",
    "\u{fe0f}",
    "\u{1d173}",
    "\u{2028}",
    "\u{0}",
    "\u{7}",
    "\u{8}",
    "\r",
    "\u{7f}",
    "\u{9b}2J",
    "\u{1b}[2J",
    "\u{1b}]8;;http://x\u{7}",
    "\u{1b}[1A\u{1b}[2K",
    "p\u{430}yment",
    "\u{440}roduction",
    "\u{ff11}.0",
    "\u{1d41a}dmin",
    "\n",
    "\n\n",
    "\t",
    "\"",
    "\\",
    "\\u202e",
    "</dd></dl>",
    "<b>",
    "&lt;",
    "'",
    "\": \"",
    "\n  approval.role: \"intern\"",
    "{release}",
    "\u{5d0}\u{5d1} 1",
    "😀",
    "e\u{301}\u{301}\u{301}",
    "",
    " ",
    "null",
    "[]",
    "1.0",
    "true",
];

/// A line that pushes others out of sight.
pub const PADDING: &str = "padding\n";

/// A text of one to three parts, one in two of them hostile.
fn text(random: &mut StdRng) -> String {
    let words = ["web", "1.4.0", "start", "staging", "the orders", "dep_1", "x"];
    let mut said: String =
        (0..random.random_range(1..4)).map(|_| if random.random_bool(0.5) { one(random, HOSTILE) } else { one(random, &words) }).collect();
    if random.random_bool(0.0005) {
        said += &PADDING.repeat(5_000);
    }
    said
}

fn one<T: Clone>(random: &mut StdRng, of: &[T]) -> T {
    of.choose(random).expect("something to draw from").clone()
}

fn maybe<T>(random: &mut StdRng, of: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    random.random_bool(0.5).then(|| of(random))
}

fn some<T>(random: &mut StdRng, of: impl Fn(&mut StdRng) -> T) -> Vec<T> {
    (0..random.random_range(0..3)).map(|_| of(random)).collect()
}

fn hash(random: &mut StdRng) -> Sha256 {
    Sha256::of(&random.random::<[u8; 8]>())
}

fn number(random: &mut StdRng) -> u64 {
    // What JSON's numbers hold exactly (RFC 8785).
    random.random_range(0..1 << 53)
}

fn small(random: &mut StdRng) -> u32 {
    random.random()
}

/// Returns one of the actions. A new one does not compile until it is drawn here, too.
fn action(random: &mut StdRng) -> Action {
    let index = small(random);
    let at = one(
        random,
        &[HookPoint::BeforeStart, HookPoint::BeforeShift, HookPoint::AfterShift, HookPoint::AfterSuccess, HookPoint::AfterRollback],
    );
    let all = [
        Action::Recheck,
        Action::Prepare,
        Action::Backup,
        Action::Migrate,
        Action::ReturnData,
        Action::Hook { at },
        Action::Start { index },
        Action::VerifyInstances,
        Action::VerifyBatch { from: index, to: small(random) },
        Action::Rehearse,
        Action::Shift,
        Action::ShiftPart { percent: index },
        Action::Analyse { percent: index, duration_ms: number(random), at_most_ms: number(random) },
        Action::Replace { to: index },
        Action::RetireReplaced { to: index },
        Action::VerifyListener,
        Action::Drain,
        Action::Bake { duration_ms: number(random) },
        Action::Retire,
    ];
    one(random, &all)
}

fn metric(random: &mut StdRng) -> MetricSpec {
    let headers: BTreeMap<String, String> =
        (0..random.random_range(0..2)).map(|_| (text(random).replace(PADDING, ""), text(random))).collect();
    let source = match random.random_range(0..3) {
        0 => MetricSource::Prometheus { address: text(random), query: text(random), headers },
        1 => MetricSource::Json { address: text(random), pointer: text(random), headers },
        _ => MetricSource::Command { run: some(random, text), pointer: maybe(random, text) },
    };
    let operator = one(random, &[Operator::AtLeast, Operator::AtMost, Operator::Equal]);
    let threshold = Comparator { operator, number: f64::from(small(random)) / 1_000.0 };
    MetricSpec { name: text(random), source, threshold, interval_ms: number(random), timeout_ms: number(random) }
}

fn data_return(random: &mut StdRng) -> DataReturn {
    let migrations = some(random, text);
    if random.random() { DataReturn::Down { migrations } } else { DataReturn::Restore { migrations } }
}

fn planned_return(random: &mut StdRng) -> PlannedReturn {
    let backup = |random: &mut StdRng| BackupEvidence {
        location: text(random),
        sha256: maybe(random, hash),
        hashed_here: random.random(),
        size_bytes: maybe(random, number),
        taken_at: Timestamp(random.random_range(0..4_000_000_000_000)),
        verified: random.random(),
        restore_rehearsed: random.random(),
    };
    PlannedReturn { of: text(random).into(), data: data_return(random), loses: maybe(random, text), backup: maybe(random, backup) }
}

fn assessment(random: &mut StdRng) -> Assessment {
    Assessment {
        classification: one(random, &[Classification::Public, Classification::Internal, Classification::Confidential]),
        threats: some(random, text),
        mitigations: some(random, text),
        risk: one(random, &[Risk::Low, Risk::Medium, Risk::High]),
        rollback: text(random),
        monitoring: text(random),
        recommendation: one(random, &[Recommendation::Proceed, Recommendation::ProceedWithCaution]),
    }
}

fn migration(random: &mut StdRng) -> PlannedMigration {
    PlannedMigration {
        name: text(random),
        sha256: hash(random),
        class: one(random, &[MigrationClass::Expand, MigrationClass::Backfill, MigrationClass::Unknown, MigrationClass::Contract]),
        reason: text(random),
        loses_data: random.random(),
        warnings: some(random, text),
    }
}

fn gate(random: &mut StdRng) -> PlannedGate {
    PlannedGate {
        gate: text(random).into(),
        rule: text(random),
        asked_by: text(random),
        verdict: one(random, &[Verdict::Pass, Verdict::Fail, Verdict::Inconclusive]),
        value: maybe(random, text),
        evidence_sha256: maybe(random, hash),
    }
}

fn step(random: &mut StdRng) -> Step {
    Step {
        id: text(random).into(),
        action: action(random),
        title: text(random),
        undo: maybe(random, text),
        reversibility: one(random, &[Reversibility::Free, Reversibility::Compensable, Reversibility::Pivot]),
        timeout_ms: number(random),
    }
}

/// Returns a plan whose every field is drawn; a new field does not compile until it is drawn here, too.
pub fn plan(random: &mut StdRng) -> Plan {
    let kinds = [RollbackKind::Traffic, RollbackKind::Database, RollbackKind::Full, RollbackKind::ForwardOnly, RollbackKind::Withdraw];
    Plan {
        schema: small(random),
        project: text(random),
        directive: text(random).into(),
        service: text(random).into(),
        environment: text(random).into(),
        purpose: if random.random() { Purpose::Deploy } else { Purpose::Rollback { of: text(random).into() } },
        version: text(random),
        commit: maybe(random, text),
        digest: hash(random),
        base: maybe(random, |random| Base { deployment: text(random).into(), version: text(random), digest: hash(random) }),
        attempt: small(random),
        strategy: one(random, &[Strategy::BlueGreen, Strategy::Canary, Strategy::Rolling]),
        config_sha256: hash(random),
        phase: maybe(random, |random| PlannedPhase {
            name: text(random),
            sha256: hash(random),
            risk: maybe(random, |random| random.random()),
        }),
        gates: some(random, gate),
        live_gates: some(random, |random| text(random).into()),
        migrations: some(random, migration),
        data_return: maybe(random, planned_return),
        returns_to: maybe(random, |random| text(random).into()),
        steps: some(random, step),
        rollback: Rollback {
            kind: one(random, &kinds),
            to_version: maybe(random, text),
            summary: text(random),
            until: maybe(random, text),
            loses: maybe(random, text),
            data: maybe(random, data_return),
            automatic: random.random(),
        },
        command: some(random, text),
        guarantees: Guarantees {
            atomic_switch: random.random(),
            drain_signal: random.random(),
            measures: random.random(),
            summary: text(random),
        },
        watch: Watch { error_percent: small(random), p95_ms: number(random), sustained_ms: number(random), min_samples: number(random) },
        metrics: some(random, metric),
        assessment: maybe(random, assessment),
        approval: maybe(random, |random| RequiredApproval {
            role: text(random),
            expires_ms: number(random),
            signatures: small(random),
            four_eyes: random.random(),
        }),
    }
}

/// Characters that nobody sees, of every kind in [`HOSTILE`] and more.
pub const HIDDEN: &[char] = &[
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{200e}',
    '\u{200f}',
    '\u{61c}',
    '\u{200b}',
    '\u{200c}',
    '\u{200d}',
    '\u{feff}',
    '\u{2060}',
    '\u{ad}',
    '\u{34f}',
    '\u{180b}',
    '\u{180e}',
    '\u{3164}',
    '\u{e0041}',
    '\u{fe0f}',
    '\u{1d173}',
    '\u{2028}',
    '\u{2029}',
];

/// Letters of other scripts in words of [`HOSTILE`] that are Latin otherwise.
pub const BORROWED: &[char] = &['\u{430}', '\u{440}', '\u{1d41a}'];
