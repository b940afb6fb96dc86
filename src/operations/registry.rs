//! The operations one server offers, and the one way every edge calls them.

use super::{
    Context, Effect, Entry, Progress, Toolset, arguments, may_call,
    refusal::{self, RecentAttempts},
};
use crate::{
    engine::{Engine, asked::Asked},
    error::{Code, Error},
    model::{Caller, text},
};
use serde_json::Value;
use std::sync::Arc;

/// The operations one server offers.
#[derive(Clone)]
pub struct Registry {
    entries: Arc<[Entry]>,
    /// What an agent is offered.
    toolsets: Vec<Toolset>,
    /// What an agent may ask for.
    allowed: Vec<Toolset>,
    attempts: Arc<RecentAttempts>,
    engine: Result<Arc<Engine>, Error>,
    /// Where the server's pages are: `http://localhost:4317`; none without a server.
    pages: Option<Arc<str>>,
}

/// A call that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// What the caller is told, as every edge shows it.
    pub body: Value,
}

impl Registry {
    /// Returns every operation over this engine.
    pub fn over(engine: Arc<Engine>) -> Self {
        Self::with_entries(super::all(), Ok(engine))
    }

    /// Returns every operation without a server behind: they are listed, and each call says why it cannot work.
    pub fn refusing(why: Error) -> Self {
        Self::with_entries(super::all(), Err(why))
    }

    /// Returns a registry of other operations, for tests of the edges.
    #[doc(hidden)]
    pub fn with_entries(entries: Vec<Entry>, engine: Result<Arc<Engine>, Error>) -> Self {
        let (toolsets, allowed) = (vec![Toolset::Core], Toolset::ALL.to_vec());
        Registry { entries: entries.into(), toolsets, allowed, attempts: Arc::default(), engine, pages: None }
    }

    /// Offers agents these toolsets, and no others to those who ask.
    pub fn offering(mut self, toolsets: &[Toolset]) -> Self {
        (self.toolsets, self.allowed) = (toolsets.to_vec(), toolsets.to_vec());
        self
    }

    /// Returns the same operations for an agent that asks for these toolsets; what is not allowed it does not get.
    pub fn asked_for(&self, toolsets: &[Toolset]) -> Self {
        let toolsets = toolsets.iter().copied().filter(|toolset| self.allowed.contains(toolset)).collect();
        Registry { toolsets, ..self.clone() }
    }

    /// Returns the same operations, whose answers say beside the first command that signs at which address of these pages the same is
    /// decided.
    pub fn with_pages_at(&self, origin: &str) -> Self {
        Registry { pages: Some(origin.into()), ..self.clone() }
    }

    /// Returns the engine behind; none where there is only a reason why not.
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref().ok()
    }

    /// Returns what this caller may call, in a fixed order.
    pub fn listed(&self, caller: &Caller) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| may_call(entry, caller, &self.toolsets))
    }

    /// Returns the operation of this name, when this caller may call it.
    pub fn find(&self, caller: &Caller, name: &str) -> Option<&Entry> {
        self.listed(caller).find(|entry| entry.name == name)
    }

    /// Returns every operation there is, offered or not.
    pub fn known(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns why this caller gets no operation of this name.
    fn why_not(&self, name: &str) -> Error {
        match self.entries.iter().find(|entry| entry.name == name) {
            None => Error::not_found("operation", name).hint("see the list of tools for what there is"),
            Some(entry) => {
                let toolset = entry.toolset.as_str();
                Error::new(Code::NotOffered, format!("`{name}` is in the toolset `{toolset}`, which is not offered here"))
                    .hint(format!("start the agent's side with `interlock mcp --toolsets core,{toolset}`, or the server with `--toolsets`"))
            }
        }
    }

    /// Calls an operation.
    pub async fn call(&self, caller: Caller, progress: Progress, name: &str, arguments: Value) -> Result<Value, Refused> {
        let Some(entry) = self.find(&caller, name) else {
            return Err(self.refuse(&caller, name, &arguments, self.why_not(name)));
        };
        let (call, effect) = (entry.call, entry.effect);
        self.run(caller, progress, name, arguments, |ctx, arguments| {
            let Caller { principal, via, .. } = &ctx.caller;
            match effect {
                // It changes nothing, and who waits looks again and again.
                Effect::Reads => tracing::debug!(operation = name, %principal, ?via, "calling `{name}`"),
                _ => tracing::info!(operation = name, %principal, ?via, "calling `{name}`"),
            }
            call(ctx, arguments)
        })
        .await
    }

    /// Runs anything that takes arguments and answers like an operation: checks, calls, counts the refusal.
    pub async fn run<F: Future<Output = Result<Value, Error>>>(
        &self,
        caller: Caller,
        progress: Progress,
        name: &str,
        arguments: Value,
        call: impl FnOnce(Arc<Context>, Value) -> F,
    ) -> Result<Value, Refused> {
        let outcome = match (arguments::checked(arguments.clone()), &self.engine) {
            (Err(error), _) => Err(error),
            (_, Err(why)) => Err(why.clone()),
            (Ok(checked), Ok(engine)) => {
                let ctx = Arc::new(Context { engine: engine.clone(), caller: caller.clone(), progress });
                call(ctx, checked).await
            }
        };
        match outcome {
            Ok(reply) => {
                self.attempts.forget(|| refusal::name_of_call(&caller.principal, name, &arguments));
                Ok(self.addressed(reply))
            }
            Err(error) => Err(self.refuse(&caller, name, &arguments, error)),
        }
    }

    /// Counts a refusal and words it.
    pub fn refuse(&self, caller: &Caller, name: &str, arguments: &Value, error: Error) -> Refused {
        let attempts = self.attempts.add(&refusal::name_of_call(&caller.principal, name, arguments), error.code);
        tracing::info!(operation = %text::visible_line(name, 60), principal = %caller.principal, code = %error.code, attempts, "refused: {}", error.message);
        let body = refusal::refusal(&error, name, arguments, attempts, |named| self.find(caller, named).is_some());
        Refused { error, body: self.addressed(body) }
    }

    /// Adds to the first action that takes a person's signature the address of the page where it is given, as `page`. Others have theirs
    /// there, too; an answer is short.
    fn addressed(&self, mut body: Value) -> Value {
        if let (Some(origin), Some(Value::Array(actions))) = (&self.pages, body.get_mut("next_actions")) {
            let asked = |action: &Value| action["command"].as_str().and_then(Asked::of_command);
            if let Some((action, asked)) = actions.iter_mut().find_map(|action| asked(action).map(|asked| (action, asked))) {
                action["page"] = format!("{origin}{}", asked.page()).into();
            }
        }
        body
    }
}
