//! A dossier: what is claimed of a work order and whether the repository says so, where every statement comes from, how far it is proven, and
//! how to see it again.

use super::{
    before::{approved_by, head},
    case::Case,
    page::{Page, code},
    regenerate::commands_of,
    rubric::{Proof, Score, overall, scores},
};
use crate::{
    engine::{
        Engine,
        citations::{self, Checked, Mark},
        facts::Fact,
        lint::secret_in,
        rehearsal::rehearsal_of,
    },
    error::{Error, Result},
    model::{Caller, DirectiveState, Origin, StepState, Verdict},
    store::{Dossier, EvidenceRecord, StageWork},
};
use std::sync::Arc;

/// How many claims a dossier has at most, and how long one may be, in characters.
const MOST_CLAIMS: usize = 40;
const CLAIM_CHARS: usize = 1_000;

/// What an agent says for a dossier.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Claims, each with what it cites; what is kept stays where there are none.
    pub claims: Option<Vec<String>>,
    /// Commands that regenerate it; likewise.
    pub commands: Option<Vec<String>>,
    /// Whether the commands are to be run again.
    pub rerun: bool,
}

impl Said {
    /// Tells whether anything was said.
    pub fn is_something(&self) -> bool {
        self.claims.is_some() || self.commands.is_some() || self.rerun
    }
}

/// A claim, held against the repository.
struct Claim {
    /// The words before what it cites; all of them where it begins with that.
    words: String,
    /// What it cites, with what git says of it.
    cited: Vec<Checked>,
}

/// What a dossier is made of, beside the case.
pub struct Material {
    claims: Vec<Claim>,
    kept: Dossier,
    evidence: Vec<EvidenceRecord>,
    depends_on: Vec<(String, DirectiveState)>,
    stages: Vec<StageWork>,
    project: String,
}

impl Material {
    /// Returns what keeps the dossier from counting: claims that are not verified, commands that do not say what they said first.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (number, claim) in self.claims.iter().enumerate() {
            if claim.cited.is_empty() {
                faults.push(format!("claim {}: it cites nothing", number + 1));
            }
            for Checked { citation, mark, why } in claim.cited.iter().filter(|checked| checked.mark != Mark::Verified) {
                faults.push(format!("claim {}: {} is {mark}: {why}", number + 1, code(&citation.place)));
            }
        }
        let broken = self.kept.runs.iter().filter(|runs| !runs.holds());
        faults.extend(broken.map(|runs| format!("{} does not say again what it said first", code(&runs.command.join(" ")))));
        faults
    }

    fn are_verified(&self) -> (usize, usize) {
        let is_verified = |claim: &&Claim| !claim.cited.is_empty() && claim.cited.iter().all(|checked| checked.mark == Mark::Verified);
        (self.claims.iter().filter(is_verified).count(), self.claims.len())
    }
}

impl Engine {
    /// Keeps what an agent says for a dossier, holds its claims against the repository, and runs its commands where they are new or asked for.
    pub(super) async fn material(self: &Arc<Self>, by: &Caller, case: &Case, said: &Said) -> Result<Material> {
        let directive = &case.directive;
        let mut kept = self.store.dossier(&directive.id).await?;
        if let Some(claims) = &said.claims {
            check_claims(claims)?;
            kept.claims = claims.clone();
        }
        if let Some(commands) = &said.commands {
            kept.commands = commands_of(commands)?;
        }
        let have_run = kept.commands.iter().eq(kept.runs.iter().map(|runs| &runs.command));
        if said.rerun && kept.commands.is_empty() {
            return Err(Error::invalid("`rerun`: no command is kept for this dossier").hint("give `commands` first"));
        }
        if said.rerun || !have_run {
            kept.runs = self.regenerate(directive, &kept.commands, &kept.runs).await?;
        }
        self.store.keep_dossier(by, &directive.id, &kept).await?;
        let project = self.applied(&directive.environment).await?.config.project.clone();
        let mut claims = Vec::new();
        for text in &kept.claims {
            let cited = citations::cited(text);
            let words = cited.first().and_then(|first| text.split(&first.place).next());
            let words = words.unwrap_or(text).trim().trim_end_matches(['(', '`', ':', '-', '—']).trim();
            let words = if words.is_empty() { text } else { words }.to_owned();
            claims.push(Claim { words, cited: citations::check(&self.workspace.root, &project, cited).await });
        }
        let mut depends_on = Vec::new();
        for id in &directive.depends_on {
            depends_on.push((id.to_string(), self.directive(id).await?.state));
        }
        let mut stages = match &directive.venture {
            Some(venture) => self.store.stage_work(venture).await?,
            None => Vec::new(),
        };
        stages.retain(|work| work.directive.as_ref() == Some(&directive.id));
        let evidence = self.store.evidence_of(&directive.id).await?;
        Ok(Material { claims, kept, evidence, depends_on, stages, project })
    }
}

