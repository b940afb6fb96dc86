//! `interlock freeze | freezes | unfreeze`: anybody at the command line stops deployments at once; an approver's signature lets them go on.

use super::{api::ask, verdicts};
use crate::{
    cli::{block_on, workspace},
    error::Result,
    model::{DecisionKind, DecisionVerdict, text::visible_line},
};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::{Value, json};

pub(in crate::cli) fn freeze_command(command: Command) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| Arg::new(name).long(name).value_name(value).help(help);
    command
        .about("Stop deployments to an environment, or with --all everywhere, at once; rollback and abort go on")
        .args([
            Arg::new("environment").value_name("ENV").help("The environment"),
            Arg::new("all").long("all").action(ArgAction::SetTrue).help("Everywhere: the kill switch"),
            option("reason", "TEXT", "Why; agents and people read it").required(true),
            option("from", "TIME", "From when [default: at once]: 2026-12-24T12:00:00Z, or with --zone 2026-12-24T12:00"),
            option("until", "TIME", "Until when [default: until it is lifted]").conflicts_with("every"),
            option("every", "RRULE", "Recurs by an RFC 5545 rule: FREQ=WEEKLY;BYDAY=FR;BYHOUR=15").requires_all(["for", "zone"]),
            option("for", "DURATION", "How long each window of a rule lasts: 65h by the clock, 3d by the calendar").requires("every"),
            option("zone", "ZONE", "The IANA time zone of the rule and of local times: Europe/Zurich"),
        ])
        .group(ArgGroup::new("where").args(["environment", "all"]).required(true))
}

pub(in crate::cli) fn freeze(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name);
    let request = json!({
        "environment": text("environment"), "reason": text("reason"), "from": text("from"), "until": text("until"),
        "every": text("every"), "lasts": text("for"), "zone": text("zone"),
    });
    let frozen: Value = block_on(ask(&workspace(matches)?, "freeze", request))?;
    if matches.get_flag("json") {
        println!("{frozen:#}");
        return Ok(());
    }
    let id = frozen["id"].as_str().unwrap_or_default();
    println!("{id} holds; `interlock freezes` shows it, an approver lifts it with `interlock unfreeze {id}`");
    Ok(())
}

pub(in crate::cli) fn freezes_command(command: Command) -> Command {
    command.about("List the freezes that are not over")
}

pub(in crate::cli) fn freezes(matches: &ArgMatches) -> Result<()> {
    let reply: Value = block_on(ask(&workspace(matches)?, "freezes", json!({})))?;
    if matches.get_flag("json") {
        println!("{reply:#}");
        return Ok(());
    }
    let freezes = reply["freezes"].as_array().cloned().unwrap_or_default();
    if freezes.is_empty() {
        println!("nothing is frozen");
    }
    freezes.iter().for_each(|freeze| println!("{}", line(freeze)));
    Ok(())
}

fn line(freeze: &Value) -> String {
    let text = |value: &Value| visible_line(value.as_str().unwrap_or_default(), 200);
    let place = freeze["environment"].as_str().map_or("everywhere".to_owned(), |environment| visible_line(environment, 60));
    let but = match freeze["lifted_in"].as_array().filter(|lifted| !lifted.is_empty()) {
        Some(lifted) => format!(" but {}", lifted.iter().map(text).collect::<Vec<_>>().join(", ")),
        None => String::new(),
    };
    let when = match (freeze["in_force"] == true, freeze["until"].as_str(), freeze["next"].as_str()) {
        (true, Some(until), _) => format!("in force until {until}"),
        (true, None, _) => "in force until it is lifted".into(),
        (false, _, Some(next)) => format!("from {next}"),
        (false, _, None) => "over".into(),
    };
    let rule = &freeze["recurrence"];
    let recurs = match rule["every"].as_str() {
        Some(every) => format!("; {every} for {} in {}", text(&rule["lasts"]), text(&rule["zone"])),
        None => String::new(),
    };
    format!("{} {place}{but}: {when}{recurs}; by {}: {}", text(&freeze["id"]), text(&freeze["created_by"]), text(&freeze["reason"]))
}

pub(in crate::cli) fn unfreeze_command(command: Command) -> Command {
    command.about("Lift a freeze for good with your signature").args([
        Arg::new("freeze").required(true).value_name("FREEZE").help("The freeze's id"),
        Arg::new("in").long("in").value_name("ENV").help("Lift a freeze of --all in this environment only"),
        verdicts::signer(),
    ])
}

pub(in crate::cli) fn unfreeze(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name);
    let subject = json!({ "freeze": text("freeze"), "environment": text("in") });
    verdicts::decided(matches, DecisionKind::Unfreeze, subject, DecisionVerdict::Approve, None)
}
