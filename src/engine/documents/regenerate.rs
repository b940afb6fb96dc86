//! The commands that regenerate a dossier: read-only, few programs and few options, in a clean checkout of the directive's commit.
//!
//! They are an agent's words, and nobody has signed them as configured commands are. So only programs that read are run, with options that
//! neither write nor wait nor follow, over paths inside the checkout, and not where a symbolic link leads out of it.

use crate::{
    engine::{Engine, git, lint::secret_in},
    error::{Code, Error, Result},
    gates::observe::{ObservedRun, observe, scratch_of},
    model::{Directive, Sha256, text},
    store::{CommandRun, CommandRuns},
};
use std::{ffi::OsString, sync::Arc, time::Duration};

/// The programs, each with the letters of the options it may have.
const PROGRAMS: &[(&str, &str)] = &[
    ("cat", "n"),
    ("grep", "nriIcvwxlhHoEFe"),
    ("head", "nc"),
    ("ls", "la1R"),
    ("sed", "n"),
    ("sha256sum", ""),
    ("tail", "nc"),
    ("wc", "lwcm"),
];
/// How many a dossier has at most.
const MOST: usize = 8;
/// The longest command, in characters.
const CHARS: usize = 500;
/// How long one may take, checkout included.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much of its output is shown.
const SHOWN_CHARS: usize = 1_000;

/// Returns the argv of commands as an agent gave them: a JSON list of words, or words apart by spaces; refused when one may not be run.
pub fn commands_of(lines: &[String]) -> Result<Vec<Vec<String>>> {
    if lines.len() > MOST {
        return Err(Error::invalid(format!("`commands` has {}; at most {MOST} are taken", lines.len())));
    }
    lines.iter().map(|line| argv_of(line)).collect()
}

fn argv_of(line: &str) -> Result<Vec<String>> {
    let refused = |why: String| {
        let programs: Vec<&str> = PROGRAMS.iter().map(|(program, _)| *program).collect();
        let message = format!("`commands`: {why}: `{}`", text::visible_line(line, 120));
        Error::invalid(message).hint(format!("read-only, inside the checkout, no shell: {}", programs.join(", ")))
    };
    if line.chars().count() > CHARS {
        return Err(refused(format!("more than {CHARS} characters")));
    }
    let argv: Vec<String> = match line.trim_start().starts_with('[') {
        true => serde_json::from_str(line).map_err(|_| refused("no JSON list of words".into()))?,
        false if line.contains(['"', '\'', '\\', '|', '>', '<', ';', '&', '$', '`', '*', '?']) => {
            return Err(refused("there is no shell: write it as a JSON list, `[\"grep\", \"-n\", \"a b\", \"file\"]`".into()));
        }
        false => line.split_whitespace().map(str::to_owned).collect(),
    };
    check(&argv).map_err(refused)?;
    Ok(argv)
}

