//! `interlock approver add | link | admit | list`: makes a person's key and enrols it, or the link by which their browser makes a passkey.
//! The first approver is trusted on first use; every later one, and every further key, needs the signature of an existing one.

use super::{api::ask, decide, keys::SealedKey, passphrase, verdicts};
use crate::{
    cli::{block_on, workspace},
    decisions::{
        Enrolment, Question,
        passkeys::{Link, LinkAsked},
        render,
    },
    error::{Error, Result},
    model::{ApproverName, DecisionKind, DecisionVerdict},
    server::Running,
};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

pub(in crate::cli) fn command(command: Command) -> Command {
    let add = Command::new("add").about("Make a key under a passphrase and enrol it").args([
        Arg::new("name").required(true).value_name("NAME").help("The person's name"),
        Arg::new("role").long("role").value_name("ROLE").default_value("chairman").help("The role that environments ask for"),
        Arg::new("by").long("by").value_name("NAME").help("The approver who enrols; needed when there is one already"),
    ]);
    let link = Command::new("link").about("Print a link, good once and for ten minutes, by which a browser makes a passkey").args([
        Arg::new("name").required(true).value_name("NAME").help("The person's name"),
        Arg::new("role").long("role").value_name("ROLE").default_value("chairman").help("The role that environments ask for"),
    ]);
    let admit = Command::new("admit").about("Enrol with your signature a passkey that was made by a link").args([
        Arg::new("fingerprint").required(true).value_name("FINGERPRINT").help("Its fingerprint, as its person reads it on the page"),
        verdicts::signer(),
    ]);
    let list = Command::new("list").about("List approvers with their fingerprints");
    command.about("Enrol those who decide").subcommand_required(true).subcommands([add, link, admit, list])
}

pub(in crate::cli) fn run(matches: &ArgMatches) -> Result<()> {
    match matches.subcommand().expect("a subcommand is required") {
        ("add", matches) => add(matches),
        ("link", matches) => link(matches),
        ("admit", matches) => admit(matches),
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
        println!(
            "nobody may approve yet; `interlock approver add NAME` enrols the first with a passphrase, `interlock approver link NAME` with a passkey"
        );
    }
    for approver in approvers {
        keys(&approver).iter().for_each(|key| println!("{} ({}) {key}", text(&approver, "name"), text(&approver, "role")));
    }
    for enrolment in waiting(&reply)? {
        let (name, role, fingerprint) = (&enrolment.name, &enrolment.role, enrolment.public_key.fingerprint());
        println!("{name} ({role}) {fingerprint} waits: an approver runs `interlock approver admit {fingerprint}`");
    }
    Ok(())
}

/// Returns an approver's keys as people read them.
pub(in crate::cli) fn keys(approver: &Value) -> Vec<String> {
    let shown = |key: &Value| {
        let passkey = if key["kind"] == "passkey" { " (passkey)" } else { "" };
        let cloned = key["cloned_at"].as_str().map_or(String::new(), |at| format!(", cloned: counts no longer since {at}"));
        format!("{}{passkey}{cloned}", text(key, "fingerprint"))
    };
    approver["keys"].as_array().into_iter().flatten().map(shown).collect()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn waiting(reply: &Value) -> Result<Vec<Enrolment>> {
    serde_json::from_value(reply["waiting"].clone()).map_err(Error::internal)
}

fn link(matches: &ArgMatches) -> Result<()> {
    let workspace = workspace(matches)?;
    let of = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let asked = LinkAsked { name: of("name").into(), role: of("role") };
    let link: Link = block_on(ask(&workspace, "enrolment_link", json!(asked)))?;
    let running = Running::of(&workspace).ok_or_else(|| Error::internal(anyhow::anyhow!("the server that answered is not recorded")))?;
    // Passkeys are given to names, never to addresses.
    let url = format!("http://localhost:{}/enrol?link={}", running.address.port(), link.token);
    if matches.get_flag("json") {
        println!("{:#}", json!({ "url": url, "expires_at": link.expires_at.to_string(), "counts_at_once": link.counts_at_once }));
        return Ok(());
    }
    println!("{url}");
    println!("good once, until {}: open it in the browser of {}", link.expires_at, asked.name);
    match link.counts_at_once {
        true => println!("{} is the first approver: the passkey counts at once", asked.name),
        false => println!("the passkey counts once an approver has admitted it: `interlock approver admit FINGERPRINT`"),
    }
    Ok(())
}

fn admit(matches: &ArgMatches) -> Result<()> {
    let fingerprint = matches.get_one::<String>("fingerprint").expect("it is required");
    let reply: Value = block_on(ask(&workspace(matches)?, "approvers", json!({})))?;
    let enrolment = waiting(&reply)?.into_iter().find(|enrolment| enrolment.public_key.fingerprint() == *fingerprint);
    let enrolment = enrolment.ok_or_else(|| {
        Error::not_found("waiting passkey", fingerprint).hint("`interlock approver list` shows what waits; it waits for a day")
    })?;
    verdicts::decided(matches, DecisionKind::Approver, json!(enrolment), DecisionVerdict::Approve, None)
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
    let enrolment = Enrolment { name: name.clone(), role, public_key: sealed.public_key.clone().into(), further: false };
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
