//! `interlock approve | reject | sign-off | runbook | resolve | restore | rollback`: shows the document, asks for the passphrase, signs, hands in.

use super::{decide, keys::SealedKey, passphrase};
use crate::{
    cli::{block_on, workspace},
    decisions::{Question, render, whole},
    error::{Error, Result},
    model::{Choice, DecisionKind, DecisionVerdict},
};
use clap::{Arg, ArgMatches, Command};
use serde_json::json;

/// `--as NAME`: whose key signs.
pub fn signer() -> Arg {
    Arg::new("as").long("as").value_name("NAME").help("Whose key signs [default: the only one there is]")
}

fn named(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).required(true).value_name(id.to_uppercase()).help(help)
}

fn reason() -> Arg {
    Arg::new("reason").long("reason").required(true).value_name("TEXT").help("Why; the agent reads it")
}

pub(in crate::cli) fn approve_command(command: Command) -> Command {
    command.about("Approve a plan with your signature").args([named("plan", "The plan's id"), signer()])
}

pub(in crate::cli) fn approve(matches: &ArgMatches) -> Result<()> {
    decided(matches, DecisionKind::Plan, json!(text(matches, "plan")), DecisionVerdict::Approve, None)
}

pub(in crate::cli) fn reject_command(command: Command) -> Command {
    command.about("Refuse a plan with your signature; the agent reads why").args([named("plan", "The plan's id"), reason(), signer()])
}

pub(in crate::cli) fn reject(matches: &ArgMatches) -> Result<()> {
    decided(matches, DecisionKind::Plan, json!(text(matches, "plan")), DecisionVerdict::Reject, Some(text(matches, "reason")))
}

pub(in crate::cli) fn sign_off_command(command: Command) -> Command {
    command.about("Sign off a fact of a directive: `uat`, or what `get-status` asks for").args([
        named("directive", "The directive's id"),
        named("fact", "The fact"),
        signer(),
    ])
}

pub(in crate::cli) fn sign_off(matches: &ArgMatches) -> Result<()> {
    let subject = json!({ "directive": text(matches, "directive"), "fact": text(matches, "fact") });
    decided(matches, DecisionKind::SignOff, subject, DecisionVerdict::Approve, None)
}

pub(in crate::cli) fn runbook_command(command: Command) -> Command {
    let publish = Command::new("publish").about("Publish the version in review").args([named("runbook", "The runbook's id"), signer()]);
    let back =
        Command::new("return").about("Return the version in review").args([named("runbook", "The runbook's id"), reason(), signer()]);
    command.about("Review a runbook").subcommand_required(true).subcommands([publish, back])
}

pub(in crate::cli) fn runbook(matches: &ArgMatches) -> Result<()> {
    let (verb, matches) = matches.subcommand().expect("a subcommand is required");
    let (verdict, reason) = match verb {
        "publish" => (DecisionVerdict::Approve, None),
        _ => (DecisionVerdict::Reject, Some(text(matches, "reason"))),
    };
    decided(matches, DecisionKind::Runbook, json!(text(matches, "runbook")), verdict, reason)
}

pub(in crate::cli) fn resolve_command(command: Command) -> Command {
    let choice =
        Arg::new("choice").required(true).value_name("CHOICE").help("What happens to it").value_parser(Choice::ALL.map(Choice::word));
    command.about("Choose with your signature how a stuck deployment goes on").args([
        named("deployment", "The deployment's id"),
        choice,
        reason(),
        signer(),
    ])
}

pub(in crate::cli) fn restore_command(command: Command) -> Command {
    command.about("Take a deployment's data back with its traffic, with your signature").args([
        named("deployment", "The deployment whose migrations are taken back"),
        reason(),
        signer(),
    ])
}

pub(in crate::cli) fn rollback_command(command: Command) -> Command {
    let to =
        Arg::new("to").long("to").required(true).value_name("DEPLOYMENT").help("The earlier deployment whose release is to serve again");
    let about = "Go back further than to what served before, with your signature";
    command.about(about).after_help("One step back needs no signature: `interlock rollback-deployment`").args([to, reason(), signer()])
}

pub(in crate::cli) fn rollback(matches: &ArgMatches) -> Result<()> {
    let (to, why) = (text(matches, "to"), text(matches, "reason"));
    decided(matches, DecisionKind::Rollback, json!({ "to": to, "reason": why }), DecisionVerdict::Approve, Some(why))
}

pub(in crate::cli) fn resolve(matches: &ArgMatches) -> Result<()> {
    let word = text(matches, "choice");
    let choice = Choice::ALL.into_iter().find(|choice| choice.word() == word);
    let (deployment, why) = (text(matches, "deployment"), text(matches, "reason"));
    let subject = json!({ "deployment": deployment, "choice": choice, "reason": why });
    decided(matches, DecisionKind::Resolve, subject, DecisionVerdict::Approve, Some(why))
}

pub(in crate::cli) fn restore(matches: &ArgMatches) -> Result<()> {
    let (deployment, why) = (text(matches, "deployment"), text(matches, "reason"));
    let subject = json!({ "deployment": deployment, "reason": why });
    decided(matches, DecisionKind::Restore, subject, DecisionVerdict::Approve, Some(why))
}

/// Shows, asks, signs, hands in; prints what was recorded.
pub(super) fn decided(
    matches: &ArgMatches,
    kind: DecisionKind,
    subject: serde_json::Value,
    verdict: DecisionVerdict,
    reason: Option<String>,
) -> Result<()> {
    let workspace = workspace(matches)?;
    let question = Question { kind, subject, verdict };
    let sealed = SealedKey::load(&workspace.approvers_dir(), matches.get_one::<String>("as").map(String::as_str))?;
    block_on(async {
        let review = decide::fetch(&workspace, &question).await?;
        // What to look at first stands last, where it is asked.
        println!("{}", whole(&review)?);
        println!("{}", render(&review)?);
        println!("{} signs with {}", sealed.name, sealed.public_key.fingerprint());
        let key = sealed.open(&passphrase("passphrase: ")?)?;
        let recorded = decide::sign(&workspace, &question, &review, (&sealed.name, &key), reason).await?;
        match matches.get_flag("json") {
            true => println!("{recorded:#}"),
            false => println!("recorded: {} {}", word(verdict), review.subject_sha256.short()),
        }
        Ok::<(), Error>(())
    })
}

fn word(verdict: DecisionVerdict) -> &'static str {
    match verdict {
        DecisionVerdict::Approve => "approved",
        DecisionVerdict::Reject => "refused",
    }
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}
