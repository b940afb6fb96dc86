//! `interlock approver add | list`: makes a person's key and enrols it. The first approver is trusted on first use; every later
//! one needs the signature of an existing one.

use super::{api::ask, decide, keys::SealedKey, passphrase, render::render};
use crate::{
    cli::{block_on, workspace},
    decisions::{Enrolment, Question},
    error::{Error, Result},
    model::{ApproverName, DecisionKind, DecisionVerdict},
};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

pub(in crate::cli) fn command(command: Command) -> Command {
    let add = Command::new("add").about("Make a key under a passphrase and enrol it").args([
        Arg::new("name").required(true).value_name("NAME").help("The person's name"),
        Arg::new("role").long("role").value_name("ROLE").default_value("chairman").help("The role that environments ask for"),
        Arg::new("by").long("by").value_name("NAME").help("The approver who enrols; needed when there is one already"),
    ]);
    command
        .about("Enrol those who decide")
        .subcommand_required(true)
        .subcommands([add, Command::new("list").about("List approvers with their fingerprints")])
}

pub(in crate::cli) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand().expect("a subcommand is required") {
        ("add", matches) => add(matches),
        (_, matches) => list(matches),
    }
}

fn list(matches: &ArgMatches) -> Result<()> {
    let workspace = workspace(matches)?;
    let reply: Value = block_on(ask(&workspace, "approvers", json!({})))?;
    if matches.get_flag("json") {
        println!("{reply:#}");
        return Ok(());
    }
    let approvers = reply["approvers"].as_array().cloned().unwrap_or_default();
    if approvers.is_empty() {
        println!("nobody may approve yet; `interlock approver add NAME` enrols the first");
    }
    for approver in approvers {
        let text = |name: &str| approver[name].as_str().unwrap_or_default().to_owned();
        println!("{} ({}) {}", text("name"), text("role"), text("fingerprint"));
    }
    Ok(())
}

fn add(matches: &ArgMatches) -> Result<()> {
    let workspace = workspace(matches)?;
    let name = ApproverName::from(matches.get_one::<String>("name").expect("it is required").as_str());
    let role = matches.get_one::<String>("role").expect("it has a default").clone();
    let chosen = passphrase(&format!("new passphrase for {name}: "))?;
    if chosen != passphrase("again: ")? {
        return Err(Error::invalid("the two passphrases differ"));
    }
    let (sealed, _) = SealedKey::create(&name, &chosen)?;
    let enrolment = Enrolment { name: name.clone(), role, public_key: sealed.public_key.clone() };
    block_on(async {
        match matches.get_one::<String>("by") {
            None => ask::<Value>(&workspace, "enrol_first", json!(enrolment)).await.map(|_| ()),
            Some(by) => {
                let question = Question { kind: DecisionKind::Approver, subject: json!(enrolment), verdict: DecisionVerdict::Approve };
                let review = decide::fetch(&workspace, &question).await?;
                println!("{}", render(&review)?);
                let signer = SealedKey::load(&workspace.approvers_dir(), Some(by))?;
                let key = signer.open(&passphrase(&format!("passphrase of {by}: "))?)?;
                decide::sign(&workspace, &question, &review, (&signer.name, &key), None).await.map(|_| ())
            }
        }
    })?;
    let path = sealed.save(&workspace.approvers_dir())?;
    println!("{name} may approve now; fingerprint {}", sealed.public_key.fingerprint());
    println!("the key lies in {}, sealed under the passphrase", path.display());
    Ok(())
}
