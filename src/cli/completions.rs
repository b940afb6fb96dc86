//! `interlock completions SHELL`: prints what completes commands, flags and choices in a shell.

use crate::error::Error;
use clap::{Arg, ArgMatches, Command};
use clap_complete::{
    Generator, generate,
    shells::{Bash, Fish, Zsh},
};
use std::io::Write;

/// How they are put in place.
const HOW: &str = "\
bash: source <(interlock completions bash)
zsh:  source <(interlock completions zsh)
fish: interlock completions fish | source";

pub(super) fn command(command: Command) -> Command {
    let shell = Arg::new("shell").required(true).value_name("SHELL").value_parser(["bash", "zsh", "fish"]).help("For which shell");
    command.about("Print what completes this command line in your shell").after_help(HOW).arg(shell)
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Error> {
    let script = match matches.get_one::<String>("shell").map(String::as_str) {
        Some("zsh") => script(Zsh),
        Some("fish") => script(Fish),
        _ => script(Bash),
    };
    // Nothing is left to do when standard output is closed.
    let _ = std::io::stdout().write_all(&script);
    Ok(())
}

fn script(shell: impl Generator) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut super::command(), "interlock", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed_in_every_shell() {
        for script in [script(Bash), script(Zsh), script(Fish)] {
            let script = String::from_utf8(script).unwrap();
            for command in crate::cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{}", command.get_name());
            }
        }
    }
}