/// Says why an argv may not be run; nothing where it may. Pure.
fn check(argv: &[String]) -> std::result::Result<(), String> {
    let (program, rest) = argv.split_first().ok_or("an empty command")?;
    let Some((_, letters)) = PROGRAMS.iter().find(|(known, _)| known == program) else {
        return Err(format!("`{}` is not run", text::visible_line(program, 40)));
    };
    let mut operands = Vec::new();
    for word in rest {
        if word.chars().any(|letter| text::is_hidden(letter) || letter == '\n') {
            return Err("a character that cannot be seen".into());
        }
        let is_option = word.len() > 1 && word.starts_with('-');
        match is_option {
            true if !word[1..].chars().all(|letter| letter.is_ascii_digit() || letters.contains(letter)) => {
                return Err(format!("`{program}` is not run with `{}`", text::visible_line(word, 40)));
            }
            true => (),
            false if word == "-" || word.starts_with('/') || word.split('/').any(|part| part == "..") => {
                return Err(format!("`{}` is no path inside the checkout", text::visible_line(word, 80)));
            }
            false => operands.push(word.as_str()),
        }
    }
    let is_range = |script: &str| {
        let numbers = script.strip_suffix('p').unwrap_or_default().split(',').collect::<Vec<_>>();
        numbers.len() <= 2 && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    // Anything else that sed takes may write, or run something.
    if program == "sed" && !(rest.first().is_some_and(|word| word == "-n") && operands.len() >= 2 && is_range(operands[0])) {
        return Err("`sed` is run only as `sed -n FROM,TOp FILE`".into());
    }
    if operands.is_empty() && program != "ls" {
        return Err(format!("`{program}` reads nothing"));
    }
    Ok(())
}

/// Tells whether a symbolic link leads out of the repository, by its path from the root and what it names. Pure.
///
/// A link's own folder is where it is: as many steps up as that is deep stay inside. A step up after a name may pass through another link.
fn leads_out(path: &str, target: &str) -> bool {
    let depth = path.matches('/').count();
    let parts: Vec<&str> = target.split('/').filter(|part| *part != ".").collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    target.starts_with('/') || up > depth || parts[up..].contains(&"..")
}

impl Engine {
    /// Runs commands in a clean checkout of the directive's commit, and returns what came of each beside what came of it first.
    pub(super) async fn regenerate(
        self: &Arc<Self>,
        directive: &Directive,
        argvs: &[Vec<String>],
        before: &[CommandRuns],
    ) -> Result<Vec<CommandRuns>> {
        let Some(commit) = directive.commit.clone() else {
            return Err(Error::new(Code::WrongState, format!("`{}` knows no commit: there is nothing to check out", directive.id))
                .hint("order it from a git repository"));
        };
        let links = git::links(&self.workspace.root, &commit)
            .await
            .ok_or_else(|| Error::new(Code::WrongState, format!("the workspace's repository cannot list commit `{commit}`")))?;
        if let Some((path, _)) = links.iter().find(|(path, target)| leads_out(path, target)) {
            let message =
                format!("`{}` leads out of the repository: no command is run at commit `{commit}`", text::visible_line(path, 120));
            return Err(Error::new(Code::DeniedByPolicy, message).hint("take the link out, or cite the lines instead"));
        }
        let mut runs = Vec::new();
        for argv in argvs {
            // A task of its own: a caller that goes away leaves no command and no checkout behind.
            let (engine, argv, commit) = (Arc::clone(self), argv.clone(), commit.clone());
            let last = tokio::spawn(async move { engine.run_once(argv, commit).await }).await.map_err(Error::internal)?;
            let command = argvs[runs.len()].clone();
            let first = before.iter().find(|known| known.command == command && known.first.commit == last.commit);
            runs.push(CommandRuns { first: first.map_or_else(|| last.clone(), |known| known.first.clone()), command, last });
        }
        Ok(runs)
    }

    async fn run_once(&self, command: Vec<String>, commit: String) -> CommandRun {
        let environment = crate::command::allowed_environment().into_iter().filter(|(name, _)| name == "PATH");
        let run = ObservedRun {
            workspace: self.workspace.root.clone(),
            commit: commit.clone(),
            command,
            report: "-".into(),
            scratch: scratch_of(&self.workspace.root),
            timeout: PATIENCE,
            cancel: self.stop.child_token(),
            environment: environment.chain([(OsString::from("LC_ALL"), OsString::from("C"))]).collect(),
        };
        let seen = observe(run, |_, _| ()).await;
        let (exit_code, fault, bytes) = match seen {
            Ok(seen) => (seen.exit_code, seen.fault, seen.report.unwrap_or_default()),
            Err(error) => (None, Some(error.to_string()), Vec::new()),
        };
        let whole = String::from_utf8_lossy(&bytes);
        let output = match secret_in(&whole) {
            Some(_) => "(not kept: something in it looks like a secret)".into(),
            None => text::visible(&whole, SHOWN_CHARS),
        };
        CommandRun { commit, at: self.clock.now(), exit_code, fault, sha256: Sha256::of(&bytes), size_bytes: bytes.len() as u64, output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_inside_the_checkout_is_run() {
        for line in [
            "cat docs/a.yaml",
            "grep -rn depends_on src",
            "head -n 5 a",
            "tail -5 a",
            "wc -l a b",
            "ls -la",
            "sed -n 3,9p a",
            "sha256sum a",
        ] {
            assert_eq!(argv_of(line).unwrap().join(" "), line);
        }
        assert_eq!(argv_of(r#"["grep", "-n", "a b|c", "-e", "x", "f"]"#).unwrap()[2], "a b|c");
        for line in [
            "",
            "rm a",
            "/bin/cat a",
            "sh -c ls",
            "git log",
            "cat /etc/passwd",
            "cat ../a",
            "cat a/../../b",
            "cat",
            "cat -",
            "cat a > b",
            "cat $HOME",
            "grep -f /etc/passwd a",
            "grep -R x .",
            "grep --include=a x .",
            "tail -f a",
            "wc --files0-from=a",
            "sed -i s/a/b/ a",
            "sed -n 1,2w a",
            "sed -n 1e a",
            "sed -n p a",
            "sed 3p a",
            "sed -n 1,2,3p a",
            "ls --color",
            "[]",
            "[1]",
            "[\"cat\", \"a\\u202eb\"]",
            "[",
        ] {
            let refused = argv_of(line).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArguments, "`{line}`");
        }
        assert!(commands_of(&vec!["cat a".to_owned(); 9]).is_err() && argv_of(&format!("cat {}", "a".repeat(500))).is_err());
    }

    #[test]
    fn a_link_that_may_lead_out_is_told_from_one_that_does_not() {
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a", "./b/c")] {
            assert!(!leads_out(path, target), "{path} -> {target}");
        }
        for (path, target) in [("a", "/etc"), ("a", ".."), ("a/b", "../../c"), ("a/b", "c/../d"), ("a", "./../b")] {
            assert!(leads_out(path, target), "{path} -> {target}");
        }
    }
}
