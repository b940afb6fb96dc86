//! The commands of a shop with data: one real script, which writes down whenever it begins and ends, and what became of the database.

use super::{
    cases::{Case, WITHIN},
    shop::Shop,
};
use anyhow::{Result, ensure};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

/// So many releases bring a migration that people have declared: one each.
const MIGRATIONS: u32 = 200;

const SCRIPT: &str = r#"#!/bin/sh
set -e
name=$1 version=$2
echo "$name begun $version" >> effects
if [ -e "hold-$name" ]; then echo $$ > held.new; mv held.new held; sleep 600; fi
said=
case $name in
backup) cp history "backup-$version"; said="backup-$version" ;;
verify) test -e "$3"; said='{"verified": true, "restored": true}' ;;
restore) cp "$3" history ;;
migrate)
    for file in "$3"/migrations/*.sql; do
        migration=$(basename "$file")
        case $migration in *.down.sql) continue ;; esac
        grep -qx "$migration" history || echo "$migration" >> history
    done ;;
down) grep -vx "$3" history > history.new || true; mv history.new history ;;
esac
echo "$name ended $version" >> effects
echo "$said"
"#;

/// Returns the keys of a service with data.
pub fn keys() -> String {
    let pivots: Vec<String> = (1..=MIGRATIONS).map(|number| format!("{:?}", file(number))).collect();
    let hook = |name: &str| format!(r#"{} = [["./run.sh", "{name}", "{{version}}"]]"#, name.replace('-', "_"));
    let hooks = ["before-start", "before-shift", "after-shift", "after-success", "after-rollback"].map(hook).join(", ");
    format!(
        r#"
prepare    = {{ run = ["./run.sh", "prepare", "{{version}}"], timeout = "60s" }}
backup     = {{ run = ["./run.sh", "backup", "{{version}}"], verify = ["./run.sh", "verify", "{{version}}", "{{location}}"], restore = ["./run.sh", "restore", "{{version}}", "{{location}}"], on_rollback = "automatic", timeout = "60s" }}
migrations = {{ dir = "migrations", run = ["./run.sh", "migrate", "{{version}}", "{{release}}"], history = ["cat", "history"], down = ["./run.sh", "down", "{{version}}", "{{migration}}"], dialect = "sqlite", pivots = [{}], timeout = "60s" }}
hooks      = {{ {hooks}, timeout = "60s" }}
"#,
        pivots.join(", ")
    )
}

/// Puts the script and an empty database into a workspace.
pub fn install(root: &Path) -> Result<()> {
    fs::write(root.join("history"), "")?;
    fs::write(root.join("effects"), "")?;
    fs::write(root.join("run.sh"), SCRIPT)?;
    Ok(fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755))?)
}

/// Gives a release what has run already, and a migration of its own past which no earlier release works.
pub fn add_migrations(root: &Path, release: &Path, number: u32) -> Result<()> {
    let folder = release.join("migrations");
    fs::create_dir_all(&folder)?;
    let applied = history(root)?;
    for name in applied.iter().cloned().chain([file(number)]) {
        fs::write(folder.join(&name), format!("ALTER TABLE users RENAME COLUMN name TO name{number};"))?;
        let down = name.replace(".sql", ".down.sql");
        fs::write(folder.join(down), format!("ALTER TABLE users RENAME COLUMN name{number} TO name;"))?;
    }
    Ok(())
}

fn file(number: u32) -> String {
    format!("{number:04}_rename.sql")
}

/// Returns the migrations that have run.
pub fn history(root: &Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(root.join("history"))?.lines().map(str::to_owned).collect())
}

/// What the commands had done up to a moment.
pub struct Before {
    lines: usize,
    history: Vec<String>,
}

impl Before {
    /// Looks at what was done so far.
    pub fn of(shop: &Shop) -> Result<Self> {
        Ok(Before { lines: lines(shop)?.len(), history: history(shop.root())? })
    }

    /// Compares what was done since with what a case promises, where the server was killed at these places.
    pub fn check(&self, shop: &Shop, case: &Case, fired: &[String]) -> Result<()> {
        let lines = lines(shop)?.split_off(self.lines);
        let count = |name: &str, what: &str| lines.iter().filter(|line| line.starts_with(&format!("{name} {what} "))).count();
        let promised = case.trip.commands();
        for (step, name) in promised {
            let times = |edge: &str| fired.iter().filter(|place| **place == format!("{step}:{edge}")).count();
            // What has run and was not yet written down runs again; a migration is read in the history first, and does not.
            let again = if ["migrate", "down"].contains(name) { 0 } else { times("after-effect") };
            // A backup that is cut off has nothing to verify.
            let cut = if *name == "verify" { 0 } else { times(WITHIN) };
            let (begun, ended) = (count(name, "begun"), count(name, "ended"));
            ensure!((begun, ended) == (1 + again + cut, 1 + again), "`{name}` began {begun} and ended {ended} times: {lines:?}");
        }
        let known: BTreeSet<&str> = promised.iter().map(|(_, name)| *name).collect();
        let other = lines.iter().find(|line| !known.contains(line.split(' ').next().unwrap_or_default()));
        ensure!(other.is_none(), "nobody promised `{}`", other.map_or("", String::as_str));
        let now = history(shop.root())?;
        let grown = (now.len() as i64) - (self.history.len() as i64);
        let wanted = match (case.trip.settles(), case.trip.way) {
            (_, super::cases::Way::OnDemand) => -1,
            ("succeeded", _) => 1,
            _ => 0,
        };
        ensure!(grown == wanted, "the history was {:?}, and is {now:?}", self.history);
        ensure!(now.iter().collect::<BTreeSet<_>>().len() == now.len(), "a migration has run twice: {now:?}");
        Ok(())
    }
}

fn lines(shop: &Shop) -> Result<Vec<String>> {
    Ok(fs::read_to_string(shop.root().join("effects"))?.lines().map(str::to_owned).collect())
}

/// Lets a step's command stop in its middle, until the test has killed the server.
pub struct Held<'a> {
    shop: &'a Path,
    name: &'static str,
}

impl<'a> Held<'a> {
    /// Holds the command of this step.
    pub fn at(shop: &'a Path, case: &Case) -> Result<Option<Self>> {
        let Some(step) = case.place.strip_suffix(&format!(":{WITHIN}")) else { return Ok(None) };
        let found = case.trip.commands().iter().find(|(of, _)| *of == step);
        let name = found.map(|(_, name)| *name).ok_or_else(|| anyhow::anyhow!("{step} runs no command"))?;
        fs::write(shop.join(format!("hold-{name}")), "")?;
        Ok(Some(Held { shop, name }))
    }

    /// Returns the process that is held, once it is.
    pub fn process(&self) -> Option<i32> {
        fs::read_to_string(self.shop.join("held")).ok()?.trim().parse().ok()
    }

    /// Lets the next run pass.
    pub fn release(&self) -> Result<()> {
        fs::remove_file(self.shop.join("held"))?;
        Ok(fs::remove_file(self.shop.join(format!("hold-{}", self.name)))?)
    }
}
