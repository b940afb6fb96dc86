//! The pages that the program gives: operations, command line, error codes, and the list of pages for models.

use super::book::{Page, chapters, none, read, root};
use interlock::{cli, error::Code, operations};
use std::{fmt::Write, fs};

#[test]
fn the_reference_pages_are_those_the_program_gives() {
    let entries = operations::all();
    let pages = [
        ("docs/reference/operations.md", page("Operations", OPERATIONS, &marked(&cli::operations_reference(&entries)))),
        ("docs/reference/cli.md", page("Command line", COMMAND_LINE, &cli::command_line_reference(&entries))),
        ("docs/reference/errors.md", page("Error codes", ERRORS, &cli::codes())),
    ];
    if std::env::var("INTERLOCK_WRITE_DOCS").is_ok() {
        for (path, text) in &pages {
            fs::write(root().join(path), text).unwrap();
        }
        // It tells what the pages begin with.
        fs::write(root().join("docs/llms.txt"), llms()).unwrap();
        return;
    }
    none(pages.iter().filter_map(|(path, text)| difference(path, &read(path), text)).collect());
    none(difference("docs/llms.txt", &read("docs/llms.txt"), &llms()).into_iter().collect());
    // The positive control: one word more.
    let (path, text) = &pages[2];
    assert!(difference(path, &text.replacen("agent", "an agent", 1), text).unwrap().contains("INTERLOCK_WRITE_DOCS=1"));
}

#[test]
fn every_code_has_its_place_in_troubleshooting() {
    let page = Page { path: String::new(), text: read("docs/troubleshooting.md") };
    let anchors = page.anchors();
    none(
        Code::ALL
            .iter()
            .filter(|code| !anchors.contains(&code.to_string()))
            .map(|code| format!("docs/troubleshooting.md: nothing of {code}"))
            .collect(),
    );
}

#[test]
fn a_manual_lists_the_arguments_of_its_operation() {
    let mut faults = Vec::new();
    for entry in operations::all() {
        let path = format!("tools/{}.md", entry.name);
        let text = read(&path);
        let listed = text.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
        let listed: Vec<(&str, bool)> = listed.map(|(name, rest)| (name, rest.starts_with(" (required)"))).collect();
        let properties = entry.input_schema["properties"].as_object().cloned().unwrap_or_default();
        for name in properties.keys() {
            match listed.iter().find(|(listed, _)| listed == name) {
                None => faults.push(format!("{path}: nothing of `{name}`")),
                Some((_, is_required)) if *is_required != entry.required().contains(&name.as_str()) => {
                    faults.push(format!("{path}: whether `{name}` is required"))
                }
                Some(_) => (),
            }
        }
    }
    none(faults);
}

const OPERATIONS: &str = "Everything an agent can ask: each is a tool of MCP, a method of JSON-RPC at `/rpc`, and a command of \
`interlock`. A toolset is offered with `interlock mcp --toolsets core,lifecycle,setup`; a tool that is not offered is neither listed nor \
called. Each answer has `state`, `summary`, `guidance` and `next_actions`, of which one is recommended; a refusal has a \
[code](errors.md). Nothing here decides: that takes a person's signature ([approvals](../approvals.md)).";

const COMMAND_LINE: &str = "The commands of people, and those that run Interlock. The [operations](operations.md) are commands too: \
`get_status` is `interlock get-status`, and an id may follow it without its flag where the operation needs one. With `--json` an answer \
is the whole reply, and a refusal the whole error; the exit code is that of the [error](errors.md).";

const ERRORS: &str = "A code is never renamed. `who` can do something about it: `agent` the caller, `person` somebody at the terminal or \
on the pages, `ci` the CI system, `server` nobody, it goes on by itself. A refusal may say more than stands here: its `hint` and its \
`next_actions` name the thing. [Troubleshooting](../troubleshooting.md) has more words on each.";

fn page(title: &str, words: &str, body: &str) -> String {
    // What is written by hand is a source; who opens the page is told.
    format!("# {title}\n\n<!-- written by tests/docs/reference.rs -->\n\n{words}\n\n{}\n", body.trim_end())
}

/// The examples name things of the reader's: they are held against the command line, and do not run.
fn marked(text: &str) -> String {
    text.replace("```sh\n", "```sh needs=example\n")
}

/// Returns the list of pages for models, as llmstxt.org describes it.
fn llms() -> String {
    let mut text = String::from(
        "# Interlock\n\n> One binary between AI coding agents and production. Agents check, plan, execute, verify and roll back deployments; \
gates, a person's signature over the exact plan, and automatic rollback decide.\n\nAn agent that is connected needs none of this: \
`get_status` says what is there and what can be done next.\n",
    );
    let mut part = None;
    for chapter in chapters(&read("docs/SUMMARY.md")).unwrap() {
        if part.as_ref() != Some(&chapter.part) {
            let _ = write!(text, "\n## {}\n\n", if chapter.part.is_empty() { "Start" } else { &chapter.part });
            part = Some(chapter.part.clone());
        }
        let path = format!("docs/{}", chapter.path);
        let (_, first) = if root().join(&path).is_file() { Page { text: read(&path), path }.opening() } else { Default::default() };
        let _ = writeln!(text, "- [{}]({}): {first}", chapter.title, chapter.path);
    }
    text
}

fn difference(path: &str, is: &str, should: &str) -> Option<String> {
    let line =
        is.lines().zip(should.lines()).position(|(is, should)| is != should).unwrap_or(is.lines().count().min(should.lines().count()));
    let shown = |text: &str| text.lines().nth(line).unwrap_or("its end").to_owned();
    (is != should).then(|| {
        format!(
            "{path}:{}: is `{}`, and the program gives `{}`; `INTERLOCK_WRITE_DOCS=1 cargo test --test docs reference` writes it anew",
            line + 1,
            shown(is),
            shown(should)
        )
    })
}
