//! `promtool` and `amtool` read the files before they are written. A tool that is not there has checked nothing, and that is said.

use super::Generated;
use crate::{
    command::{self, Leftovers},
    engine::Engine,
    error::{Error, Result},
    model::text::visible,
};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long a tool may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How much of what it says is kept.
const SAID: usize = 1_000;

/// What a tool has checked, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// `promtool` or `amtool`.
    pub tool: &'static str,
    /// What it looked at.
    pub what: &'static str,
    /// What it found.
    pub outcome: Outcome,
    /// Its own words, where it found something.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// What a tool found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing against it.
    Passed,
    /// A fault.
    Refused,
    /// The tool is not there, or did not end: nothing is known.
    Unchecked,
}

impl Engine {
    /// Has the files checked in a folder of their own; returns what each tool found, and the first that refuses.
    pub(super) async fn checked(&self, files: &[Generated]) -> Result<(Vec<Checked>, Option<Checked>)> {
        let folder = Scratch(self.workspace.state_dir().join(format!("checking-{:016x}", rand::random::<u64>())));
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let texts: Vec<(String, String)> = files.iter().map(|file| (name(&file.path), file.text.clone())).collect();
        let (at, texts_written) = (folder.0.clone(), texts.clone());
        self.blocking(move || write_all(&at, &texts_written)).await?.map_err(Error::internal)?;
        let of = |kind: &str| files.iter().find(|file| file.kind == kind).map(|file| name(&file.path)).unwrap_or_default();
        let checks = [
            ("promtool", "rules", ["check", "rules"].map(str::to_owned).to_vec(), of("alert_rules")),
            ("promtool", "scrape configuration", ["check", "config"].map(str::to_owned).to_vec(), of("scrape_configuration")),
            ("amtool", "routes", ["check-config"].map(str::to_owned).to_vec(), of("alert_routes")),
        ];
        let mut checked = Vec::new();
        for (tool, what, arguments, file) in checks {
            let argv: Vec<String> = std::iter::once(tool.to_owned()).chain(arguments).chain([file]).collect();
            let (outcome, said) = ask(&argv, &folder.0).await;
            checked.push(Checked { tool, what, outcome, said });
        }
        let refused = checked.iter().find(|one| one.outcome == Outcome::Refused).cloned();
        Ok((checked, refused))
    }
}

/// Runs a tool over a file; returns what it found, and its words.
async fn ask(argv: &[String], folder: &Path) -> (Outcome, String) {
    let cancel = CancellationToken::new();
    let _ends_with_the_caller = cancel.clone().drop_guard();
    let job = command::Job {
        command: argv,
        folder,
        environment: command::allowed_environment().into_iter().chain([command::marked(folder)]).collect(),
        leftovers: Leftovers::End(folder),
        keeps_stdout: 0,
        deadline: Instant::now() + LIMIT,
        cancel: &cancel,
    };
    match command::run(job, |_, _| {}).await {
        Ok(ended) if ended.cut.is_some() => (Outcome::Unchecked, format!("`{}` did not end within {} s", argv[0], LIMIT.as_secs())),
        Ok(ended) if ended.exit_code == Some(0) => (Outcome::Passed, String::new()),
        Ok(ended) => (Outcome::Refused, visible(ended.output.trim(), SAID)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Outcome::Unchecked, format!("`{}` is not there", argv[0])),
        Err(error) => (Outcome::Unchecked, format!("`{}` cannot be run: {error}", argv[0])),
    }
}

fn write_all(folder: &Path, files: &[(String, String)]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
}

/// A folder that goes with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
