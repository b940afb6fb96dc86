//! Freezes: while one is in force, its environment takes no deployment. Anybody at the command line declares one; lifting one is a decision.

use super::{
    Result, Store, Write,
    query::{Read, json as json_of, sql},
};
use crate::model::*;
use serde::Serialize;
use serde_json::json;
use sqlx::any::AnyRow;
use std::fmt;

/// A freeze to be declared.
#[derive(Debug, Clone, Default)]
pub struct NewFreeze {
    /// Where; everywhere when none.
    pub environment: Option<EnvironmentName>,
    /// Why.
    pub reason: String,
    /// From when; at once when none.
    pub starts_at: Option<Timestamp>,
    /// Until when; until it is lifted when none.
    pub ends_at: Option<Timestamp>,
    /// When it recurs; instead of the two.
    pub recurrence: Option<Recurrence>,
}

/// A time without deployments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freeze {
    /// `frz_1`.
    pub id: String,
    /// Where; everywhere when none.
    pub environment: Option<EnvironmentName>,
    /// Why.
    pub reason: String,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when; until it is lifted when none.
    pub ends_at: Option<Timestamp>,
    /// When it recurs.
    pub recurrence: Option<Recurrence>,
    /// Who declared it.
    pub created_by: String,
    /// When it was declared.
    pub created_at: Option<Timestamp>,
    /// Who lifted it.
    pub lifted_by: Option<ApproverName>,
    /// When it was lifted.
    pub lifted_at: Option<Timestamp>,
}

/// A freeze that is in force now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// The freeze.
    pub freeze: Freeze,
    /// Until when it lasts by itself; until it is lifted when none.
    pub until: Option<Timestamp>,
}

/// Every freeze that is in force now, each with where it was lifted.
#[derive(Debug, Default)]
pub struct Frozen(Vec<(InForce, Vec<EnvironmentName>)>);

impl Frozen {
    /// Returns those an environment is under, oldest first.
    pub fn of<'a>(&'a self, environment: &EnvironmentName) -> impl Iterator<Item = &'a InForce> {
        let holds = move |(frozen, lifted_in): &&(InForce, Vec<EnvironmentName>)| {
            frozen.freeze.environment.as_ref().is_none_or(|one| one == environment) && !lifted_in.contains(environment)
        };
        self.0.iter().filter(holds).map(|(frozen, _)| frozen)
    }
}

impl Freeze {
    /// Returns the freeze as it is in force at an instant, by the clock alone; none when it is not.
    pub fn at(&self, now: Timestamp) -> Option<InForce> {
        let until = match &self.recurrence {
            // What cannot be read is no permission.
            Some(recurrence) => recurrence.window(now).map_or(Some(None), |window| window.map(|window| window.until))?,
            None => {
                // What had begun when it was declared stays begun when the clock is set back.
                let has_begun = self.starts_at <= now || self.created_at.is_some_and(|declared| self.starts_at <= declared);
                let is_over = self.ends_at.is_some_and(|ends_at| ends_at <= now);
                (has_begun && !is_over).then_some(self.ends_at)?
            }
        };
        Some(InForce { freeze: self.clone(), until })
    }

    /// Tells whether it is not in force at an instant, and never will be again.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let comes = |recurrence: &Recurrence| recurrence.next(now).map_or(true, |next| next.is_some());
        let has_ended = self.ends_at.is_some_and(|ends_at| ends_at <= now);
        self.lifted_at.is_some() || has_ended || self.recurrence.as_ref().is_some_and(|rule| !comes(rule) && self.at(now).is_none())
    }
}

impl InForce {
    /// Returns it in so few words that an overview can have many.
    pub fn short(&self) -> String {
        let until = self.until.map_or("until it is lifted".to_owned(), |until| format!("until {until}"));
        format!("{} {until}: \"{}\"", self.freeze.id, text::visible_line(&self.freeze.reason, 60))
    }
}

impl fmt::Display for InForce {
    /// Writes `frz_1 by operator until 2026-12-27T00:00:00Z: "holidays"`, safe to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.until.map_or("until it is lifted".to_owned(), |until| format!("until {until}"));
        let (by, reason) = (text::visible_line(&self.freeze.created_by, 60), text::visible_line(&self.freeze.reason, 200));
        write!(f, "{} by {by} {until}: \"{reason}\"", self.freeze.id)
    }
}

