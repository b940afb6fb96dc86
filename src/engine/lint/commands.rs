//! RB007 and RB008: what a runbook has people type, beside what was run.

use super::{Code, Findings, Known, Level, Runbook, shell};
use crate::{engine::runbook, model::ServiceSpec};
use serde_json::Value;
use std::collections::BTreeSet;

/// Languages whose blocks are commands for a shell.
const SHELLS: &[&str] = &["sh", "bash", "shell", "zsh", "console"];
/// What `interlock` may be asked in a runbook, about what the record names.
const ASKED: &[&str] = &[
    "get-status",
    "get-deployment",
    "get-runbook",
    "read-log",
    "verify-deployment",
    "execute-deployment",
    "rollback-deployment",
    "hold-deployment",
    "approve",
    "restore",
];

/// Tells whether a block of this language holds commands.
pub(super) fn is_command(language: &str) -> bool {
    language == "argv" || SHELLS.contains(&language)
}

/// A command as it stands in a runbook.
pub(super) struct Typed {
    pub(super) line: usize,
    pub(super) argv: Vec<String>,
    is_piped: bool,
    reason: Option<String>,
}

/// Returns the commands of a block, and what in it cannot be read, with its line.
pub(super) fn typed(code: &Code<'_>) -> (Vec<Typed>, Option<(usize, String)>) {
    typed_at(code, "$ ")
}

/// Returns them as [`typed`], of a console those behind this prompt.
fn typed_at(code: &Code<'_>, prompt: &str) -> (Vec<Typed>, Option<(usize, String)>) {
    if code.language == "argv" {
        let mut typed = Vec::new();
        for (at, line) in code.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Vec<String>>(line) {
                Ok(argv) if !argv.is_empty() => typed.push(Typed { line: code.from + at, argv, is_piped: false, reason: None }),
                _ => return (typed, Some((code.from + at, "it is no list of words".into()))),
            }
        }
        return (typed, None);
    }
    if !SHELLS.contains(&code.language) {
        return (Vec::new(), None);
    }
    // What a console answers stands below the line with its prompt; `#` is root's.
    let script = match code.language == "console" {
        true => code.text.lines().map(|line| format!("{}\n", line.trim_start().strip_prefix(prompt).unwrap_or_default())).collect(),
        false => code.text.to_owned(),
    };
    match shell::commands(&script) {
        Ok(commands) => {
            let typed = commands.into_iter().map(|command| Typed {
                line: code.from + command.line,
                argv: command.argv,
                is_piped: command.is_piped,
                reason: command.reason,
            });
            (typed.collect(), None)
        }
        Err((line, why)) => (Vec::new(), Some((code.from + line, why))),
    }
}

pub(super) fn check(runbook: &Runbook<'_>, known: &Known<'_>, found: &mut Findings) {
    let recorded = recorded(known);
    let notes_from = found.notes_from;
    for code in runbook.code() {
        let is_note = code.line >= notes_from;
        if code.language.is_empty() {
            let level = if is_note { Level::Warn } else { Level::Block };
            found.put("RB007", level, code.line, "a block of code without a language".into(), "name it: `argv`, `sh`, `text`", None);
        }
        let (typed, fault) = typed(&code);
        if let Some((line, why)) = fault {
            found.block("RB007", line, format!("this command cannot be read: {why}"), "write it as it was run");
        }
        if code.language == "console" {
            // Read as a command where it may be a comment, it is at most found to be reckless.
            typed_at(&code, "# ").0.iter().for_each(|command| reckless(command, found));
        }
        for command in &typed {
            reckless(command, found);
            let level = if is_note { Level::Warn } else { Level::Block };
            if !is_recorded(&command.argv, &recorded, known) {
                let fix = "give the command that was run, or leave it to the server";
                found.put("RB008", level, command.line, "this command is not in the recorded run".into(), fix, None);
            }
        }
    }
}

/// Words that stand before a program and are none.
const BEFORE: [&str; 6] = ["then", "do", "else", "!", "{", "time"];
/// Programs that run another: their options that take a value, and how many words come before the other.
const RUNNERS: [(&str, &str, usize); 12] = [
    ("sudo", "ugpCThUrtDR", 0),
    ("doas", "uC", 0),
    ("env", "uCS", 0),
    ("exec", "a", 0),
    ("nohup", "", 0),
    ("setsid", "", 0),
    ("command", "", 0),
    ("nice", "n", 0),
    ("ionice", "cnp", 0),
    ("timeout", "ks", 1),
    ("xargs", "IadELnPs", 0),
    ("chroot", "", 1),
];

