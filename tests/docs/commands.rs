//! Every command in the book: run, or said why not and held against something else.

use super::{
    book::{Block, Page, none, pages, read},
    support::{BINARY, databases::Database, required, shop::free_address, workspace::Workspace},
};
use interlock::{cli, operations};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the person in the book types when a passphrase is asked for.
const PASSPHRASE: &str = "correct horse battery";

/// How long a command may take, for `timeout`.
const SECONDS: &str = "180";

/// Where services listen in the book; here they get addresses that are free.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8081"];

/// Why a block is not run, and what holds its commands instead.
type Reason = (&'static str, &'static str, fn(&str) -> Result<(), String>);

const REASONS: &[Reason] = &[
    ("example", "it names things of yours; the command line reads it", reads),
    ("browser", "a passkey is made in a browser (tests/browser.rs); the command line reads it", reads),
    ("cargo", "it builds Interlock; what is run after that, the command line reads", builds),
    ("client", "it is a client's own command; what it is told to start, the command line reads", started_by_client),
    ("tools", "tests/gates/outdated.rs runs it", |_| held_by("tests/gates/outdated.rs", "docs/outdated.md")),
    ("minute", "it takes a minute; .ci/run runs it with the release", |line| held_by(".ci/run", &format!("/{line}"))),
];

/// A command of a page, with the lines of its answer that the page shows.
#[derive(Debug, PartialEq)]
struct Asked {
    line: usize,
    command: String,
    shown: Vec<String>,
}

/// What a page does, in its order.
#[derive(Debug, PartialEq)]
enum Deed {
    Runs(Asked),
    Writes { file: String, text: String, appends: bool },
}

