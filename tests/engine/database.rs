//! A shop's database in memory, and the commands that prepare, back up, migrate and hook: each goes as told.

use crate::world::Shop;
use interlock::targets::fake_jobs::JobAnswer::{self, Says};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, MutexGuard},
};

/// The service's keys; `PIVOTS` and `ON_ROLLBACK` are filled in.
const KEYS: &str = r#"
prepare    = { run = ["prepare", "{version}"] }
backup     = { run = ["backup"], verify = ["verify", "{location}"], restore = ["restore", "{location}"], on_rollback = "ON_ROLLBACK" }
migrations = { dir = "migrations", run = ["migrate", "{release}"], history = ["history"], down = ["down", "{migration}"], dialect = "sqlite", pivots = [PIVOTS], timeout = "60s" }
hooks      = { before_start = [["hook-start"]], before_shift = [["hook-shift"]], after_shift = [["hook-shifted"]], after_success = [["hook-done"]], after_rollback = [["hook-back"]], timeout = "500ms" }
"#;

/// What the database holds, and how commands go.
#[derive(Clone, Default)]
pub struct Database(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Vec<String>,
    backup: Vec<String>,
    answers: BTreeMap<String, JobAnswer>,
    /// `migrate` fails before this one.
    breaks_at: Option<String>,
    /// `migrate` does not look at what has run already.
    forgets: bool,
}

impl Database {
    /// Configures staging's service with this database.
    pub async fn of(shop: &Shop, pivots: &[&str], on_rollback: &str) -> Self {
        let pivots: Vec<String> = pivots.iter().map(|name| format!("{name:?}")).collect();
        let keys = KEYS.replace("PIVOTS", &pivots.join(", ")).replace("ON_ROLLBACK", on_rollback);
        shop.configure(&shop.text.replace("keep  = 5", &format!("keep  = 5{keys}"))).await;
        fs::create_dir_all(shop.engine.workspace.root.join("backups")).unwrap();
        fs::write(shop.engine.workspace.root.join("backups/1.dump"), "every row").unwrap();
        let database = Database::default();
        let told = database.clone();
        shop.staging.on_job(move |argv| told.answer(argv));
        database
    }

    /// Lets a command go otherwise.
    pub fn goes(&self, program: &str, answer: JobAnswer) {
        self.state().answers.insert(program.to_owned(), answer);
    }

    /// Lets `migrate` fail before this migration.
    pub fn breaks_at(&self, name: &str) {
        self.state().breaks_at = Some(name.to_owned());
    }

    /// Lets `migrate` run again what has run already.
    pub fn forgets(&self) {
        self.state().forgets = true;
    }

    /// Returns the migrations that have run.
    pub fn applied(&self) -> Vec<String> {
        self.state().applied.clone()
    }

    /// Runs a migration behind everybody's back.
    pub fn has_run(&self, name: &str) {
        self.state().applied.push(name.to_owned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, argv: &[String]) -> JobAnswer {
        let mut state = self.state();
        if let Some(answer) = state.answers.get(&argv[0]) {
            return answer.clone();
        }
        match argv[0].as_str() {
            "history" => return Says(state.applied.join("\n")),
            "backup" => {
                state.backup = state.applied.clone();
                return Says("dumping\nbackups/1.dump\n".into());
            }
            "verify" => return Says("{\"restored\": true}".into()),
            "restore" => state.applied = state.backup.clone(),
            "down" => state.applied.retain(|name| *name != argv[1]),
            "migrate" => {
                let folder = fs::read_dir(format!("{}/migrations", argv[1])).unwrap();
                let mut names: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                names.retain(|name| !name.ends_with(".down.sql") && (state.forgets || !state.applied.contains(name)));
                names.sort();
                for name in names {
                    if state.breaks_at.as_ref() == Some(&name) {
                        return JobAnswer::Fails(format!("{name}: syntax error"));
                    }
                    state.applied.push(name);
                }
            }
            _ => (),
        }
        Says(String::new())
    }
}

impl Shop {
    /// Puts a migration into a version's bytes, before it is ordered.
    pub fn migration(&self, version: &str, name: &str, sql: &str) {
        let folder = self.engine.workspace.root.join("build").join(version).join("migrations");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), sql).unwrap();
    }
}
