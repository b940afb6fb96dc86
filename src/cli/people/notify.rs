//! `interlock notify list | test`: who is told elsewhere, how the messages fare, and whether one arrives.

use super::api::ask;
use crate::{
    cli::{block_on, workspace},
    error::Result,
    model::{Timestamp, text::visible_line},
};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

pub(in crate::cli) fn command(command: Command) -> Command {
    command
        .about("Show who is told elsewhere of what waits and happens, and try whether a message arrives")
        .subcommand_required(true)
        .subcommand(Command::new("list").about("List the destinations, and how their messages fare"))
        .subcommand(
            Command::new("test")
                .about("Send a message that tells of nothing, and say what came back")
                .arg(Arg::new("name").required(true).value_name("NAME").help("The destination: NAME in [notify.NAME]")),
        )
}

pub(in crate::cli) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand().expect("a subcommand is required") {
        ("test", matches) => test(matches),
        (_, matches) => list(matches),
    }
}

fn test(matches: &ArgMatches) -> Result<()> {
    let name = matches.get_one::<String>("name").expect("it is required");
    let reply: Value = block_on(ask(&workspace(matches)?, "notify_test", json!({ "destination": name })))?;
    match matches.get_flag("json") {
        true => println!("{reply:#}"),
        false => println!("`{name}` took it: {}", text(&reply["said"])),
    }
    Ok(())
}

fn list(matches: &ArgMatches) -> Result<()> {
    let reply: Value = block_on(ask(&workspace(matches)?, "notified", json!({})))?;
    if matches.get_flag("json") {
        println!("{reply:#}");
        return Ok(());
    }
    let destinations = reply["destinations"].as_array().cloned().unwrap_or_default();
    if destinations.is_empty() {
        println!("nobody is told elsewhere; [notify.NAME] in interlock.toml says who");
    }
    destinations.iter().for_each(|destination| println!("{}", line(destination)));
    Ok(())
}

fn line(destination: &Value) -> String {
    let names = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let at = |name: &str| destination[name].as_i64().map(|at| Timestamp(at).to_string());
    let kind = match destination["kind"].as_str() {
        Some(kind) => format!("{kind} of {} in {}", names(&destination["events"]), names(&destination["environments"])),
        None => "no longer named".into(),
    };
    let gone = if destination["is_gone"] == true { "; wants nothing any more" } else { "" };
    let last = at("delivered_at").map(|at| format!(", the last at {at}")).unwrap_or_default();
    let since = at("waiting_since").map(|at| format!(" since {at}")).unwrap_or_default();
    let said = destination["said"].as_str().map(|said| format!("; {}", visible_line(said, 200))).unwrap_or_default();
    format!(
        "{}: {kind}{gone}; {} arrived{last}, {} waiting{since}, {} given up{said}",
        text(&destination["name"]),
        destination["delivered"],
        destination["waiting"],
        destination["given_up"]
    )
}

fn text(value: &Value) -> String {
    visible_line(value.as_str().unwrap_or_default(), 200)
}