fn check_claims(claims: &[String]) -> Result<()> {
    if claims.len() > MOST_CLAIMS {
        return Err(Error::invalid(format!("`claims` has {}; at most {MOST_CLAIMS} are taken", claims.len())));
    }
    for (at, claim) in claims.iter().enumerate() {
        let number = at + 1;
        if claim.trim().is_empty() || claim.chars().count() > CLAIM_CHARS {
            return Err(Error::invalid(format!("`claims`: the {number}. has not 1 to {CLAIM_CHARS} characters")));
        }
        if let Some(shape) = secret_in(claim) {
            return Err(Error::invalid(format!("`claims`: the {number}. holds what looks like a secret (`{shape}`…)")));
        }
    }
    Ok(())
}

/// Returns the dossier, and how far the work order is proven.
pub fn dossier(case: &Case, material: &Material) -> (Page, Option<f64>) {
    let directive = &case.directive;
    let scores = scores(&proof(case, material));
    let overall = overall(&scores);
    let mut page = Page::titled(&format!("Dossier of {}", directive.id));
    page.section("Summary");
    head(&mut page, case);
    page.fact("Title", Some(code(&directive.title)));
    page.fact("Why", Some(code(&directive.rationale)));
    page.fact("Venture", directive.venture.as_deref().map(code));
    for work in &material.stages {
        page.say(format!("- Stage {} of {}: {}", work.stage, work.lifecycle, work.status));
    }
    page.fact("Phase", case.phase.as_ref().map(|phase| format!("{} {}: {}", phase.name, phase.version, phase.title)));
    page.fact("Hands over to", case.phase.as_ref().filter(|phase| !phase.next.is_empty()).map(|phase| phase.next.join(", ")));
    page.fact("Priority", Some(directive.priority.clone()));
    page.fact("Approved by", approved_by(case));
    page.fact("Score", overall.map(|score| format!("{score:.1} of 5")));
    page.section("Prerequisites");
    page.table(["Directive", "State"], material.depends_on.iter().map(|(id, state)| [id.clone(), state.as_str().to_owned()]));
    page.section("Claims");
    claims(&mut page, material);
    page.section("Sources");
    sources(&mut page, case, material);
    page.section("Score");
    rubric(&mut page, &scores);
    page.section("Regeneration");
    regeneration(&mut page, material);
    (page, overall)
}

fn claims(page: &mut Page, material: &Material) {
    let mut rows = Vec::new();
    for (number, claim) in material.claims.iter().enumerate() {
        let row = |place: String, mark: String, why: String| [(number + 1).to_string(), code(&claim.words), place, mark, why];
        if claim.cited.is_empty() {
            rows.push(row("none".into(), Mark::Unverifiable.to_string(), "it cites nothing".into()));
        }
        for Checked { citation, mark, why } in &claim.cited {
            let why = if why.is_empty() { String::new() } else { code(why) };
            rows.push(row(code(&citation.place), mark.to_string(), why));
        }
    }
    page.table(["No", "Claim (an agent's words)", "Place", "Mark", "Why"], rows);
}

