//! `interlock audit verify`: recomputes the whole chain, and names the first entry that does not fit.

use super::{block_on, people::api::ask, workspace};
use crate::error::Error;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub(super) fn command(command: Command) -> Command {
    command.about("Check the record").subcommand_required(true).subcommand(Command::new("verify").about("Recompute the audit chain"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let (_, matches) = matches.subcommand().expect("a subcommand is required");
    let workspace = workspace(matches)?;
    let report: Value = block_on(ask(&workspace, "audit_verify", json!({})))?;
    match matches.get_flag("json") {
        true => println!("{report:#}"),
        false => println!("the chain of {} entries holds; head {}", report["entries"], report["head"].as_str().unwrap_or_default()),
    }
    Ok(())
}
