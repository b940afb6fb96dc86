//! The reference pages, made from what the binary knows: error codes, operations and the command line.

use crate::{
    error::{Code, Error},
    operations::{Effect, Entry, Toolset},
    rpc,
};
use std::fmt::Write;

/// How wide help is printed.
const WIDTH: usize = 100;

/// Returns the table of error codes, Markdown.
pub fn codes() -> String {
    let mut page = String::from("| code | JSON-RPC | exit | who | meaning | what to do |\n|---|---|---|---|---|---|\n");
    for &code in Code::ALL {
        let Error { who, hint, .. } = Error::new(code, "");
        let _ = writeln!(page, "| `{code}` | {} | {} | {who} | {} | {hint} |", rpc::number(code), code.exit(), code.meaning().trim());
    }
    page
}

/// Returns the reference of operations, Markdown.
pub fn operations(entries: &[Entry]) -> String {
    let mut page = String::new();
    for entry in entries {
        let toolset = match entry.toolset {
            Toolset::Core => "offered always",
            Toolset::Lifecycle => "toolset `lifecycle`",
            Toolset::Setup => "toolset `setup`",
        };
        let effect = match entry.effect {
            Effect::Reads => "reads",
            Effect::Records => "writes the record",
            Effect::Deploys => "changes what serves",
        };
        let _ = writeln!(page, "## {}\n\n{toolset} · {effect}\n\n{}\n\n{}\n", entry.name, entry.manual.description, entry.manual.docs);
    }
    page
}

/// Returns the help of every command that is no operation, Markdown.
pub fn command_line(entries: &[Entry]) -> String {
    let mut page = String::new();
    for mut command in super::command().get_subcommands().cloned() {
        if entries.iter().any(|entry| entry.kebab() == command.get_name()) {
            continue;
        }
        let name = command.get_name().to_owned();
        helped(&mut page, &mut command, &name, 2);
    }
    page
}

/// Writes a command's help, and that of the commands in it.
fn helped(page: &mut String, command: &mut clap::Command, name: &str, depth: usize) {
    let mut shown = command.clone().bin_name(format!("interlock {name}")).term_width(WIDTH);
    let help = shown.render_help().to_string();
    let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = writeln!(page, "{} interlock {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n"));
    for inner in command.get_subcommands_mut() {
        let name = format!("{name} {}", inner.get_name());
        helped(page, inner, &name, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_table() {
        let page = codes();
        assert_eq!(page.lines().count(), Code::ALL.len() + 2);
        assert!(
            page.contains("| `invalid_arguments` | 1000 | 2 | agent | An argument is missing, of the wrong type, unknown or out of range. | correct the argument"),
            "{page}"
        );
    }
}
