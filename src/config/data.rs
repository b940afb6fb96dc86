//! `prepare`, `backup`, `migrations` and `hooks` of a service: the commands that keep and change its data.

use super::reader::{Item, Table};
use crate::model::{
    data::{Backup, DataSpec, Hooks, Migrations, OnRollback, Prepare},
    migration::SqlDialect,
};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// How long a preparation may take.
const PREPARE_MS: u64 = 5 * MINUTE_MS;
/// How long a backup, its check or its restore may take (30 min, seed stage-30).
const BACKUP_MS: u64 = 30 * MINUTE_MS;
/// How long a run of migrations may take.
const MIGRATIONS_MS: u64 = 10 * MINUTE_MS;
/// How long one hook may take.
const HOOK_MS: u64 = MINUTE_MS;

/// Reads what `[services.X]` says of data.
pub fn data(service: &Table<'_>) -> DataSpec {
    DataSpec {
        prepare: service.get("prepare").and_then(|item| prepare(&item)),
        backup: service.get("backup").and_then(|item| backup(&item)),
        migrations: service.get("migrations").and_then(|item| migrations(&item)),
        hooks: service.get("hooks").and_then(|item| hooks(&item)),
    }
}

fn prepare(item: &Item<'_>) -> Option<Prepare> {
    let table = item.table()?;
    let run = table.require("run", "write run = [\"./prepare.sh\", \"{version}\"]").and_then(|item| command(&item, &[]));
    let timeout_ms = timeout(&table, PREPARE_MS);
    table.close();
    Some(Prepare { run: run?, timeout_ms })
}

fn backup(item: &Item<'_>) -> Option<Backup> {
    let table = item.table()?;
    let hint = "write run = [\"./backup.sh\"]: its last line says where the backup is";
    let run = table.require("run", hint).and_then(|item| command(&item, &[]));
    let of_location = |name, places: &[&str]| {
        let item: Item<'_> = table.get(name)?;
        let argv = command(&item, places)?;
        if !argv.iter().any(|word| word.contains("{location}")) {
            item.fault("does not say which backup", Some("put {location} in it".into()));
        }
        Some(argv)
    };
    let verify = of_location("verify", &["location"]);
    let restore = of_location("restore", &["location"]);
    let rehearse = of_location("rehearse", &["location", "scratch"]);
    if let (Some(argv), Some(item)) = (&rehearse, table.get("rehearse"))
        && !argv.iter().any(|word| word.contains("{scratch}"))
    {
        item.fault("does not say where to", Some("put {scratch} in it: an empty folder, so that no data is overwritten".into()));
    }
    let timeout_ms = timeout(&table, BACKUP_MS);
    let choices = [("ask", OnRollback::Ask), ("automatic", OnRollback::Automatic)];
    let on_rollback_item = table.get("on_rollback");
    let on_rollback = on_rollback_item.as_ref().and_then(|item| item.choice(&choices, &[])).unwrap_or_default();
    if let (OnRollback::Automatic, Some(item)) = (on_rollback, &on_rollback_item)
        && (verify.is_none() || restore.is_none())
    {
        item.fault("nothing unverified is restored by itself", Some("write `verify` and `restore`, or on_rollback = \"ask\"".into()));
    }
    table.close();
    Some(Backup { run: run?, verify, restore, rehearse, timeout_ms, on_rollback })
}

fn migrations(item: &Item<'_>) -> Option<Migrations> {
    let table = item.table()?;
    let dir = table.require("dir", "write dir = \"migrations\": the folder inside the release").and_then(|item| folder(&item));
    let run = table.require("run", "write run = [\"./migrate.sh\", \"up\"]: it runs what is pending").and_then(|item| command(&item, &[]));
    let history = table
        .require("history", "write history = [\"./migrate.sh\", \"history\"]: it prints what has run, one a line")
        .and_then(|item| command(&item, &[]));
    let down = table.get("down").and_then(|item| command(&item, &["migration"]));
    let dialects =
        [("any", SqlDialect::Any), ("postgres", SqlDialect::Postgres), ("sqlite", SqlDialect::Sqlite), ("mysql", SqlDialect::Mysql)];
    let dialect = table.get("dialect").and_then(|item| item.choice(&dialects, &[])).unwrap_or_default();
    let pivots = table.get("pivots").and_then(|item| item.list()).unwrap_or_default();
    let pivots = pivots.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
    let timeout_ms = timeout(&table, MIGRATIONS_MS);
    table.close();
    Some(Migrations { dir: dir?, run: run?, history: history?, down, dialect, pivots, timeout_ms })
}

fn hooks(item: &Item<'_>) -> Option<Hooks> {
    let table = item.table()?;
    let at = |name| {
        let items = table.get(name).and_then(|item| item.list()).unwrap_or_default();
        items.iter().filter_map(|item| command(item, &[])).collect()
    };
    let before_start = at("before_start");
    let before_shift = at("before_shift");
    let after_shift = at("after_shift");
    let after_success = at("after_success");
    let after_rollback = at("after_rollback");
    let timeout_ms = timeout(&table, HOOK_MS);
    table.close();
    Some(Hooks { before_start, before_shift, after_shift, after_success, after_rollback, timeout_ms })
}

fn timeout(table: &Table<'_>, otherwise: u64) -> u64 {
    table.get("timeout").and_then(|item| item.duration(100..=DAY_MS)).unwrap_or(otherwise)
}

/// The places that every command may hold.
const PLACES: [&str; 4] = ["release", "version", "service", "environment"];

/// Reads an argv, and tells a place that would stay unfilled.
fn command(item: &Item<'_>, own: &[&str]) -> Option<Vec<String>> {
    let argv = item.argv()?;
    let known: Vec<&str> = PLACES.iter().chain(own).copied().collect();
    argv.iter().for_each(|word| item.check_places(word, &known));
    Some(argv)
}

/// Reads a folder inside the release.
fn folder(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let leads_out = text.starts_with('/') || text.split('/').any(|part| part == ".." || part.is_empty());
    if leads_out {
        item.fault(format!("`{text}` is no folder inside the release"), Some("write \"migrations\" or \"db/migrations\"".into()));
    }
    (!leads_out).then(|| text.to_owned())
}
