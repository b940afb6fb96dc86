//! `interlock open`: a link to the pages, good for one session that reads, and opened where there is a screen.

use super::{block_on, people::api::ask, workspace};
use crate::error::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use std::{
    io::IsTerminal,
    process::{self, Stdio},
};

pub(super) fn command(command: Command) -> Command {
    command.about("Print a link to the pages, good once, and open it where there is a screen").args([
        Arg::new("page")
            .value_name("PAGE")
            .help("A plan, deployment, directive or runbook by its id, or /history, /audit … [default: home]"),
        Arg::new("print").long("print").action(ArgAction::SetTrue).help("Only print the link"),
    ])
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let page = matches.get_one::<String>("page").map_or("/", String::as_str);
    let to = address_of(page).ok_or_else(|| {
        Error::invalid(format!("`{page}` is neither an id nor the address of a page"))
            .hint("name a plan_…, dep_…, SD-… or rb_…, or /history")
    })?;
    let reply: Value = block_on(ask(&workspace(matches)?, "open", json!({ "to": to })))?;
    let url = reply["url"].as_str().unwrap_or_default();
    if matches.get_flag("json") {
        println!("{reply:#}");
        return Ok(());
    }
    println!("{url}");
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if has_screen && std::io::stdout().is_terminal() && !matches.get_flag("print") {
        // Where it cannot be opened, the printed link is what there is.
        let _ = process::Command::new("xdg-open").arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
    Ok(())
}

/// Returns the address of the page of an id, or an address as it is.
fn address_of(page: &str) -> Option<String> {
    let section = match page.split_once(['_', '-']).map(|(kind, _)| kind) {
        _ if page.starts_with('/') => return Some(page.to_owned()),
        Some("plan") => "plans",
        Some("dep") => "deployments",
        Some("SD") => "directives",
        Some("rb") => "runbooks",
        _ => return None,
    };
    Some(format!("/{section}/{page}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_page() {
        let said = ["/", "/audit?verify=1", "plan_0a", "dep_7", "SD-DEPLOY-001", "rb_production_web"].map(|page| address_of(page).unwrap());
        assert_eq!(
            said,
            ["/", "/audit?verify=1", "/plans/plan_0a", "/deployments/dep_7", "/directives/SD-DEPLOY-001", "/runbooks/rb_production_web"]
        );
        assert_eq!([address_of("web"), address_of("inc_1")], [None, None]);
    }
}
