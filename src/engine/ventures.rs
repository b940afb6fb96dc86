//! Ventures: which one a directive belongs to, where it stands, what its stage needs, and how its deployments go.
//!
//! A venture goes forward in one place only, the transaction that completes a directive ([`crate::store::Store::complete_directive`]).

use super::{
    Engine,
    facts::Fact,
    metrics::{self, Selection, figure::Rating},
};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, Directive, DirectiveId, text},
    phases::Phase,
    store::{Stage, StageWork, Venture},
};

/// The two lifecycles.
pub const LIFECYCLES: [&str; 2] = ["vision_v2", "workflow"];
/// The longest id and name.
const NAME_CHARS: usize = 100;
/// How far back a venture's health looks, unless there is more than it looks at.
const HEALTH_DAYS: u32 = 30;

/// What a caller says about a new venture.
#[derive(Debug, Clone, Default)]
pub struct NewVenture {
    /// Its name.
    pub name: String,
    /// Its id; made from the name when absent.
    pub id: Option<String>,
    /// Where it stands in Vision V2; 1 when absent.
    pub lifecycle_stage: Option<i64>,
    /// Where it stands in the 40-stage workflow; 1 when absent.
    pub workflow_stage: Option<i64>,
}

/// Where a venture stands in one lifecycle.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Standing {
    /// The stage.
    pub stage: Stage,
    /// How its work stands: `not_started` where nothing was begun.
    pub status: String,
    /// The directive that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directive: Option<DirectiveId>,
    /// What must exist before the venture goes on, and does not yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_artifacts: Vec<String>,
    /// The name of the stage after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A venture, as the record has it now.
#[derive(Debug, Clone, PartialEq)]
pub struct VentureView {
    /// The venture.
    pub venture: Venture,
    /// Whether directives that name none belong to it.
    pub is_the_active_one: bool,
    /// Its place in each lifecycle.
    pub standings: Vec<Standing>,
    /// Work at stages it has passed.
    pub passed: Vec<StageWork>,
    /// How its deployments have gone.
    pub health: Rating,
}

impl Engine {
    /// Records a venture where it stands; the same one again comes back with `true`. Refuses to move one that is there, and one that
    /// would begin beyond the stages whose work is a deployment: those are passed here.
    pub async fn create_venture(&self, by: &Caller, new: NewVenture) -> Result<(Venture, bool)> {
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS {
            return Err(Error::invalid(format!("`name` has 1 to {NAME_CHARS} characters")));
        }
        let id = new.id.unwrap_or_else(|| slug(name));
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if id.is_empty() || id.len() > NAME_CHARS || !id.bytes().all(fits) {
            return Err(Error::invalid(format!("`venture` has 1 to {NAME_CHARS} lower-case letters, digits, `-` or `_`")));
        }
        let asked = [new.lifecycle_stage, new.workflow_stage];
        for (lifecycle, stage) in LIFECYCLES.into_iter().zip(asked) {
            self.refuse_late_start(lifecycle, stage.unwrap_or(1)).await?;
        }
        let [lifecycle, workflow] = asked.map(|stage| stage.unwrap_or(1));
        let (venture, existing) = self.store.create_venture(by, &id, name, lifecycle, workflow).await?;
        if existing && venture.name != name {
            return Err(Error::new(Code::WrongState, format!("`{id}` is there, by another name")).hint("give it another id with `venture`"));
        }
        for (lifecycle, (asked, stands)) in LIFECYCLES.into_iter().zip(asked.into_iter().zip(places(&venture))) {
            if existing && asked.is_some() && asked != stands {
                let stands = stands.map_or("no stage".into(), |stage| format!("stage {stage}"));
                let message = format!(
                    "`{id}` stands at {stands} of {lifecycle}, not at {}; it passes one stage at a time, when the server completes its directive",
                    asked.unwrap_or_default()
                );
                return Err(Error::new(Code::StageSkipped, message));
            }
        }
        Ok((venture, existing))
    }

    async fn refuse_late_start(&self, lifecycle: &str, stage: i64) -> Result<()> {
        let stages = self.store.stages(lifecycle).await?;
        let deploys = stages.iter().filter(|one| one.sd_required).map(|one| one.number).max().unwrap_or(i64::MAX);
        if stage < 1 || stage > stages.len() as i64 {
            return Err(Error::invalid(format!("{lifecycle} has stages 1 to {}", stages.len())));
        }
        if stage > deploys {
            let message =
                format!("stage {stage} of {lifecycle} comes after {deploys}, which is passed here by a directive that is completed");
            return Err(Error::new(Code::StageSkipped, message).hint(format!("begin it at {deploys} or before, and deploy it")));
        }
        Ok(())
    }

