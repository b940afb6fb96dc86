//! The steps of a phase held against the record: which is next, which is skipped and why, and what is asked. Pure.

use super::{Fact, Phase, PhaseStep, facts::meaning};
use std::collections::BTreeMap;

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every fact of its `done_when` holds.
    Done,
    /// A fact of its `when` does not hold; says which.
    Skipped(String),
    /// It is next. What is asked is what nobody knows yet, fact and question.
    Current(Vec<(String, String)>),
    /// It comes after the current one.
    Open,
}

impl Phase {
    /// Returns the first step that is neither done nor skipped; `None` when there is none.
    ///
    /// A fact that nobody knows counts neither as held nor as not held: its step asks. Only a fact of the record skips a step.
    pub fn current_step(&self, facts: &BTreeMap<String, Fact>) -> Option<&PhaseStep> {
        self.steps.iter().find(|step| matches!(standing(step, facts), Standing::Current(_)))
    }

    /// Returns every step with how it stands.
    pub fn checklist(&self, facts: &BTreeMap<String, Fact>) -> Vec<(&PhaseStep, Standing)> {
        let mut found = false;
        let line = |step| match standing(step, facts) {
            Standing::Current(_) if found => (step, Standing::Open),
            current @ Standing::Current(_) => {
                found = true;
                (step, current)
            }
            other => (step, other),
        };
        self.steps.iter().map(line).collect()
    }

    /// Returns the exit facts that do not hold. One that only skipped steps bring is not asked.
    pub fn open_exits<'a>(&'a self, facts: &'a BTreeMap<String, Fact>) -> impl Iterator<Item = &'a str> {
        let checklist = self.checklist(facts);
        let is_asked = move |fact: &&String| {
            let bringing = checklist.iter().filter(|(step, _)| step.done_when.contains(fact));
            let mut standings = bringing.map(|(_, standing)| matches!(standing, Standing::Skipped(_))).peekable();
            standings.peek().is_none() || !standings.all(|is_skipped| is_skipped)
        };
        self.exit.iter().filter(|fact| facts.get(*fact) != Some(&Fact::True)).filter(is_asked).map(String::as_str)
    }

    /// Returns what is asked for a fact: as long as nobody knows whether the step that brings it is needed at all, that, and else itself.
    pub fn asked_for<'a>(&'a self, fact: &'a str, facts: &BTreeMap<String, Fact>) -> &'a str {
        let mut bringing = self.steps.iter().filter(|step| step.done_when.iter().any(|done| done == fact));
        let whether = bringing.find_map(|step| {
            let is_skipped = step.when.iter().any(|fact| facts.get(fact) == Some(&Fact::False));
            step.when.iter().find(|fact| !is_skipped && facts.get(*fact) != Some(&Fact::True))
        });
        whether.map_or(fact, String::as_str)
    }

    /// Returns the fact of `skip_when` that holds, if any does.
    pub fn skipped_by(&self, facts: &BTreeMap<String, Fact>) -> Option<&str> {
        self.skip_when.iter().find(|fact| facts.get(*fact) == Some(&Fact::True)).map(String::as_str)
    }

    /// Tells whether every input is there that is shown by a fact and that no step of its own brings.
    pub fn has_inputs(&self, facts: &BTreeMap<String, Fact>) -> bool {
        let is_own = |fact: &String| self.steps.iter().any(|step| step.done_when.contains(fact));
        self.inputs.iter().filter_map(|input| input.fact.as_ref()).all(|fact| is_own(fact) || facts.get(fact) == Some(&Fact::True))
    }

    /// Returns every fact that its steps, exits, inputs and skips name.
    pub fn asked_facts(&self) -> impl Iterator<Item = &str> {
        let of_steps = self.steps.iter().flat_map(|step| step.when.iter().chain(&step.done_when));
        let of_inputs = self.inputs.iter().filter_map(|input| input.fact.as_ref());
        of_steps.chain(&self.exit).chain(&self.skip_when).chain(of_inputs).map(String::as_str)
    }
}

fn standing(step: &PhaseStep, facts: &BTreeMap<String, Fact>) -> Standing {
    if let Some(fact) = step.when.iter().find(|fact| facts.get(*fact) == Some(&Fact::False)) {
        return Standing::Skipped(format!("`{fact}` does not hold: {}", meaning(fact)));
    }
    let asked = |names: &[String]| -> Vec<(String, String)> {
        let question = |name: &String| match facts.get(name) {
            Some(Fact::True | Fact::False) => None,
            Some(Fact::Missing(question)) => Some((name.clone(), question.clone())),
            None => Some((name.clone(), format!("{}?", meaning(name)))),
        };
        names.iter().filter_map(question).collect()
    };
    let whether = asked(&step.when);
    if !whether.is_empty() {
        return Standing::Current(whether);
    }
    match step.done_when.iter().all(|fact| facts.get(fact) == Some(&Fact::True)) {
        true => Standing::Done,
        false => Standing::Current(asked(&step.done_when)),
    }
}
