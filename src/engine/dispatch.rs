//! Starts a service's CI workflow for a directive, and follows its run into the record.

use super::{Engine, planning::gates_refusal, progression::Step};
use crate::{
    error::{Code, Error, Result},
    model::{
        Caller, Directive, GateResult, Timestamp, Verdict,
        ci::{CheckState, CiConfig, CiFault, CiPlatform, CiRun, Dispatch},
        service::TargetKind,
    },
    store::{Job, JobState},
    targets::ci::platform,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The kind under which a run is recorded.
pub const KIND: &str = "workflow";
/// How often a run is asked after: a deployment takes minutes, and a platform counts questions.
const EVERY: Duration = Duration::from_secs(20);
/// How long a run may take to show under its name.
const APPEARS_WITHIN_MS: i64 = 10 * 60_000;
/// How long nobody can be asked about a run until it is given up: longer than platforms are down, shorter than people wait.
const GIVEN_UP_AFTER_MS: i64 = 60 * 60_000;

/// A run as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// What the run is told to be called.
    pub name: String,
    /// Which workflow.
    pub workflow: String,
    /// The branch it runs on.
    pub branch: String,
    /// The release's commit; a run on another one does not count.
    pub commit: String,
    /// The run; none while the platform does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<CiRun>,
    /// Why nothing more is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Since when nobody could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Timestamp>,
    /// Whether it is followed no more, because that is too long. Its job stays open: it is asked after whenever somebody asks for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Whether the platform said no to starting it: only then is it started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
}

impl Engine {
    /// Starts the workflow of a directive's service for its environment, once; a run that there is comes back as it stands now, with `true`.
    ///
    /// Refused where approval is asked: Interlock cannot see what a workflow does, so only an approved plan deploys there. Refused while
    /// frozen, by every gate that would stop a deployment there, and where the base branch has moved on from the release's commit.
    pub async fn trigger_workflow(self: &Arc<Self>, by: &Caller, directive: &Directive) -> Result<(Job, Followed, bool)> {
        if let Some(job) = self.store.latest_job(&directive.id, KIND).await? {
            let followed = self::followed(&job)?;
            if job.state != JobState::Failed || !followed.is_refused {
                let was_given_up = followed.given_up;
                let (job, followed) = self.ask_after(job, followed, directive).await?;
                if was_given_up && !followed.given_up && job.state == JobState::Running {
                    self.follow(job.id.clone(), directive.clone());
                }
                return Ok((job, followed, true));
            }
        }
        let step = Step::of("trigger_workflow", json!({ "directive": directive.id }));
        self.may_begin(by, &directive.environment, step).await?;
        // What is cancelled or completed starts nothing any more.
        self.open_directive(&directive.id).await?;
        self.refuse_unmet_dependencies(directive).await?;
        if directive.nothing_built {
            // Its bytes are those that serve, and its commit is another: the gates would see the one, and the workflow run the other.
            let message = format!("nothing was built for `{}`: what the gates saw is not what would run", directive.id);
            return Err(
                Error::new(Code::WrongState, message).hint("build that commit, and call `create_directive` with `version` and `artifact`")
            );
        }
        let config = self.may_dispatch(directive).await?;
        self.refuse_failing_gates(by, directive).await?;
        let commit = directive
            .commit
            .clone()
            .ok_or_else(|| Error::new(Code::WrongState, format!("`{}` names no commit that a workflow could run on", directive.id)))?;
        self.refuse_other_build(directive, &commit).await?;
        let platform = platform(&config.access()).await.map_err(refused)?;
        let head = platform.branch(&config.base_branch).await.map_err(refused)?.head;
        if head != commit {
            return Err(Error::new(
                Code::WrongState,
                format!("`{}` is at {head}, and `{}` is for {commit}", config.base_branch, directive.id),
            )
            .hint("push that commit, or create a directive for what the branch has"));
        }
        let workflow = match config.platform {
            CiPlatform::Github => format!("deploy-{}.yml", directive.service),
            CiPlatform::Gitlab => ".gitlab-ci.yml".to_owned(),
        };
        let name = format!("interlock-{:016x}", rand::random::<u64>());
        let mut detail = Followed {
            name,
            workflow,
            branch: config.base_branch.clone(),
            commit,
            run: None,
            fault: None,
            silent_since: None,
            given_up: false,
            is_refused: false,
        };
        // Written down before it happens: a run that was started is never forgotten.
        let (job, existing) = self.store.start_job(by, &directive.id, KIND, &json!(detail)).await?;
        if existing {
            let followed = self::followed(&job)?;
            return Ok((job, followed, true));
        }
        match platform.dispatch(&order(&detail, directive)).await {
            Ok(run) => detail.run = run,
            // Whoever does not answer may have started it: it is looked for by its name.
            Err(fault @ (CiFault::TimedOut { .. } | CiFault::Unreachable(_) | CiFault::Malformed { .. })) => {
                detail.fault = Some(fault.to_string())
            }
            Err(fault) => {
                (detail.fault, detail.is_refused) = (Some(fault.to_string()), true);
                self.store.finish_job(by, &job.id, JobState::Failed, &json!(detail)).await?;
                return Err(refused(fault));
            }
        }
        self.store.update_job(by, &job.id, &json!(detail)).await?;
        self.follow(job.id.clone(), directive.clone());
        let (job, detail) = self.ask_after(job, detail, directive).await?;
        Ok((job, detail, false))
    }

