//! `interlock down ENV`: ends everything that runs in an environment, its proxies included. The record stays.

use super::{block_on, people::api::ask, workspace};
use crate::error::Error;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

pub(super) fn command(command: Command) -> Command {
    command.about("Stop everything that runs in an environment").arg(Arg::new("environment").required(true).value_name("ENV"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let workspace = workspace(matches)?;
    let environment = matches.get_one::<String>("environment").expect("it is required");
    let reply: Value = block_on(ask(&workspace, "down", json!({ "environment": environment })))?;
    let stopped: Vec<&str> = reply["stopped"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match matches.get_flag("json") {
        true => println!("{reply:#}"),
        false if stopped.is_empty() => println!("nothing ran in {environment}"),
        false => println!("stopped {}", stopped.join(", ")),
    }
    Ok(())
}