#[test]
fn every_command_of_the_book_runs() {
    let has = ["script", "curl"].map(|name| ["/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(name).is_file()));
    let Some(()) = required::found("terminal", has.iter().all(|it| *it).then_some(()), "no `script` or no `curl` on this machine") else {
        return;
    };
    let pages = pages();
    let (mut ended, mut faults, mut ran) = (BTreeMap::<String, Reader>::new(), Vec::new(), 0);
    for page in pages.iter().filter(|page| !deeds(page).is_empty()) {
        let mut reader = begins(page, &pages, &mut ended);
        for deed in deeds(page) {
            ran += usize::from(matches!(deed, Deed::Runs(_)));
            if let Err(fault) = reader.does(&deed) {
                faults.push(format!("{}:{fault}", page.path));
                break;
            }
        }
        ended.insert(page.path.clone(), reader);
    }
    println!("figure: {ran} commands of the book have run");
    none(faults);
    assert!(ran > 30, "only {ran} commands have run");
}

#[test]
fn a_planted_wrong_command_answer_or_exit_is_caught() {
    let Some(()) = required::found("terminal", Path::new("/usr/bin/script").is_file().then_some(()), "no `script` on this machine") else {
        return;
    };
    let outcome = |text: &str| {
        let page = Page { path: "docs/planted.md".into(), text: format!("# A\n\n```console\n{text}\n```\n") };
        let mut reader = Reader::new();
        deeds(&page).iter().try_for_each(|deed| reader.does(deed))
    };
    assert_eq!(outcome("$ interlock --version\ninterlock …\n$ mkdir a && cd a\n$ pwd\n…/a"), Ok(()));
    assert_eq!(outcome("$ interlock get-status\nerror: no_workspace: …\nhint: …"), Ok(()));
    for (planted, fault) in [
        ("$ interlock get-statu", "ended with 2"),
        ("$ interlock get-status", "ended with 2"),
        ("$ interlock --version\nerror: no_workspace", "ended well, and the page shows an error"),
        ("$ interlock --version\ninterlock 99", "does not say `interlock 99`"),
        ("$ printf 'b\\na\\n'\na\nb", "does not say `b`"),
    ] {
        let told = outcome(planted).unwrap_err();
        assert!(told.contains(fault), "{planted}: {told}");
    }
}

#[test]
fn what_does_not_run_says_why_and_is_held_against_something_else() {
    let pages = pages();
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut faults = Vec::new();
    for page in &pages {
        for block in page.blocks().iter().filter(|block| is_shell(block)) {
            let Some(why) = block.marks.get("needs") else { continue };
            let Some((name, _, check)) = REASONS.iter().find(|(name, ..)| name == why) else {
                faults.push(format!("{}:{}: nobody knows `needs={why}`", page.path, block.line));
                continue;
            };
            for asked in asked(block) {
                *counts.entry(name).or_default() += 1;
                faults
                    .extend(check(&asked.command).err().map(|fault| format!("{}:{}: `{}` {fault}", page.path, asked.line, asked.command)));
            }
        }
    }
    for (name, why, _) in REASONS {
        println!("figure: {} commands of the book do not run here: {why}", counts.get(name).copied().unwrap_or_default());
        assert!(counts.contains_key(name), "no block needs `{name}`: leave it out of the list");
    }
    none(faults);
    // The positive control: each check refuses what is wrong.
    for (check, wrong) in [
        (reads as fn(&str) -> Result<(), String>, "interlock get-deployment --deploymnet dep_1"),
        (reads, "rm -rf build"),
        (builds, "cargo run --release -- demoo"),
        (started_by_client, "claude mcp add interlock -- interlock mpc"),
        (started_by_client, "claude mcp add interlock interlock"),
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    assert!(held_by(".ci/run", "demonstrate").is_err());
}

#[test]
fn the_example_of_an_operation_says_the_same_as_its_call() {
    let (mut pairs, mut faults) = (0, Vec::new());
    for entry in operations::all() {
        let path = format!("tools/{}.md", entry.name);
        let blocks = Page { text: read(&path), path: path.clone() }.blocks();
        for pair in blocks.windows(2).filter(|pair| pair[0].language == "json" && pair[1].language == "sh") {
            let called: serde_json::Value = serde_json::from_str(&pair[0].text).unwrap_or_else(|error| panic!("{path}: {error}"));
            let line = pair[1].text.trim();
            let matches = parsed(line).unwrap_or_else(|fault| panic!("{path}: `{line}` {fault}"));
            let (name, matches) = matches.subcommand().unwrap();
            let typed = (entry.params)(matches).unwrap();
            if (called["name"].as_str(), name) != (Some(entry.name), entry.kebab().as_str()) || typed != called["arguments"] {
                faults.push(format!("{path}: `{line}` says {typed}, and its call {}", called["arguments"]));
            }
            pairs += 1;
        }
        let shown = blocks.iter().filter(|block| block.language == "sh").count();
        assert!(shown > 0, "{path} shows no command");
    }
    assert!(pairs >= 30, "{pairs} pairs");
    none(faults);
}

/// Returns who begins this page: somebody new, or who has done what the page before it says.
fn begins(page: &Page, pages: &[Page], ended: &mut BTreeMap<String, Reader>) -> Reader {
    let Some(before) = page.goes_on_after() else { return Reader::new() };
    if let Some(reader) = ended.remove(&before) {
        return reader;
    }
    // Another page has gone on from there already: it is done again.
    let before = pages.iter().find(|page| page.path == before).unwrap_or_else(|| panic!("{}: there is no {before}", page.path));
    let mut reader = begins(before, pages, ended);
    deeds(before).iter().for_each(|deed| reader.does(deed).unwrap_or_else(|fault| panic!("{}:{fault}", before.path)));
    reader
}

/// Somebody who reads a page and does what it says, in a folder of their own.
struct Reader {
    workspace: Workspace,
    folder: PathBuf,
    /// What stands in the book, and what it is here: addresses, and the names of plans as they appear.
    named: Vec<(String, String)>,
    plans: Vec<String>,
}

impl Reader {
    fn new() -> Self {
        let workspace = Workspace::named("shop", Database::Sqlite);
        let named = ADDRESSES.map(|address| (address.to_owned(), free_address().to_string())).to_vec();
        Reader { folder: workspace.root().to_owned(), workspace, named, plans: Vec::new() }
    }

    fn does(&mut self, deed: &Deed) -> Result<(), String> {
        match deed {
            Deed::Runs(asked) => self.runs(asked).map_err(|fault| format!("{}: `{}` {fault}", asked.line, asked.command)),
            Deed::Writes { file, text, appends } => {
                let path = self.folder.join(file);
                let before = if *appends { fs::read_to_string(&path).unwrap() } else { String::new() };
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, before + &self.here(text)).unwrap();
                Ok(())
            }
        }
    }

    fn runs(&mut self, asked: &Asked) -> Result<(), String> {
        // The names of plans that this page shows, in the order they come.
        let seen: Vec<String> = asked.shown.iter().flat_map(|line| plans(line)).collect();
        let command = self.here(&asked.command);
        let place = self.workspace.root().parent().unwrap().join("place");
        let script = format!("{command}\ncode=$?; pwd >{}; exit $code", place.display());
        let path = format!("{}:{}", Path::new(BINARY).parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("timeout")
            .args(["--foreground", SECONDS, "script", "--quiet", "--return", "--flush", "--command", &script, "/dev/null"])
            .current_dir(&self.folder)
            .envs([("PATH", path.as_str()), ("SHELL", "/bin/bash"), ("NO_COLOR", "1"), ("TERM", "dumb")])
            .envs([("GIT_AUTHOR_NAME", "ada"), ("GIT_AUTHOR_EMAIL", "ada@shop.test"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .envs([("GIT_COMMITTER_NAME", "ada"), ("GIT_COMMITTER_EMAIL", "ada@shop.test")])
            .env_remove("INTERLOCK_WORKSPACE")
            .env_remove("INTERLOCK_DATABASE_URL")
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended before.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{PASSPHRASE}\n{PASSPHRASE}\n").as_bytes());
        let output = child.wait_with_output().unwrap();
        if let Ok(place) = fs::read_to_string(&place) {
            self.folder = place.trim().into();
        }
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        for plan in plans(&said) {
            if !self.named.iter().any(|(_, here)| *here == plan) {
                self.plans.push(plan);
            }
        }
        for plan in seen {
            if !self.named.iter().any(|(book, _)| *book == plan) && !self.plans.is_empty() {
                let here = self.plans.remove(0);
                self.named.push((plan, here));
            }
        }
        self.plans.clear();
        let said: Vec<String> = said.lines().filter(|line| *line != PASSPHRASE).map(|line| self.in_book(line)).collect();
        let code = output.status.code();
        let shows_error = asked.shown.iter().any(|line| line.starts_with("error: "));
        match code {
            Some(0) if shows_error => return Err(format!("ended well, and the page shows an error:\n{}", said.join("\n"))),
            Some(0) => (),
            _ if shows_error => (),
            code => return Err(format!("ended with {}:\n{}", code.map_or("a signal".into(), |code| code.to_string()), said.join("\n"))),
        }
        let mut rest = said.iter();
        for shown in asked.shown.iter().filter(|line| line.trim() != "…") {
            if !rest.any(|line| matches(shown.trim_end(), line.trim_end())) {
                return Err(format!("does not say `{shown}` at its place:\n{}", said.join("\n")));
            }
        }
        Ok(())
    }

    fn here(&self, text: &str) -> String {
        self.named.iter().fold(text.to_owned(), |text, (book, here)| text.replace(book, here))
    }

    fn in_book(&self, text: &str) -> String {
        self.named.iter().fold(text.to_owned(), |text, (book, here)| text.replace(here, book))
    }
}

/// Returns what a page does: its commands that run, and the files it writes.
fn deeds(page: &Page) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for block in page.blocks() {
        let writes = ["file", "append"].iter().find_map(|mark| Some((*mark, block.marks.get(*mark)?.clone())));
        if let Some((mark, file)) = writes {
            deeds.push(Deed::Writes { file, text: block.text, appends: mark == "append" });
        } else if is_shell(&block) && !block.marks.contains_key("needs") {
            deeds.extend(asked(&block).into_iter().map(Deed::Runs));
        }
    }
    deeds
}

fn is_shell(block: &Block) -> bool {
    ["console", "sh", "bash", "shell"].contains(&block.language.as_str())
}

/// Returns the commands of a block.
fn asked(block: &Block) -> Vec<Asked> {
    let mut asked = Vec::<Asked>::new();
    for (index, line) in block.text.lines().enumerate() {
        let line_number = block.line + 1 + index;
        if block.language != "console" {
            let command = line.trim().to_owned();
            if !command.is_empty() && !command.starts_with('#') {
                asked.push(Asked { line: line_number, command, shown: Vec::new() });
            }
        } else if let Some(command) = line.strip_prefix("$ ") {
            asked.push(Asked { line: line_number, command: command.to_owned(), shown: Vec::new() });
        } else if let Some(last) = asked.last_mut() {
            last.shown.push(line.to_owned());
        } else {
            panic!("a console block begins with `{line}`, which is no command");
        }
    }
    asked
}

/// Tells whether a line is what the page shows, `…` standing for anything.
fn matches(shown: &str, line: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return shown == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Returns the names of plans in a text, each once.
fn plans(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("plan_") {
        let name: String = text[at..].chars().take(21).collect();
        if name.len() == 21 && name[5..].bytes().all(|byte| byte.is_ascii_hexdigit()) && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// Splits a line into words as a shell does, without a comment; nothing is filled in.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match quote {
            _ if c == '\\' && quote != Some('\'') => word.get_or_insert_default().extend(characters.next()),
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("has an open quote".into()) } else { Ok(words) }
}

fn parsed(line: &str) -> Result<clap::ArgMatches, String> {
    let words = words(line)?;
    match words.first().map(String::as_str) {
        Some("interlock") => cli::parse(words.into_iter().map(Into::into)).map_err(|error| format!("is not read: {error}")),
        _ => Err("is no command of Interlock".into()),
    }
}

fn reads(line: &str) -> Result<(), String> {
    parsed(line).map(drop)
}

fn builds(line: &str) -> Result<(), String> {
    match line.split_once(" -- ") {
        Some(("cargo run --release", run)) => reads(&format!("interlock {run}")),
        _ if ["cargo install --path .", "cargo test", "cd your-project"].contains(&words(line)?.join(" ").as_str()) => Ok(()),
        _ => reads(line),
    }
}

/// Checks what an MCP client is told to start.
pub fn started_by_client(line: &str) -> Result<(), String> {
    let (_, started) = line.split_once(" -- ").ok_or("starts nothing")?;
    match parsed(started)?.subcommand_name() {
        Some("mcp") => Ok(()),
        _ => Err("does not start `interlock mcp`".into()),
    }
}

fn held_by(path: &str, word: &str) -> Result<(), String> {
    if read(path).contains(word.trim()) { Ok(()) } else { Err(format!("does not stand in {path}")) }
}
