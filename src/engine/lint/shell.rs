//! Reads command lines as a shell would, as far as it takes to say which programs they call. Runs nothing.

/// A command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// The line it begins in, from 0.
    pub(super) line: usize,
    /// Its words, without their quotes.
    pub(super) argv: Vec<String>,
    /// Whether it reads what the command before it writes.
    pub(super) is_piped: bool,
    /// What stands behind a `#` in its line, or alone in the line before.
    pub(super) reason: Option<String>,
}

/// Returns the commands of a script, or the line from 0 that cannot be read, and why.
pub(super) fn commands(script: &str) -> Result<Vec<Command>, (usize, String)> {
    let (mut found, mut open, mut said) = (Vec::new(), Vec::new(), None::<String>);
    let mut lines = script.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut line = line.trim().to_owned();
        while line.ends_with('\\') {
            line.pop();
            match lines.next() {
                Some((_, next)) => line.push_str(next.trim()),
                None => return Err((at, "it goes on in a line that is not there".into())),
            }
        }
        if let Some(comment) = line.strip_prefix('#') {
            said = Some(comment.trim().to_owned());
            continue;
        }
        let (commands, comment) = one(&line).map_err(|why| (at, why))?;
        let reason = comment.or(said.take()).filter(|reason| !reason.is_empty());
        for (is_piped, argv) in commands {
            match argv[0].as_str() {
                "if" => open.push("fi"),
                "for" | "while" | "until" => open.push("done"),
                "case" => open.push("esac"),
                end @ ("fi" | "done" | "esac") if open.pop() != Some(end) => return Err((at, format!("`{end}` ends nothing"))),
                _ => (),
            }
            found.push(Command { line: at, argv, is_piped, reason: reason.clone() });
        }
    }
    match open.pop() {
        Some(end) => Err((script.lines().count().saturating_sub(1), format!("`{end}` is missing"))),
        None => Ok(found),
    }
}

/// A line's commands, each with whether it is piped into, and its comment.
type Line = (Vec<(bool, Vec<String>)>, Option<String>);

fn one(line: &str) -> Result<Line, String> {
    let (mut commands, mut argv, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let (mut is_piped, mut brackets, mut comment) = (false, 0_i32, None);
    let mut characters = line.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' | '"' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        None => return Err(format!("a quotation that begins with {character} has no end")),
                        Some((_, end)) if end == character => break,
                        Some((_, '\\')) if character == '"' => quoted.extend(characters.next().map(|(_, escaped)| escaped)),
                        Some((_, inside)) => quoted.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next().map(|(_, escaped)| escaped)),
            '#' if word.is_none() => {
                comment = Some(line[at + 1..].trim().to_owned());
                break;
            }
            '|' | ';' | '&' if brackets == 0 && !(character == '&' && word.as_deref().is_some_and(|word| word.ends_with(['>', '<']))) => {
                let is_double = characters.next_if(|(_, next)| *next == character).is_some();
                argv.extend(word.take());
                if argv.is_empty() {
                    return Err(format!("nothing stands before `{character}`"));
                }
                commands.push((is_piped, std::mem::take(&mut argv)));
                is_piped = character == '|' && !is_double;
                let goes_on = character == '|' || is_double;
                if goes_on && characters.clone().all(|(_, rest)| rest.is_whitespace()) {
                    return Err(format!("nothing stands behind `{character}`"));
                }
            }
            space if space.is_whitespace() => argv.extend(word.take()),
            plain => {
                brackets += i32::from(plain == '(') - i32::from(plain == ')');
                word.get_or_insert_default().push(plain);
            }
        }
    }
    if brackets != 0 {
        return Err("its brackets do not match".into());
    }
    argv.extend(word);
    if !argv.is_empty() {
        commands.push((is_piped, argv));
    }
    Ok((commands, comment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(script: &str) -> Vec<Vec<String>> {
        commands(script).unwrap().into_iter().map(|command| command.argv).collect()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(argv("a 'b c' \"d \\\" e\" f\\ g # why"), [["a", "b c", "d \" e", "f g"]]);
        assert_eq!(argv("a | b && c; d &\n\n# e\nf \\\n  g"), [vec!["a"], vec!["b"], vec!["c"], vec!["d"], vec!["f", "g"]]);
        assert_eq!(argv("a 2>&1 $(b | c)"), [["a", "2>&1", "$(b", "|", "c)"]]);
        let piped: Vec<bool> = commands("a | b || c").unwrap().iter().map(|command| command.is_piped).collect();
        assert_eq!(piped, [false, true, false]);
        assert_eq!(commands("# it is stale\nrm x").unwrap()[0].reason.as_deref(), Some("it is stale"));
        assert!(argv("for x in 1 2; do\n  a\ndone\nif a; then\n  b\nfi").len() >= 6);
    }

    #[test]
    fn what_no_shell_reads_is_refused() {
        for script in ["a 'b", "a \"b", "a |", "a &&", "| a", "a $(b", "if a; then\n b", "done", "a \\"] {
            assert!(commands(script).is_err(), "{script}");
        }
    }
}