    /// Follows a run until it ends or is given up, in the background.
    pub(crate) fn follow(self: &Arc<Self>, job: String, directive: Directive) {
        let engine = Arc::clone(self);
        self.spawn(async move {
            loop {
                tokio::select! {
                    () = engine.stopped() => return,
                    () = tokio::time::sleep(EVERY) => (),
                }
                let looked = async {
                    let Some(job) = engine.store.job(&job).await?.filter(|job| job.state == JobState::Running) else { return Ok(false) };
                    let detail = followed(&job)?;
                    let (job, detail) = engine.ask_after(job, detail, &directive).await?;
                    Ok::<_, Error>(job.state == JobState::Running && !detail.given_up)
                };
                match looked.await {
                    Ok(true) => (),
                    Ok(false) => return,
                    Err(error) => tracing::warn!("following the workflow of `{}`: {error}", directive.id),
                }
            }
        });
    }

    /// Asks how a run stands, and records what is new.
    async fn ask_after(&self, job: Job, mut detail: Followed, directive: &Directive) -> Result<(Job, Followed)> {
        if job.state != JobState::Running {
            return Ok((job, detail));
        }
        let before = detail.clone();
        let config = match self.service(&directive.environment, &directive.service).await {
            Ok((applied, ..)) => applied.config.ci.clone(),
            // Whoever took the service away took away whom to ask.
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => return Err(error),
        };
        let asked = match &config {
            Some(config) => match platform(&config.access()).await {
                Ok(platform) => platform.run(&order(&detail, directive), detail.run.as_ref().map(|run| run.id.as_str())).await,
                Err(fault) => Err(fault),
            },
            None => Err(CiFault::Unusable("no CI is configured any more".into())),
        };
        let state = recorded(&mut detail, asked, job.started_at, self.clock.now());
        if state != JobState::Running {
            self.store.finish_job(&Caller::server(), &job.id, state, &json!(detail)).await?;
        } else if detail != before {
            self.store.update_job(&Caller::server(), &job.id, &json!(detail)).await?;
        }
        let job = self.store.job(&job.id).await?.ok_or_else(|| Error::not_found("job", &job.id))?;
        let detail = followed(&job)?;
        Ok((job, detail))
    }

    /// Refuses where a gate that binds there does not pass, as a deployment is refused: a workflow begins at once, so those over the live
    /// world count too.
    async fn refuse_failing_gates(&self, by: &Caller, directive: &Directive) -> Result<()> {
        let gates = self.judge(by, directive).await?;
        let failing: Vec<&GateResult> = gates.iter().filter(|gate| gate.verdict != Verdict::Pass).collect();
        if failing.is_empty() { Ok(()) } else { Err(gates_refusal(&failing)) }
    }

    /// Refuses bytes that were first ordered for another commit than a directive names: the gates see the bytes, the workflow the commit.
    async fn refuse_other_build(&self, directive: &Directive, commit: &str) -> Result<()> {
        let release = self.store.release(&directive.digest).await?.ok_or_else(|| Error::not_found("release", &directive.digest))?;
        let built = match release.commit {
            Some(built) if built == commit => return Ok(()),
            Some(built) => format!("for commit {built}"),
            None => "without a commit".to_owned(),
        };
        let message = format!("the bytes of `{}` were first ordered {built}, and a workflow would run {commit}", directive.id);
        let hint = "build the commit it is to run, and create a directive for that; or create one with the `commit` those bytes are of";
        Err(Error::new(Code::WrongState, message).hint(hint).details(json!({ "digest": directive.digest, "commit": commit })))
    }

