//! `interlock phase lint | show | list`: phase files as they stand on disk, before they are applied. Asks no server.

use super::workspace;
use crate::{
    config,
    error::{Code, Error, Result},
    model::{Fault, Faults},
    phases::{self, Phase},
};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use std::io::Write;

pub(super) fn command(command: Command) -> Command {
    let file = Arg::new("file").value_name("FILE").num_args(0..).help("Phase files [default: those of `[phases] dir`]");
    let name = Arg::new("name").value_name("NAME").required(true).help("Name of a phase");
    command
        .about("Check and show phase files")
        .subcommand_required(true)
        .subcommand(Command::new("lint").about("Tell every fault of phase files, with file, line and what to write").arg(file))
        .subcommand(Command::new("show").about("Show a phase as an agent gets it").arg(name))
        .subcommand(Command::new("list").about("List the phases an environment may name"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let (act, of) = matches.subcommand().expect("a subcommand is required");
    let is_json = of.get_flag("json");
    let said = match act {
        "lint" => lint(files(of)?, is_json)?,
        "show" => show(of, is_json)?,
        _ => list(of, is_json)?,
    };
    // Nothing is left to do when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{said}");
    Ok(())
}

/// The files named, else those of the workspace; each with its text.
fn files(matches: &ArgMatches) -> Result<Vec<(String, String)>> {
    let Some(named) = matches.get_many::<String>("file") else { return own(matches) };
    let read = |path: &String| match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.clone(), text)),
        Err(error) => Err(Error::invalid(format!("`{path}` cannot be read: {error}"))),
    };
    named.map(read).collect()
}

fn own(matches: &ArgMatches) -> Result<Vec<(String, String)>> {
    config::phase_files(&workspace(matches)?).map_err(Error::invalid)
}

/// Returns what is said of files without a fault; else every fault of all of them.
fn lint(files: Vec<(String, String)>, is_json: bool) -> Result<String> {
    let (mut faults, mut good): (Vec<Fault>, Vec<(String, Phase)>) = Default::default();
    for (path, text) in &files {
        match phases::parse(path, text) {
            Ok(phase) => good.push((path.clone(), phase)),
            Err(told) => faults.extend(told.0),
        }
    }
    // A file that is one of Interlock's own stands for it, and not beside it.
    let builtin = phases::all().iter().filter(|phase| !good.iter().any(|(_, one)| one.sha256 == phase.sha256));
    let together: Vec<(&str, &Phase)> =
        builtin.map(|phase| ("interlock", phase)).chain(good.iter().map(|(path, phase)| (path.as_str(), phase))).collect();
    faults.extend(phases::lint_together(&together));
    match faults.len() {
        0 if is_json => Ok(json!({ "files": files.len(), "faults": [] }).to_string()),
        0 => Ok(format!("{} without a fault", counted(files.len(), "phase file"))),
        count => {
            let error = Error::new(Code::InvalidConfiguration, format!("{}:\n{}", counted(count, "fault"), Faults(faults)));
            Err(error.hint("each line says what to write instead; `docs/phases.md` describes the format"))
        }
    }
}

fn show(matches: &ArgMatches, is_json: bool) -> Result<String> {
    let name = matches.get_one::<String>("name").expect("clap requires it");
    let phase = match phases::builtin(name) {
        Some(phase) => phase.clone(),
        None => {
            let all = known(matches)?;
            let found = all.iter().find(|(_, phase)| phase.name == *name);
            let names: Vec<&str> = all.iter().map(|(_, phase)| phase.name.as_str()).collect();
            found
                .map(|(_, phase)| phase.clone())
                .ok_or_else(|| Error::not_found("phase", name).hint(format!("there are: {}", names.join(", "))))?
        }
    };
    if is_json {
        return Ok(format!("{:#}", described(&phase)));
    }
    Ok(phase.render())
}

fn list(matches: &ArgMatches, is_json: bool) -> Result<String> {
    let all = known(matches)?;
    if is_json {
        let listed: Vec<Value> =
            all.iter().map(|(from, phase)| json!({ "name": phase.name, "title": phase.title, "from": from })).collect();
        return Ok(format!("{:#}", json!({ "phases": listed })));
    }
    let lines: Vec<String> = all.iter().map(|(from, phase)| format!("{:24} {} ({from})", phase.name, phase.description)).collect();
    Ok(lines.join("\n"))
}

