//! Freezes: declared at once by anybody at the command line, in force by the clock, lifted by a decision only.

use super::Engine;
use crate::{
    error::{Error, Result},
    model::{Caller, EnvironmentName, Recurrence, recurrence},
    store::{Freeze, NewFreeze},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The longest reason.
const REASON_CHARS: usize = 500;

/// What somebody asks to be frozen, as they wrote it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Where; everywhere when none: the kill switch.
    pub environment: Option<EnvironmentName>,
    /// Why.
    pub reason: String,
    /// From when; at once when none. A rule counts from it.
    pub from: Option<String>,
    /// Until when; until it is lifted when none.
    pub until: Option<String>,
    /// An RFC 5545 rule.
    pub every: Option<String>,
    /// How long each of its windows lasts.
    pub lasts: Option<String>,
    /// The IANA time zone of the rule and of local times.
    pub zone: Option<String>,
}

/// Returns the command that lifts a freeze.
pub fn command(freeze: &str) -> String {
    format!("interlock unfreeze {freeze}")
}

impl Engine {
    /// Declares a freeze, in force at once unless it says when.
    pub async fn freeze(&self, by: &Caller, request: FreezeRequest) -> Result<Freeze> {
        let now = self.clock.now();
        if request.reason.trim().is_empty() || request.reason.chars().count() > REASON_CHARS {
            return Err(Error::invalid(format!("`reason` has 1 to {REASON_CHARS} characters: agents and people read it")));
        }
        if let Some(environment) = &request.environment {
            let known: Vec<EnvironmentName> = self.environments().await?.into_iter().map(|known| known.name).collect();
            if !known.contains(environment) {
                let known: Vec<&str> = known.iter().map(EnvironmentName::as_str).collect();
                return Err(Error::not_found("environment", environment).hint(format!("there are: {}", known.join(", "))));
            }
        }
        let mut new = NewFreeze { environment: request.environment, reason: request.reason, ..NewFreeze::default() };
        match (&request.every, &request.lasts, request.zone.as_deref()) {
            (Some(every), Some(lasts), Some(zone)) if request.until.is_none() => {
                let recurrence = Recurrence::read(every, lasts, zone, request.from.as_deref(), now).map_err(Error::invalid)?;
                new.recurrence = Some(recurrence);
            }
            (Some(_), _, _) => return Err(Error::invalid("a rule goes with a duration and a zone; its end is `UNTIL` in the rule")),
            (None, Some(_), _) => return Err(Error::invalid("a duration goes with a rule; a freeze that comes once ends at `until`")),
            (None, None, zone) => {
                let instant = |text: &Option<String>| text.as_deref().map(|text| recurrence::instant_of(text, zone)).transpose();
                new.starts_at = instant(&request.from).map_err(Error::invalid)?;
                new.ends_at = instant(&request.until).map_err(Error::invalid)?;
            }
        }
        if let Some(ends_at) = new.ends_at
            && ends_at <= new.starts_at.unwrap_or(now).max(now)
        {
            return Err(Error::invalid(format!("the freeze would be over at {ends_at}, before it begins; it is {now} now")));
        }
        let freeze = self.store.add_freeze(by, new).await?;
        tracing::warn!("`{}` declared by {}: {}", freeze.id, by.principal, freeze.reason);
        Ok(freeze)
    }

    /// Returns every freeze that is not over: whether it is in force, until when, and when next.
    pub async fn freezes(&self) -> Result<Value> {
        let now = self.clock.now();
        let mut shown = Vec::new();
        for freeze in self.store.standing_freezes(now).await?.into_iter().filter(|freeze| !freeze.is_over(now)) {
            let in_force = freeze.at(now);
            let next = match &freeze.recurrence {
                Some(recurrence) => recurrence.next(now).ok().flatten(),
                None => Some(freeze.starts_at).filter(|_| in_force.is_none()),
            };
            let lifts = self.store.freeze_lifts(&freeze.id).await?;
            let lifted_in: Vec<EnvironmentName> = lifts.into_iter().map(|(environment, _)| environment).collect();
            let mut entry = json!(freeze);
            entry["in_force"] = in_force.is_some().into();
            entry["until"] = json!(in_force.and_then(|in_force| in_force.until).map(|until| until.to_string()));
            entry["next"] = json!(next.map(|next| next.to_string()));
            entry["lifted_in"] = json!(lifted_in);
            shown.push(entry);
        }
        Ok(json!({ "freezes": shown }))
    }
}