    /// Returns whom to ask, where a workflow may be started for a directive.
    async fn may_dispatch(&self, directive: &Directive) -> Result<CiConfig> {
        let (applied, environment, spec) = self.service(&directive.environment, &directive.service).await?;
        if matches!(spec.target, TargetKind::Ci(_)) {
            let message = format!("a workflow is the target of `{}` in `{}`: a deployment starts it", spec.service, environment.name);
            return Err(Error::new(Code::WrongState, message).hint("call `plan_deployment`, then `execute_deployment`"));
        }
        let asks = environment.approval.is_some() || self.phase_of(&environment.name).await?.is_some_and(|phase| phase.approval.is_some());
        if asks {
            return Err(Error::new(
                Code::DeniedByPolicy,
                format!("`{}` asks for approval: no workflow is started for it", environment.name),
            )
            .hint(
                "call `plan_deployment`: an approved plan alone deploys there; or a person starts the workflow, and it waits for the plan",
            ));
        }
        if let Some(frozen) = self.store.active_freezes(&environment.name, self.clock.now()).await?.first() {
            let reason = crate::model::text::visible_line(&frozen.freeze.reason, 200);
            return Err(Error::new(Code::Frozen, format!("`{}` is frozen: {reason}", environment.name)));
        }
        let services = applied.config.environments.values().flat_map(|environment| environment.services.keys());
        let is_shared = services.collect::<std::collections::BTreeSet<_>>().len() > 1;
        if is_shared && applied.config.ci.as_ref().is_some_and(|ci| ci.platform == CiPlatform::Gitlab) {
            let message = "a pipeline of `.gitlab-ci.yml` cannot say for which of several services it runs";
            return Err(Error::new(Code::DeniedByPolicy, message).hint("deploy with `plan_deployment`"));
        }
        applied.config.ci.clone().ok_or_else(|| {
            let hint = "write `[ci]` with `platform`, `repository`, `address` and `token` into interlock.toml, and run `interlock apply`";
            Error::new(Code::InvalidConfiguration, "no CI is configured").hint(hint)
        })
    }
}

/// Notes what the platform says of a run, and returns how its job stands. Only a success of the release's commit is one; one that nobody
/// can be asked about is neither.
fn recorded(detail: &mut Followed, asked: Result<Option<CiRun>, CiFault>, started_at: Timestamp, now: Timestamp) -> JobState {
    let silent_since = detail.silent_since.take().unwrap_or(now);
    (detail.fault, detail.given_up) = (None, false);
    match asked {
        Ok(Some(run)) => {
            let is_ours = run.commit.eq_ignore_ascii_case(&detail.commit);
            let state = run.state;
            detail.run = Some(run);
            if !is_ours {
                detail.fault = Some("it runs on another commit than the release's".into());
                return JobState::Failed;
            }
            match state {
                CheckState::Passed => JobState::Done,
                CheckState::Pending => JobState::Running,
                CheckState::Failed | CheckState::Silent => JobState::Failed,
            }
        }
        Ok(None) if now.0 - started_at.0 > APPEARS_WITHIN_MS => {
            detail.fault = Some("no run of that name has appeared; does its `run-name` hold `inputs.interlock`?".into());
            JobState::Failed
        }
        Ok(None) => JobState::Running,
        // A platform also says 404 of a run to whom it shows the repository no more: that is no end of the run.
        Err(fault) => {
            detail.fault = Some(fault.to_string());
            detail.silent_since = Some(silent_since);
            detail.given_up = now.0 - silent_since.0 >= GIVEN_UP_AFTER_MS;
            JobState::Running
        }
    }
}

/// Reads what the record has of a run.
pub(crate) fn followed(job: &Job) -> Result<Followed> {
    serde_json::from_value(job.detail.clone()).map_err(Error::internal)
}

fn order(detail: &Followed, directive: &Directive) -> Dispatch {
    Dispatch {
        workflow: detail.workflow.clone(),
        branch: detail.branch.clone(),
        environment: directive.environment.to_string(),
        inputs: Default::default(),
        name: detail.name.clone(),
    }
}

fn refused(fault: CiFault) -> Error {
    let (who, how) = fault.remedy();
    Error::new(Code::TargetFailed, format!("the CI platform did not start it: {fault}"))
        .who(who)
        .hint(how.replace("`run_predeploy_checks`", "`trigger_workflow`"))
}
