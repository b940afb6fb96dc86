//! An agent that knows nothing but the tools it is offered and what each reply says can be done next, and people who sign what they
//! are asked for: in this process or over stdio, the same script.

use interlock::model::DecisionKind;
use serde_json::{Value, json};

/// Where an agent calls, and people sign.
pub trait Ground {
    /// Calls a tool; returns its reply, or the body of the refusal.
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, Value>;
    /// Approves a subject, as the person whose word counts.
    async fn sign(&mut self, kind: DecisionKind, subject: Value);
    /// Returns the report that the agent has of this kind, which it hands over by its path.
    fn report(&self, kind: &str) -> String {
        panic!("nobody has a report of `{kind}`")
    }
}

/// The agent.
pub struct Agent<G> {
    /// Where it calls.
    pub ground: G,
    /// The tools it called, in their order; a call that waits is no call of its own.
    pub calls: Vec<String>,
    /// Every step that was shown as skipped.
    pub skipped: Vec<String>,
    signed: Vec<Value>,
}

impl<G: Ground> Agent<G> {
    /// Returns an agent that has done nothing yet.
    pub fn on(ground: G) -> Self {
        Agent { ground, calls: Vec::new(), skipped: Vec::new(), signed: Vec::new() }
    }

    /// Calls what must work.
    pub async fn must(&mut self, tool: &str, arguments: Value) -> Value {
        if arguments["wait_seconds"].is_null() {
            self.calls.push(tool.to_owned());
        }
        let answer = self.ground.call(tool, arguments.clone()).await;
        let seen = answer.unwrap_or_else(|refusal| panic!("{tool} {arguments}: {refusal:#}"));
        assert!(tool != "get_status" || seen.to_string().len() <= 2048, "{} bytes: {seen:#}", seen.to_string().len());
        seen
    }

    /// Opens the work order that is offered for this place; returns the directive's id, and what the reply says is next.
    pub async fn order(&mut self, environment: &str, version: &str, artifact: &str) -> (String, Value) {
        let seen = self.must("get_status", json!({ "service": "web", "environment": environment })).await;
        let offered = actions(&seen).iter().find(|action| action["tool"] == "create_directive");
        let mut arguments = offered.unwrap_or_else(|| panic!("no work order is offered: {seen:#}"))["arguments"].clone();
        (arguments["version"], arguments["artifact"]) = (version.into(), artifact.into());
        let opened = self.must("create_directive", arguments).await;
        (opened["directive"]["id"].as_str().unwrap().to_owned(), opened)
    }

    /// Follows what each reply offers until the directive stands so.
    pub async fn drive(&mut self, directive: &str, mut seen: Value, state: &str) {
        let mut last = Value::Bool(true);
        for _ in 0..80 {
            for step in seen["skipped"].as_array().into_iter().flatten().map(|step| step.as_str().unwrap().to_owned()) {
                if !self.skipped.contains(&step) {
                    self.skipped.push(step);
                }
            }
            if seen["state"] == state {
                return;
            }
            let chosen = self.chosen(&seen).unwrap_or_default();
            seen = match (chosen.is_null(), chosen == last) {
                (false, false) => self.take(directive, chosen.clone()).await,
                (true, false) => self.must("get_status", json!({ "directive": directive })).await,
                // What was done and is offered again takes its time.
                (_, true) => self.must("get_status", json!({ "directive": directive, "wait_seconds": 1 })).await,
            };
            last = if chosen == last { Value::Bool(true) } else { chosen };
        }
        panic!("no end: {seen:#}");
    }

    /// Returns what is done of what is offered: people sign once, and what they are asked for comes first.
    fn chosen(&self, seen: &Value) -> Option<Value> {
        let mut new = actions(seen).iter().filter(|action| !self.signed.contains(&action["command"]));
        let asked = |action: &&Value| action["command"].as_str().is_some_and(|command| command.starts_with("interlock sign-off"));
        new.clone().find(asked).or(new.find(|action| action["tool"].is_string() || action["command"].is_string())).cloned()
    }

    /// Does what an action names, as whoever is to do it; of two sign-offs the one that says no. Returns what was seen after it.
    async fn take(&mut self, directive: &str, action: Value) -> Value {
        let Some(command) = action["command"].as_str() else {
            let (tool, mut arguments) = (action["tool"].as_str().unwrap(), action["arguments"].clone());
            // What the server cannot know is the agent's to say.
            if arguments["assessment"].is_object() {
                arguments["assessment"] = assessment();
            }
            if tool == "record_evidence" {
                arguments["path"] = self.ground.report(arguments["kind"].as_str().unwrap()).into();
            }
            return self.must(tool, arguments).await;
        };
        let command = command.rsplit("or else ").next().unwrap().split(',').next().unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["interlock", "sign-off", of, fact] => {
                assert_eq!(of, directive);
                self.ground.sign(DecisionKind::SignOff, json!({ "directive": of, "fact": fact })).await;
            }
            ["interlock", "approve", plan] => self.ground.sign(DecisionKind::Plan, json!(plan)).await,
            ["interlock", "runbook", "publish", runbook] => self.ground.sign(DecisionKind::Runbook, json!(runbook)).await,
            _ => panic!("nobody knows `{command}`"),
        }
        self.signed.push(action["command"].clone());
        // Whoever waits for a person is told when it is decided.
        self.must("get_status", json!({ "directive": directive, "wait_seconds": 0 })).await
    }
}

/// Returns what a reply offers.
pub fn actions(seen: &Value) -> &[Value] {
    seen["next_actions"].as_array().map_or(&[], Vec::as_slice)
}

/// Returns what an agent has thought through before production.
pub fn assessment() -> Value {
    json!({
        "classification": "internal", "threats": ["a wrong price", "a full disk"], "mitigations": ["price tests"], "risk": "medium",
        "rollback": "one switch back", "monitoring": "orders per minute", "recommendation": "proceed_with_caution"
    })
}
