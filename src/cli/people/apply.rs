//! `interlock init | apply`: the first configuration, and every later one. A change that reaches an environment with approval
//! waits for its approver's signature.

use super::{api::ask, verdicts};
use crate::{
    cli::{block_on, workspace},
    config::{self, Workspace},
    error::{Code, Error, Result},
    model::{DecisionKind, DecisionVerdict, text::visible_line},
};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// How many changes of an environment are listed.
const MOST_CHANGES: usize = 40;

pub(in crate::cli) fn init_command(command: Command) -> Command {
    command.about("Write a commented interlock.toml here, and store it as revision 1")
}

pub(in crate::cli) fn init(matches: &ArgMatches) -> Result<()> {
    let root = match matches.get_one::<std::path::PathBuf>("workspace") {
        Some(folder) => folder.clone(),
        None => std::env::current_dir().map_err(Error::internal)?,
    };
    let name = root.canonicalize().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned())).unwrap_or_default();
    let path = root.join(config::FILE_NAME);
    let text = config::template(&name);
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).map_err(Error::internal)?;
            println!("wrote {}", path.display());
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            println!("{} is there already; it is stored as it is", path.display())
        }
        Err(error) => return Err(Error::invalid(format!("`{}` cannot be written: {error}", path.display()))),
    }
    let workspace = Workspace::find(Some(&root))?;
    let outcome = store(&workspace)?;
    shown(matches, &outcome);
    println!("next: edit {}, then `interlock apply`; connect an agent with the command `interlock mcp`", config::FILE_NAME);
    Ok(())
}

pub(in crate::cli) fn apply_command(command: Command) -> Command {
    command.about("Apply interlock.toml; where approval is asked, with your signature").arg(verdicts::signer())
}

pub(in crate::cli) fn apply(matches: &ArgMatches) -> Result<()> {
    let workspace = workspace(matches)?;
    let outcome = store(&workspace)?;
    shown(matches, &outcome);
    if outcome["proposal"].is_null() {
        return Ok(());
    }
    let revision = outcome["proposal"]["revision"].clone();
    if !std::io::stdin().is_terminal() {
        let message = format!("revision {revision} waits for an approver's signature in: {}", list(&outcome["proposal"]["environments"]));
        return Err(Error::new(Code::ConfigurationPending, message).hint("an approver runs `interlock apply` in a terminal"));
    }
    verdicts::decided(matches, DecisionKind::Configuration, revision, DecisionVerdict::Approve, None)
}

fn store(workspace: &Workspace) -> Result<Value> {
    let path = workspace.config_file();
    let text = std::fs::read_to_string(&path).map_err(|error| Error::invalid(format!("`{}` cannot be read: {error}", path.display())))?;
    block_on(ask(workspace, "apply", json!({ "text": text })))
}

fn shown(matches: &ArgMatches, outcome: &Value) {
    if matches.get_flag("json") {
        println!("{outcome:#}");
        return;
    }
    println!("revision {} is in force in: {}", outcome["revision"], list(&outcome["in_force"]));
    for difference in outcome["differences"].as_array().into_iter().flatten() {
        let changes = difference["changes"].as_array().map_or(&[][..], Vec::as_slice);
        let waits = if difference["needs_approval"] == true { "; waits for its approver" } else { "" };
        let environment = difference["environment"].as_str().unwrap_or_default();
        // The text of a new environment is in the file, and above the signature.
        if changes.iter().all(|change| change["old"].is_null()) {
            println!("  {environment}: new{waits}");
            continue;
        }
        println!("  {environment}: {} changes{waits}", changes.len());
        for change in changes.iter().take(MOST_CHANGES) {
            let side = |name: &str| change[name].as_str().map_or("nothing".to_owned(), |text| visible_line(text, 120));
            println!("    {}: {} -> {}", change["path"].as_str().unwrap_or_default(), side("old"), side("new"));
        }
        if changes.len() > MOST_CHANGES {
            println!("    and {} more; `--json` lists all", changes.len() - MOST_CHANGES);
        }
    }
}

fn list(names: &Value) -> String {
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