/// Every phase there is, with where it is from; an own one with faults refuses, so that nothing half read is shown. Outside of a workspace
/// there are Interlock's alone.
fn known(matches: &ArgMatches) -> Result<Vec<(String, Phase)>> {
    let mut all: Vec<(String, Phase)> = phases::all().iter().map(|phase| ("Interlock".to_owned(), phase.clone())).collect();
    let own = match own(matches) {
        Err(error) if error.code == Code::NoWorkspace => Vec::new(),
        own => own?,
    };
    for (path, text) in own {
        all.push((path.clone(), phases::parse(&path, &text)?));
    }
    Ok(all)
}

fn described(phase: &Phase) -> Value {
    let steps: Vec<Value> = phase
        .steps
        .iter()
        .map(|step| {
            json!({
                "id": step.id, "title": step.title, "by": step.by, "operation": step.operation, "when": step.when, "done_when": step.done_when,
                "rerun": step.rerun,
            })
        })
        .collect();
    json!({
        "name": phase.name, "title": phase.title, "description": phase.description, "phase": phase.phase, "version": phase.version,
        "sha256": phase.sha256, "scope": phase.scope, "owner": phase.owner, "triggers": phase.triggers, "gates": phase.gates, "steps": steps,
        "exit": phase.exit, "skip_when": phase.skip_when, "artifacts": phase.artifacts, "approval": phase.approval, "risk": phase.risk, "after": phase.after,
        "next": phase.next, "text": phase.render(),
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<String> {
        let matches = command(Command::new("phase")).arg(Arg::new("json").long("json").global(true).action(clap::ArgAction::SetTrue));
        let workspace = Arg::new("workspace").long("workspace").global(true).value_parser(clap::value_parser!(std::path::PathBuf));
        let matches = matches.arg(workspace).try_get_matches_from([&["phase"], words].concat()).unwrap();
        let (act, of) = matches.subcommand().unwrap();
        match act {
            "lint" => lint(files(of)?, of.get_flag("json")),
            "show" => show(of, of.get_flag("json")),
            _ => list(of, of.get_flag("json")),
        }
    }

    #[test]
    fn own_files_are_checked_shown_and_listed_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let good = phases::builtin("phase-06").unwrap().text.replace("name: phase-06", "name: own").replace("[phase-07, ", "[");
        std::fs::create_dir(folder.path().join("stages")).unwrap();
        std::fs::write(folder.path().join("interlock.toml"), "[phases]\ndir = \"stages\"\n").unwrap();
        std::fs::write(folder.path().join("stages/own.md"), &good).unwrap();
        assert_eq!(of(&["lint", "--workspace", root]).unwrap(), "1 phase file without a fault");
        assert_eq!(of(&["lint", "--json", "--workspace", root]).unwrap(), r#"{"faults":[],"files":1}"#);
        assert!(of(&["list", "--workspace", root]).unwrap().lines().last().unwrap().ends_with("(stages/own.md)"));
        assert!(of(&["show", "own", "--workspace", root]).unwrap().starts_with("# Deployment"));
        let shown: Value = serde_json::from_str(&of(&["show", "own", "--json", "--workspace", root]).unwrap()).unwrap();
        assert_eq!((&shown["name"], &shown["next"]), (&json!("own"), &json!(["phase-10"])));
        let unknown = of(&["show", "ow", "--workspace", root]).unwrap_err();
        assert_eq!(unknown.code, Code::NotFound);
        assert!(unknown.hint.contains("phase-06") && unknown.hint.ends_with(", own"), "{unknown:?}");

        std::fs::write(folder.path().join("stages/other.md"), good.replace("done_when: [approved]", "done_when: [aproved]")).unwrap();
        let told = of(&["lint", "--workspace", root]).unwrap_err();
        assert_eq!(told.code, Code::InvalidConfiguration);
        assert!(told.message.starts_with("1 fault:\nstages/other.md:"), "{}", told.message);
        assert!(told.message.ends_with("unknown fact `aproved`; did you mean `approved`?"), "{}", told.message);
        let path = folder.path().join("stages/own.md");
        assert!(of(&["lint", path.to_str().unwrap()]).is_ok(), "a file that is named is looked at alone");
    }
}
