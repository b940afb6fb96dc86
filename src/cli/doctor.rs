//! `interlock doctor`: the trust tier, the approvers' fingerprints, what the agent could still reach, and what needs a person.

use super::{
    block_on,
    people::{api::ask, approver::keys},
    workspace,
};
use crate::{error::Error, server::Running};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub(super) fn command(command: Command) -> Command {
    command.about("Say how far this installation can be trusted, and what needs a person")
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let workspace = workspace(matches)?;
    let report: Value = block_on(async {
        let approvers: Value = ask(&workspace, "approvers", json!({})).await?;
        let status: Value = ask(&workspace, "get_status", json!({})).await?;
        let audit: Value = ask(&workspace, "audit_verify", json!({})).await?;
        let server = Running::of(&workspace)
            .map(|running| json!({ "pid": running.pid, "address": running.address.to_string(), "version": running.version }));
        Ok(json!({
            "tier": "local",
            "means": "server, instances and agent share one user: a seat belt and a tamper-evident record, not a wall",
            "agent_could_reach": [
                "the database, the release store and the sealed keys in .interlock (altering the record is seen by `audit verify`)",
                "the instances and the proxy by signals of the same user",
                "interlock.toml on disk (not used until it is applied; where approval is asked, signed)",
            ],
            "agent_cannot": ["sign a decision without an approver's passphrase or passkey"],
            "server": server,
            "approvers": approvers["approvers"],
            "audit": audit,
            "places": status["places"],
            "configuration_drifted": status["configuration_drifted"].as_bool().unwrap_or(false),
        }))
    })?;
    if matches.get_flag("json") {
        println!("{report:#}");
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("tier       {}: {}", text(&report["tier"]), text(&report["means"]));
    for line in report["agent_could_reach"].as_array().into_iter().flatten() {
        println!("reachable  {}", text(line));
    }
    println!("not        {}", text(&report["agent_cannot"][0]));
    println!("server     pid {} at {}", report["server"]["pid"], text(&report["server"]["address"]));
    println!("audit      {} entries hold, head {}", report["audit"]["entries"], text(&report["audit"]["head"]));
    match report["approvers"].as_array().filter(|approvers| !approvers.is_empty()) {
        None => println!("approvers  nobody; `interlock approver add NAME` enrols the first"),
        Some(approvers) => approvers.iter().for_each(|approver| {
            let (name, role) = (text(&approver["name"]), text(&approver["role"]));
            keys(approver).iter().for_each(|key| println!("approver   {name} ({role}) {key}"));
        }),
    }
    for place in report["places"].as_array().into_iter().flatten() {
        let serves = place["serves"].as_str().unwrap_or("nothing");
        println!(
            "place      {} in {}: {serves} at {}; requires {}",
            text(&place["service"]),
            text(&place["environment"]),
            text(&place["listen"]),
            text(&place["requires"])
        );
    }
    for place in report["places"].as_array().into_iter().flatten() {
        let of =
            |what: &str| place[what].as_str().map(|said| format!("{} in {}: {said}", text(&place["service"]), text(&place["environment"])));
        of("frozen").into_iter().for_each(|frozen| println!("frozen     {frozen}"));
        of("under_way").into_iter().for_each(|under_way| println!("under way  {under_way}"));
    }
    if report["configuration_drifted"] == true {
        println!("drift      interlock.toml differs from the applied revision, which alone counts; `interlock apply` applies it");
    }
    Ok(())
}