/// What the repository and the record say it from: source, repository, commit, path, lines, purpose.
fn sources(page: &mut Page, case: &Case, material: &Material) {
    let mut rows: Vec<[String; 6]> = Vec::new();
    for claim in &material.claims {
        for Checked { citation, mark, .. } in &claim.cited {
            let [repository, commit, path, lines] =
                [&citation.repository, &citation.commit, &citation.path, &citation.lines].map(|word| code(word));
            rows.push([format!("citation, {mark}"), repository, commit, path, lines, code(&claim.words)]);
        }
    }
    let record = "the record".to_owned();
    let mut kept = |source: &str, hash: String, path: String, purpose: &str| {
        rows.push([source.into(), record.clone(), hash, path, "all".into(), purpose.into()]);
    };
    if let Some(phase) = &case.phase {
        kept("phase", phase.sha256.to_string(), format!("phases/{}", phase.name), "what is asked");
    }
    if let Some(record) = &case.plan {
        kept("plan", record.plan.sha256().to_string(), format!("plans/{}", record.id), "what was approved and run");
    }
    for evidence in &material.evidence {
        kept(
            &format!("evidence, {}", evidence.origin),
            evidence.sha256.to_string(),
            format!("evidence/{}", evidence.id),
            evidence.gate.as_str(),
        );
    }
    for artifact in case.artifacts.iter().filter(|artifact| !artifact.name.starts_with("dossier")) {
        kept("file", artifact.sha256.to_string(), code(&artifact.path), &artifact.name);
    }
    page.table(["Source", "Repo", "Commit or SHA-256", "Path", "Lines", "Purpose"], rows);
    page.say(format!("\nThe workspace's repository is cited as `{}`.", material.project));
}

fn rubric(page: &mut Page, scores: &[Score]) {
    let row = |score: &Score| {
        let shown = score.score.map_or("not scored".to_owned(), |value| format!("{value:.1}"));
        [score.of.to_owned(), shown, score.reason.clone()]
    };
    page.table(["Of", "0 to 5", "Reason"], scores.iter().map(row));
}

fn regeneration(page: &mut Page, material: &Material) {
    page.say("Read-only, each in a clean checkout of the commit; run again with `rerun`.\n");
    let row = |runs: &crate::store::CommandRuns| {
        let exit = match (&runs.last.fault, runs.last.exit_code) {
            (Some(fault), _) => code(fault),
            (None, Some(exit_code)) => exit_code.to_string(),
            (None, None) => "ended by a signal".into(),
        };
        [
            code(&serde_json::to_string(&runs.command).expect("words are JSON")),
            runs.last.commit.clone(),
            exit,
            runs.last.size_bytes.to_string(),
            runs.last.sha256.to_string(),
            if runs.holds() { "yes" } else { "no" }.into(),
        ]
    };
    page.table(["Command", "Commit", "Exit", "Bytes", "SHA-256", "Says what it said first"], material.kept.runs.iter().map(row));
    for runs in material.kept.runs.iter().filter(|runs| !runs.last.output.is_empty()) {
        page.say("");
        page.quote(&runs.last.output);
    }
}

fn proof(case: &Case, material: &Material) -> Proof {
    let holds = |fact: &str| case.facts.get(fact) == Some(&Fact::True);
    let report = case.report.as_ref();
    let watched = |report: &crate::engine::report::Report| report.step("bake").is_some_and(|entry| entry.state == StepState::Done);
    let counts = |record: &&EvidenceRecord| matches!(record.origin, Origin::Observed | Origin::Person | Origin::Attested);
    let asks = case.plan.as_ref().filter(|record| record.plan.approval.is_some());
    let rehearsed = report.and_then(|report| rehearsal_of(&report.steps)).is_some_and(|rehearsal| rehearsal.proven);
    Proof {
        gates: (case.gates.iter().filter(|gate| gate.verdict == Verdict::Pass).count(), case.gates.len()),
        evidence: (material.evidence.iter().filter(counts).count(), material.evidence.len()),
        approved: asks.map(|_| holds("approved")),
        way_back_tried: rehearsed || case.signed("rollback").is_some(),
        way_back_ready: holds("rollback_ready"),
        verified: [holds("deployed"), report.is_some_and(|report| report.smoke_passed()), report.is_some_and(watched)],
        requests: report
            .filter(|report| report.deployment.shifted_at.is_some())
            .map(|report| (report.traffic.requests, report.plan.watch.min_samples)),
        monitored: holds("monitoring_active") || case.signed("monitoring").is_some(),
        runbook: case.runbook.as_ref().map(|runbook| runbook.state.as_str()),
        claims: material.are_verified(),
    }
}
