//! A large record: what has really been, written again under other names as often as asked.

use super::shop::text;
use anyhow::Context;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Column, Connection, Executor, Row};
use std::time::Duration;

/// A deployment that has really been, with everything written about it.
pub struct Model {
    /// Its directive.
    pub directive: String,
    /// The deployment.
    pub deployment: String,
}

impl Model {
    /// Returns it from what was said of it.
    pub fn of(deployed: &Value) -> Self {
        Model { directive: text(&deployed["deployment"]["directive"]), deployment: text(&deployed["deployment"]["id"]) }
    }

    /// Opens an incident in it, which whatever is made from it has, too.
    pub async fn goes_wrong(&self, on: &mut AnyConnection) -> anyhow::Result<()> {
        let opened = "INSERT INTO incidents (id, number, deployment_id, rule, severity, summary, action, evidence, opened_at)
                      SELECT 'inc_1', 1, id, 'DEPLOY-002', 'P1', '6.1 % of 1204 requests failed for 120 s; the old set had 0.1 %',
                          'traffic went back, and the old set was verified', '{}', settled_at FROM deployments WHERE id = $1";
        sqlx::query(opened).bind(&self.deployment).execute(on).await.context("opening an incident")?;
        Ok(())
    }

    /// Writes it again under other names, for each number from one to another, each so much later than the one before.
    pub async fn repeat(&self, on: &mut AnyConnection, from: u64, to: u64, apart: Duration) -> anyhow::Result<()> {
        let (of_directive, of_deployment) =
            (format!("directive_id = '{}'", self.directive), format!("deployment_id = '{}'", self.deployment));
        let (directive, number) = ("'SD-' || CAST(i AS TEXT)", "100000 + i");
        let (plan, deployment, part) = ("'plan-' || CAST(i AS TEXT)", "'dep-' || CAST(i AS TEXT)", "1000000 + i * 1000 + number");
        // What an agent has drafted, nobody has reviewed but the newest.
        let drafted = format!("CASE WHEN i = {to} THEN state ELSE 'superseded' END");
        let tables: [(&str, String, Changed); 8] = [
            (
                "strategic_directives_v2",
                format!("id = '{}'", self.directive),
                &[("id", directive), ("number", number), ("status", "'completed'")],
            ),
            (
                "plans",
                of_directive.clone(),
                &[("id", plan), ("number", number), ("sha256", plan), ("directive_id", directive), ("state", "'used'")],
            ),
            (
                "deployments",
                format!("id = '{}'", self.deployment),
                &[("id", deployment), ("number", number), ("plan_id", plan), ("directive_id", directive), ("state", "'succeeded'")],
            ),
            ("deployment_steps", of_deployment.clone(), &[("deployment_id", deployment)]),
            ("verdicts", of_directive, &[("number", part), ("directive_id", directive)]),
            ("measurements", of_deployment.clone(), &[("number", part), ("deployment_id", deployment)]),
            ("incidents", of_deployment.clone(), &[("id", "'inc-' || CAST(i AS TEXT)"), ("number", number), ("deployment_id", deployment)]),
            (
                "runbook_versions",
                of_deployment,
                &[("version", "1 + i"), ("directive_id", directive), ("deployment_id", deployment), ("state", &drafted)],
            ),
        ];
        let mut write = on.begin().await?;
        for (table, which, changed) in tables {
            let Some(row) = write.fetch_optional(sqlx::raw_sql(AssertSqlSafe(format!("SELECT * FROM {table} WHERE {which}")))).await?
            else {
                continue;
            };
            let names: Vec<&str> = row.columns().iter().map(Column::name).collect();
            let statement = format!(
                "WITH RECURSIVE numbers(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM numbers WHERE i < {to})
                 INSERT INTO {table} ({}) SELECT {} FROM {table}, numbers WHERE {which}",
                names.join(", "),
                names
                    .iter()
                    .map(|name| match changed.iter().find(|(one, _)| one == name) {
                        Some((_, value)) => (*value).to_owned(),
                        None if name.ends_with("_at") => format!("{name} - CAST({to} - i AS BIGINT) * {}", apart.as_millis()),
                        None => (*name).to_owned(),
                    })
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            write.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.with_context(|| format!("repeating rows of `{table}`"))?;
        }
        Ok(write.commit().await?)
    }
}

/// Columns that are not as in the row that is repeated, each with its expression.
type Changed<'a> = &'a [(&'a str, &'a str)];