impl Store {
    /// Declares a freeze of an environment, or of all.
    pub async fn add_freeze(&self, by: &Caller, new: NewFreeze) -> Result<Freeze> {
        let mut write = self.write().await?;
        let number: i64 = sql("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM freezes").value(write.on(), "number").await?.unwrap_or(1);
        let freeze = Freeze {
            id: format!("frz_{number}"),
            environment: new.environment,
            reason: new.reason,
            starts_at: new.starts_at.unwrap_or(write.at),
            ends_at: new.ends_at,
            recurrence: new.recurrence,
            created_by: by.principal.clone(),
            created_at: Some(write.at),
            lifted_by: None,
            lifted_at: None,
        };
        sql("INSERT INTO freezes (id, number, environment, reason, starts_at, ends_at, recurrence, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&freeze.id)
        .bind(number)
        .bind(freeze.environment.as_ref())
        .bind(&freeze.reason)
        .bind(freeze.starts_at)
        .bind(freeze.ends_at)
        .bind(freeze.recurrence.as_ref().map(json_of))
        .bind(&freeze.created_by)
        .bind(freeze.created_at)
        .run(write.on())
        .await?;
        write.commit(by, "add_freeze", &freeze.id, json!(freeze)).await?;
        Ok(freeze)
    }

    /// Returns the freezes an environment is under, oldest first.
    pub async fn active_freezes(&self, environment: &EnvironmentName, now: Timestamp) -> Result<Vec<InForce>> {
        Ok(self.frozen(now).await?.of(environment).cloned().collect())
    }

    /// Returns the freezes that are in force anywhere.
    pub async fn frozen(&self, now: Timestamp) -> Result<Frozen> {
        let rows = sql("SELECT freezes.*, freeze_lifts.environment AS lifted_in FROM freezes
                        LEFT JOIN freeze_lifts ON freeze_lifts.freeze_id = freezes.id
                        WHERE freezes.lifted_at IS NULL AND (freezes.ends_at IS NULL OR freezes.ends_at > $1) ORDER BY freezes.number")
        .bind(now)
        .all(self.pool())
        .await?;
        let mut freezes: Vec<(Freeze, Vec<EnvironmentName>)> = Vec::new();
        for row in &rows {
            let (freeze, lifted_in) = (freeze_of(row)?, row.read::<Option<EnvironmentName>>("lifted_in")?);
            match freezes.last_mut().filter(|(last, _)| last.id == freeze.id) {
                Some((_, lifts)) => lifts.extend(lifted_in),
                None => freezes.push((freeze, lifted_in.into_iter().collect())),
            }
        }
        Ok(Frozen(freezes.into_iter().filter_map(|(freeze, lifted_in)| Some((freeze.at(now)?, lifted_in))).collect()))
    }

    /// Returns the freezes that were not lifted and have not ended by the calendar, oldest first.
    pub async fn standing_freezes(&self, now: Timestamp) -> Result<Vec<Freeze>> {
        let rows = sql("SELECT * FROM freezes WHERE lifted_at IS NULL AND (ends_at IS NULL OR ends_at > $1) ORDER BY number")
            .bind(now)
            .all(self.pool())
            .await?;
        rows.iter().map(freeze_of).collect()
    }

    /// Returns a freeze, also one that is over.
    pub async fn freeze(&self, id: &str) -> Result<Option<Freeze>> {
        let row = sql("SELECT * FROM freezes WHERE id = $1").bind(id).one(self.pool()).await?;
        row.as_ref().map(freeze_of).transpose()
    }

    /// Returns the environments in which a freeze of all was lifted, with who lifted it.
    pub async fn freeze_lifts(&self, id: &str) -> Result<Vec<(EnvironmentName, ApproverName)>> {
        let rows = sql("SELECT * FROM freeze_lifts WHERE freeze_id = $1 ORDER BY environment").bind(id).all(self.pool()).await?;
        rows.iter().map(|row| Ok((row.read("environment")?, row.read("lifted_by")?))).collect()
    }
}

/// Ends a freeze now, or a freeze of all in one environment; `false` when it is over there.
pub(super) async fn lift(write: &mut Write, id: &str, environment: Option<&EnvironmentName>, approver: &ApproverName) -> Result<bool> {
    let at = write.at;
    let query = match environment {
        None => sql(
            "UPDATE freezes SET lifted_by = $1, lifted_at = $2 WHERE id = $3 AND lifted_at IS NULL AND (ends_at IS NULL OR ends_at > $2)",
        ),
        Some(_) => sql("INSERT INTO freeze_lifts (lifted_by, lifted_at, freeze_id, environment)
                        SELECT $1, $2, $3, $4 FROM freezes WHERE id = $3 AND environment IS NULL AND lifted_at IS NULL
                            AND (ends_at IS NULL OR ends_at > $2) ON CONFLICT DO NOTHING"),
    };
    let query = query.bind(approver).bind(at).bind(id);
    let query = match environment {
        None => query,
        Some(environment) => query.bind(environment),
    };
    Ok(query.run(write.on()).await? == 1)
}

fn freeze_of(row: &AnyRow) -> Result<Freeze> {
    let recurrence: Option<String> = row.read("recurrence")?;
    Ok(Freeze {
        id: row.read("id")?,
        environment: row.read("environment")?,
        reason: row.read("reason")?,
        starts_at: row.read("starts_at")?,
        ends_at: row.read("ends_at")?,
        recurrence: recurrence.map(|_| row.json("recurrence")).transpose()?,
        created_by: row.read("created_by")?,
        created_at: row.read("created_at")?,
        lifted_by: row.read("lifted_by")?,
        lifted_at: row.read("lifted_at")?,
    })
}