    /// Returns a venture as the record has it; the active one when none is named.
    pub async fn venture_view(&self, named: Option<&str>) -> Result<VentureView> {
        let active = self.store.active_venture().await?;
        let venture = match named {
            Some(id) => self.store.venture(id).await?.ok_or_else(|| Error::not_found("venture", id))?,
            None => active
                .clone()
                .ok_or_else(|| Error::new(Code::NotFound, "there is no active venture").hint("record one with `create_venture`"))?,
        };
        let mut work = self.store.stage_work(&venture.id).await?;
        let mut standings = Vec::new();
        for (lifecycle, stands) in LIFECYCLES.into_iter().zip(places(&venture)) {
            let Some(number) = stands else { continue };
            let stages = self.store.stages(lifecycle).await?;
            let next = stages.iter().find(|stage| stage.number == number + 1).map(|stage| stage.name.clone());
            let Some(stage) = stages.into_iter().find(|stage| stage.number == number) else { continue };
            let at = work.iter().position(|work| work.lifecycle == lifecycle && work.stage == number);
            let begun = at.map(|at| work.remove(at));
            let directive = begun.as_ref().and_then(|work| work.directive.clone());
            let missing_artifacts = match &directive {
                Some(directive) => self.store.missing_stage_artifacts(directive).await?,
                None => stage.required_artifacts.clone(),
            };
            let status = begun.map_or_else(|| "not_started".to_owned(), |work| work.status);
            standings.push(Standing { stage, status, directive, missing_artifacts, next });
        }
        let health = self.health(&venture.id).await?;
        let is_the_active_one = active.is_some_and(|active| active.id == venture.id);
        Ok(VentureView { venture, is_the_active_one, standings, passed: work, health })
    }

    /// Returns the venture a new directive belongs to: the named one, else the active one, else none. Refuses a directive whose phase
    /// governs a stage that the venture has not reached.
    pub(super) async fn venture_for(&self, named: Option<&str>, phase: Option<&Phase>) -> Result<Option<String>> {
        let venture = match named {
            Some(id) => {
                Some(self.store.venture(id).await?.ok_or_else(|| Error::not_found("venture", id).hint("record it with `create_venture`"))?)
            }
            None => self.store.active_venture().await?,
        };
        let Some(venture) = venture else { return Ok(None) };
        if let Some(phase) = phase {
            for (lifecycle, stands) in LIFECYCLES.into_iter().zip(places(&venture)) {
                let stages = self.store.stages(lifecycle).await?;
                let governed = stages.iter().find(|stage| stage.governed_by.as_ref() == Some(&phase.name));
                if let (Some(stage), Some(stands)) = (governed, stands)
                    && stands < stage.number
                {
                    let message = format!(
                        "`{}` stands at stage {stands} of {lifecycle}; `{}` is the work of stage {}, and no stage is skipped",
                        text::visible_line(&venture.id, 60),
                        phase.name,
                        stage.number
                    );
                    return Err(Error::new(Code::StageSkipped, message));
                }
            }
        }
        Ok(Some(venture.id))
    }

    /// Returns what the stage whose work this directive carries still lacks, each as the fact that asks for it.
    pub(super) async fn lacks_for_its_stage(&self, directive: &Directive) -> Result<Vec<(String, Fact)>> {
        if directive.venture.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.store.missing_stage_artifacts(&directive.id).await?.iter().map(|name| lacking(name)).collect())
    }

    /// Returns how the deployments of a directive's venture have gone; none without a venture, or where nothing is known.
    pub(super) async fn health_of(&self, directive: &Directive) -> Result<Option<&'static str>> {
        let Some(venture) = &directive.venture else { return Ok(None) };
        Ok(Some(self.health(venture).await?).filter(|rating| *rating != Rating::Unknown).map(Rating::as_str))
    }

    /// Notes on the stage's work that a directive carries how its venture's deployments have gone.
    pub(super) async fn rate_stage(&self, directive: &DirectiveId) -> Result<()> {
        let directive = self.directive(directive).await?;
        if directive.venture.is_some() {
            self.store.rate_stage_work(&Caller::server(), &directive.id, self.health_of(&directive).await?).await?;
        }
        Ok(())
    }

    async fn health(&self, venture: &str) -> Result<Rating> {
        let selection = Selection { venture: Some(venture.to_owned()), ..Selection::of_days(self.clock.now(), HEALTH_DAYS) };
        Ok(metrics::health(&self.metrics(&self.lately(selection).await?).await?))
    }
}

/// Returns a missing artifact as the fact that asks for it.
pub(super) fn lacking(artifact: &str) -> (String, Fact) {
    match artifact {
        "deployment_runbook" => {
            ("runbook_written".into(), Fact::Missing("the stage needs a runbook that is in review or published".into()))
        }
        name => (format!("artifact {name}"), Fact::Missing(format!("the stage needs the artifact `{name}`"))),
    }
}

/// Returns where a venture stands, in the order of [`LIFECYCLES`].
fn places(venture: &Venture) -> [Option<i64>; 2] {
    [venture.current_lifecycle_stage, venture.current_workflow_stage]
}

/// Returns an id made from a name: `Corner Shop` is `corner-shop`.
fn slug(name: &str) -> String {
    let words: Vec<String> =
        name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_from_the_name() {
        assert_eq!([slug("Corner Shop"), slug(" E2E: Direct/Access 17 "), slug("ü")], ["corner-shop", "e2e-direct-access-17", ""]);
    }
}
