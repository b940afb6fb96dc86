//! `complete_directive`: asks the server to look at the exit gates; it completes by itself when they hold.

use super::{Context, Effect, OfDirective, Operation, Reply, Toolset, guidance};
use crate::{
    error::{Code, Error},
    model::{DirectiveId, Who},
    phases::Fact,
};
use serde::Serialize;

/// The facts that files in the workspace bring.
const FILES: [&str; 2] = ["report_written", "documents_written"];

/// The operation.
pub struct CompleteDirective;

/// What it says beside the envelope.
#[derive(Debug, Serialize)]
pub struct Output {
    directive: DirectiveId,
    completed: bool,
    /// Exit gates that do not hold: `false`, or `missing` while nobody has supplied them.
    missing: Vec<String>,
}

impl Operation for CompleteDirective {
    const NAME: &'static str = "complete_directive";
    const TOOLSET: Toolset = Toolset::Core;
    const EFFECT: Effect = Effect::Records;
    const MANUAL: &'static str = include_str!("../../tools/complete_directive.md");
    type Params = OfDirective;
    type Output = Output;

    async fn run(ctx: &Context, params: OfDirective) -> Result<Reply<Output>, Error> {
        let id = params.id();
        let directive = ctx.engine.directive(&id).await?;
        let missing = match ctx.engine.skip(&ctx.caller, &directive).await? {
            Some(_) => Vec::new(),
            None => {
                ctx.engine.ask_alerts_after(&ctx.caller, &directive).await?;
                let left_out = ctx.engine.write_what_was_left_out(&directive).await?;
                let missing = ctx.engine.complete(&ctx.caller, &directive).await?;
                if let Some(why) = left_out.first().filter(|_| missing.iter().any(|(fact, _)| FILES.contains(&fact.as_str()))) {
                    return Err(Error::new(Code::TargetFailed, why).who(Who::Person).hint("move it away, and call again"));
                }
                missing
            }
        };
        let directive = ctx.engine.directive(&id).await?;
        let completed = directive.state == crate::model::DirectiveState::Completed;
        let word = |fact: &Fact| if matches!(fact, Fact::False) { "false" } else { "missing" };
        let missing = if completed { Vec::new() } else { missing.iter().map(|(name, fact)| format!("{name}: {}", word(fact))).collect() };
        Ok(guidance::of_directive(&ctx.engine.view(&directive.id).await?).reply(Output { directive: id, completed, missing }))
    }
}
