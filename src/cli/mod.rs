//! The command line: a subcommand per operation, and what runs and ends the server. Operations are asked of the server over `api.sock`.
//!
//! To add a command of its own: a file here with `command()` and `run(…)`, and a line in [`COMMANDS`].

mod audit;
mod bridge;
mod call;
mod completions;
pub mod demo;
mod doctor;
mod down;
mod launch;
mod lines;
mod open;
mod output;
mod people;
mod phase;
mod processes;
mod reference;
mod serve;
mod standard;
mod stop;

pub use bridge::{Connection, bridge};
pub use launch::connect;
pub use reference::{codes, command_line as command_line_reference, operations as operations_reference};

use people::{apply, approver, freezes, notify, verdicts};

use crate::{
    config::Workspace,
    error::{Code, Error},
    operations::{self, Entry},
};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

/// A command beside the operations.
struct Own {
    name: &'static str,
    command: fn(Command) -> Command,
    run: fn(&ArgMatches) -> Result<(), Error>,
}

const COMMANDS: &[Own] = &[
    Own { name: "init", command: apply::init_command, run: apply::init },
    Own { name: "apply", command: apply::apply_command, run: apply::apply },
    Own { name: "approver", command: approver::command, run: approver::run },
    Own { name: "approve", command: verdicts::approve_command, run: verdicts::approve },
    Own { name: "reject", command: verdicts::reject_command, run: verdicts::reject },
    Own { name: "sign-off", command: verdicts::sign_off_command, run: verdicts::sign_off },
    Own { name: "runbook", command: verdicts::runbook_command, run: verdicts::runbook },
    Own { name: "freeze", command: freezes::freeze_command, run: freezes::freeze },
    Own { name: "freezes", command: freezes::freezes_command, run: freezes::freezes },
    Own { name: "unfreeze", command: freezes::unfreeze_command, run: freezes::unfreeze },
    Own { name: "resolve", command: verdicts::resolve_command, run: verdicts::resolve },
    Own { name: "restore", command: verdicts::restore_command, run: verdicts::restore },
    Own { name: "rollback", command: verdicts::rollback_command, run: verdicts::rollback },
    Own { name: "notify", command: notify::command, run: notify::run },
    Own { name: "open", command: open::command, run: open::run },
    Own { name: "phase", command: phase::command, run: phase::run },
    Own { name: "audit", command: audit::command, run: audit::run },
    Own { name: "doctor", command: doctor::command, run: doctor::run },
    Own { name: "down", command: down::command, run: down::run },
    Own { name: "completions", command: completions::command, run: completions::run },
    Own { name: "demo", command: demo::run::command, run: demo::run::run },
    Own { name: "mcp", command: bridge::command, run: bridge::run },
    Own { name: "serve", command: serve::command, run: serve::run },
    Own { name: "stop", command: stop::command, run: stop::run },
];

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some(code) = processes::run() {
        return code;
    }
    let matches = parse(std::env::args_os()).unwrap_or_else(|err| err.exit());
    let (name, matches) = matches.subcommand().expect("a subcommand is required");
    let outcome = match COMMANDS.iter().find(|own| own.name == name) {
        Some(own) => (own.run)(matches),
        None => return call::run(name, matches),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Reads a command line, its program first.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    command().try_get_matches_from(with_named_id(words.into_iter().collect(), &operations::all()))
}

/// Returns the whole command line.
pub fn command() -> Command {
    let workspace = Arg::new("workspace")
        .long("workspace")
        .value_name("FOLDER")
        .global(true)
        .value_parser(value_parser!(PathBuf))
        .help("The folder with interlock.toml [default: INTERLOCK_WORKSPACE, then upwards from here]");
    let json = Arg::new("json").long("json").global(true).action(ArgAction::SetTrue).help("Print the answer as JSON");
    let command = Command::new("interlock")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Agents drive, the interlock decides")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args([workspace, json]);
    let command = COMMANDS.iter().fold(command, |command, own| command.subcommand((own.command)(Command::new(own.name))));
    operations::all().iter().fold(command, |command, entry| command.subcommand(call::command(entry)))
}

/// Lets `interlock get-deployment dep_1` stand for `… --deployment dep_1`, where one id says what is meant.
fn with_named_id(mut words: Vec<OsString>, entries: &[Entry]) -> Vec<OsString> {
    let found = words
        .iter()
        .enumerate()
        .skip(1)
        .find_map(|(at, word)| Some((at, entries.iter().find(|entry| word.to_str() == Some(&entry.kebab()))?)));
    if let Some((at, entry)) = found
        && let Some(id) = entry.required().into_iter().find(|name| matches!(*name, "directive" | "plan" | "deployment" | "runbook"))
        && words.get(at + 1).is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"))
    {
        words.insert(at + 1, format!("--{id}").into());
    }
    words
}

/// Finds the workspace that `--workspace`, the environment or the working directory names.
fn workspace(matches: &ArgMatches) -> Result<Workspace, Error> {
    Workspace::find(matches.get_one::<PathBuf>("workspace").map(PathBuf::as_path))
}

/// Prints an error of the command line itself, and returns its exit code.
fn failed(error: &Error) -> ExitCode {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {}: {}\nhint: {}", error.code, error.message, error.hint);
    ExitCode::from(error.code.exit())
}

/// Runs a future on one thread; threads blocked in standard input do not keep the process.
fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}

/// Returns the code of this text.
fn code_of(text: &str) -> Code {
    Code::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Code::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn an_id_after_the_operation_needs_no_flag() {
        let mut entry = Entry::of::<crate::operations::tests::GetThing>();
        let named = |words: &[&str], entries: &[Entry]| {
            let words = with_named_id(words.iter().map(OsString::from).collect(), entries);
            words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let entries = [entry.clone()];
        assert_eq!(
            named(&["interlock", "--json", "get-thing", "dep_1", "--tail", "5"], &entries),
            "interlock --json get-thing --deployment dep_1 --tail 5"
        );
        assert_eq!(named(&["interlock", "get-thing", "--tail", "5"], &entries), "interlock get-thing --tail 5");
        assert_eq!(named(&["interlock", "get-thing"], &entries), "interlock get-thing");
        entry.input_schema["required"] = serde_json::json!(["reason"]);
        assert_eq!(named(&["interlock", "get-thing", "dep_1"], &[entry]), "interlock get-thing dep_1");
    }

    #[test]
    fn operations_become_subcommands() {
        let entry = Entry::of::<crate::operations::tests::GetThing>();
        let parse = |words: &[&str]| call::command(&entry).try_get_matches_from(words);
        let params = (entry.params)(&parse(&["get-thing", "--deployment", "dep_1"]).unwrap()).unwrap();
        assert_eq!(params, serde_json::json!({"deployment": "dep_1"}));
        assert!(parse(&["get-thing"]).unwrap_err().to_string().contains("--deployment"));
        assert_eq!(call::command(&entry).get_about().map(ToString::to_string).as_deref(), Some("Shows a thing"));
    }
}