/// Returns where the program stands that a command line runs in the end.
fn program(argv: &[String]) -> usize {
    let mut at = 0;
    while let Some(word) = argv.get(at) {
        let name = word.rsplit('/').next().unwrap_or_default();
        if BEFORE.contains(&word.as_str()) || word.contains('=') {
            at += 1;
        } else if let Some((_, valued, positional)) = RUNNERS.iter().find(|(runner, ..)| *runner == name) {
            at += 1;
            while let Some(option) = argv.get(at).filter(|word| word.starts_with('-')) {
                let takes_value = option.len() == 2 && option.ends_with(|letter| valued.contains(letter));
                at += if takes_value { 2 } else { 1 };
            }
            at += positional;
        } else {
            break;
        }
    }
    at
}

fn reckless(command: &Typed, found: &mut Findings) {
    let at = program(&command.argv);
    let name = command.argv.get(at).map_or("", |word| word.rsplit('/').next().unwrap_or_default());
    let interpreters = ["sh", "bash", "zsh", "dash", "python", "python3", "perl", "ruby", "node"];
    if command.is_piped && interpreters.contains(&name) {
        found.block("RB007", command.line, format!("whatever arrives is run by `{name}`"), "fetch it, check its digest, then run it");
    }
    let flags = || command.argv.iter().filter(|word| word.starts_with('-'));
    if name == "rm" {
        let is_short = |letters: &[char]| flags().any(|flag| !flag.starts_with("--") && flag.contains(letters));
        let is_deep = is_short(&['r', 'R']) || flags().any(|flag| flag == "--recursive");
        let wide = command.argv.iter().skip(at + 1).find(|word| word.contains(['$', '*']) || *word == "/");
        if let Some(wide) = wide.filter(|_| is_deep) {
            found.block("RB007", command.line, format!("`rm` takes away whatever `{wide}` is at that moment"), "name the path in full");
        }
    }
    let careless = flags().find(|flag| ["--force", "-y", "--yes", "--assume-yes"].contains(&flag.as_str()));
    if let Some(flag) = careless.filter(|_| command.reason.is_none()) {
        found.warn("RB007", command.line, format!("`{flag}` without a reason"), "say why in a comment beside it");
    }
}

/// Returns every command line of the record.
fn recorded(known: &Known<'_>) -> BTreeSet<Vec<String>> {
    let report = known.report;
    let started = report.steps.iter().filter_map(|entry| serde_json::from_value(entry.output["argv"].clone()).ok());
    let ours = [runbook::rollback_argv(report), runbook::execute_argv(report)];
    let ours = ours.iter().filter_map(|argv| serde_json::from_str(argv).ok());
    started.chain(ours).chain(of_data(known.spec)).collect()
}

/// Returns the command lines that a service's data is prepared, saved and moved with.
fn of_data(spec: &ServiceSpec) -> Vec<Vec<String>> {
    fn take(value: &Value, found: &mut Vec<Vec<String>>) {
        match serde_json::from_value(value.clone()) {
            Ok(argv) => found.push(argv),
            Err(_) => match value {
                Value::Array(items) => items.iter().for_each(|item| take(item, found)),
                Value::Object(fields) => fields.values().for_each(|field| take(field, found)),
                _ => (),
            },
        }
    }
    let mut found = Vec::new();
    take(&serde_json::to_value(&spec.data).unwrap_or_default(), &mut found);
    found.retain(|argv| !argv.is_empty());
    found
}

fn is_recorded(argv: &[String], recorded: &BTreeSet<Vec<String>>, known: &Known<'_>) -> bool {
    recorded.contains(argv) || is_asked(argv, known)
}

/// Tells whether `interlock` is asked about nothing but what the record names; a reason is free.
fn is_asked(argv: &[String], known: &Known<'_>) -> bool {
    let [program, verb, rest @ ..] = argv else { return false };
    let ids = known.ids();
    let is_known = |word: &String| {
        let is_id = ["dep_", "plan_", "rb_", "SD-", "inc_"].iter().any(|begins| word.starts_with(begins));
        !is_id || ids.contains(word)
    };
    let said = rest.iter().enumerate().filter(|(at, _)| *at == 0 || rest[at - 1] != "--reason").map(|(_, word)| word);
    program == "interlock" && ASKED.contains(&verb.as_str()) && said.clone().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn whoever_runs_a_program_is_not_the_program() {
        for (line, found) in [
            ("rm -rf /", "rm"),
            ("sudo -u ann rm -rf /", "rm"),
            ("sudo -n -u ann env A=b nice -n 5 /bin/rm -rf /", "/bin/rm"),
            ("then timeout -k 5 10 rm x", "rm"),
            ("xargs -n 1 rm", "rm"),
            ("A=b exec bash", "bash"),
            ("sudo -u", ""),
            ("", ""),
        ] {
            let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(argv.get(program(&argv)).map_or("", String::as_str), found, "{line}");
        }
    }
}
