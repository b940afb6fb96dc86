//! Citations: ``repo@commit:path:lines "quote"`` in an agent's words, held against what git has at that commit. A citation names a commit by
//! its id and so never changes its meaning; whoever reads it can look with `git show`.

use super::git;
use crate::model::text::visible_line;
use serde::Serialize;
use std::{fmt, path::Path};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// How many citations of one text are looked at.
const MOST: usize = 50;

/// A citation as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// The line of the text it stands in, from 1.
    pub line: usize,
    /// The place it names, word for word: `shop@6ef8cf4:src/web.rs:10-16`.
    pub place: String,
    /// The repository's name.
    pub repository: String,
    /// The commit's id, as written.
    pub commit: String,
    /// The path from the repository's root.
    pub path: String,
    /// The lines, as written: `10-16`, or `10`.
    pub lines: String,
    /// What it says stands there; none where it quotes nothing.
    pub quote: Option<String>,
}

/// What git says of a citation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The quote stands where it says.
    Verified,
    /// The quote stands in that file, at other lines.
    Moved,
    /// The file is there and says otherwise.
    Changed,
    /// There is nothing to hold it against.
    Unverifiable,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mark::Verified => "verified",
            Mark::Moved => "moved",
            Mark::Changed => "changed",
            Mark::Unverifiable => "unverifiable",
        })
    }
}

/// A citation with what git says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The citation.
    pub citation: Citation,
    /// How it stands.
    pub mark: Mark,
    /// Why it is not verified; empty where it is.
    pub why: String,
}

/// Returns every citation in a text. A word like `name@rev:path:7` is one when a quote follows it, or when its revision looks like a commit's id.
pub fn cited(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find(|letter: char| !letter.is_whitespace()) {
            let word_on = &rest[start..];
            let end = word_on.find(char::is_whitespace).unwrap_or(word_on.len());
            let after = &word_on[end..];
            rest = after;
            let word = word_on[..end].trim_start_matches(['(', '[', '`', '*']).trim_end_matches([')', ']', '`', '*', ',', ';', '.']);
            let Some((repository, commit, path, lines)) = parts(word) else { continue };
            let quoted = quote(after);
            if quoted.is_none() && !(commit.len() >= 7 && is_hex(commit)) {
                continue;
            }
            let quote = quoted.map(|(quote, left)| {
                rest = left;
                quote
            });
            let [repository, commit, path, lines] = [repository, commit, path, lines].map(str::to_owned);
            found.push(Citation { line: at + 1, place: word.to_owned(), repository, commit, path, lines, quote });
        }
    }
    found
}

/// Splits `repo@commit:path:lines`.
fn parts(word: &str) -> Option<(&str, &str, &str, &str)> {
    let (repository, rest) = word.split_once('@')?;
    let (commit, rest) = rest.split_once(':')?;
    let (path, lines) = rest.rsplit_once(':')?;
    let are_lines = lines.starts_with(|first: char| first.is_ascii_digit()) && lines.chars().all(|one| one.is_ascii_digit() || one == '-');
    (!repository.is_empty() && !commit.is_empty() && !path.is_empty() && are_lines).then_some((repository, commit, path, lines))
}

/// Returns the quote that text begins with, `\"` in it being a mark of its own, and what is left after it.
fn quote(text: &str) -> Option<(String, &str)> {
    let inner = text.trim_start().strip_prefix('"')?;
    let mut quote = String::new();
    let mut letters = inner.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((quote, &inner[at + 1..])),
            '\\' if inner[at + 1..].starts_with(['"', '\\']) => quote.extend(letters.next().map(|(_, escaped)| escaped)),
            letter => quote.push(letter),
        }
    }
    None
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Holds citations against the workspace's repository, whose name is the project's.
pub async fn check(workspace: &Path, project: &str, citations: Vec<Citation>) -> Vec<Checked> {
    let mut checked = Vec::new();
    for (at, citation) in citations.into_iter().enumerate() {
        let (mark, why) = match at < MOST {
            true => held(workspace, project, &citation).await,
            false => (Mark::Unverifiable, format!("a text has at most {MOST} citations; this one was not looked at")),
        };
        checked.push(Checked { citation, mark, why });
    }
    checked
}

async fn held(workspace: &Path, project: &str, citation: &Citation) -> (Mark, String) {
    match source(workspace, project, citation).await {
        Err(why) => (Mark::Unverifiable, why),
        Ok((text, from, to, quote)) => judge(&text, from, to, &quote),
    }
}

/// Returns the file's text at the commit, the lines and the quote; or why there is nothing to hold the citation against.
async fn source(workspace: &Path, project: &str, citation: &Citation) -> Result<(String, usize, usize, String), String> {
    let shown = |word: &str| visible_line(word, 120);
    let Citation { repository, commit, path, .. } = citation;
    if repository != project {
        return Err(format!("`{}` is not this workspace's repository, which is cited as `{project}`", shown(repository)));
    }
    let quote = words(citation.quote.as_deref().unwrap_or_default());
    if quote.is_empty() {
        return Err("it quotes nothing: add what stands there, in quotation marks".into());
    }
    let (from, to) = citation.lines.split_once('-').unwrap_or((&citation.lines, &citation.lines));
    let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) else {
        return Err(format!("`{}` are no lines", shown(&citation.lines)));
    };
    if from == 0 || to < from {
        return Err(format!("`{}` are no lines: they count from 1, the lower first", shown(&citation.lines)));
    }
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("`{}` leads out of the repository", shown(path)));
    }
    if path.split('/').any(|part| matches!(part, "" | ".")) || path.contains('\\') {
        return Err(format!("`{}` is no path from the repository's root", shown(path)));
    }
    if !(4..=64).contains(&commit.len()) || !is_hex(commit) {
        return Err(format!("`{}` is no commit's id: a branch or tag may move", shown(commit)));
    }
    let id = git::commit(workspace, commit).await.filter(|id| id.starts_with(&commit.to_ascii_lowercase()));
    let Some(id) = id else { return Err(format!("the workspace's repository has no commit `{commit}`")) };
    let Some(entry) = git::entry(workspace, &id, path).await else {
        return Err(format!("commit `{commit}` has no file `{}`", shown(path)));
    };
    let path = shown(path);
    match entry.mode.as_str() {
        "120000" => return Err(format!("`{path}` is a symbolic link: cite the file it leads to")),
        "160000" => return Err(format!("`{path}` is a repository of its own")),
        _ if entry.size_bytes.is_none() => return Err(format!("`{path}` is a folder")),
        _ => (),
    }
    if let Some(bytes) = entry.size_bytes.filter(|bytes| *bytes > MAX_BYTES) {
        return Err(format!("`{path}` has {bytes} bytes; at most {MAX_BYTES} are read"));
    }
    match git::content(workspace, &entry.object).await {
        Some(text) => Ok((text, from, to, quote)),
        None => Err(format!("`{path}` is no text")),
    }
}

/// Says how a quote stands in a text. Space counts as space, however much of it and whatever line ends are in it. Pure.
fn judge(text: &str, from: usize, to: usize, quote: &str) -> (Mark, String) {
    let lines: Vec<&str> = text.lines().collect();
    let cited = lines.get(from - 1..to.min(lines.len()).max(from - 1)).unwrap_or_default();
    if words(&cited.join("\n")).contains(quote) {
        return (Mark::Verified, String::new());
    }
    // Where the words of each line begin in the words of the whole.
    let (mut whole, mut begins) = (String::new(), Vec::new());
    for line in &lines {
        let line = words(line);
        if !whole.is_empty() && !line.is_empty() {
            whole.push(' ');
        }
        begins.push(whole.len());
        whole += &line;
    }
    let line_at = |offset: usize| begins.partition_point(|begin| *begin <= offset);
    let nearest = whole.match_indices(quote).map(|(offset, _)| line_at(offset)).min_by_key(|line| line.abs_diff(from));
    match (nearest, cited.first()) {
        (Some(line), _) => (Mark::Moved, format!("it stands at line {line}")),
        (None, Some(line)) => (Mark::Changed, format!("line {from} says: {}", visible_line(line.trim(), 120))),
        (None, None) => (Mark::Changed, format!("the file has {} lines", lines.len())),
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_found_in_what_surrounds_them() {
        let text = "See (shop@6ef8cf4:src/a.rs:10-16 \"let a = \\\"b\\\";\"), and\n`shop@6ef8cf4:docs/b.md:3` \"b\".\nmail ann@shop.test:22, git@host:a/b, ann@main:x:7";
        let found: Vec<_> = cited(text).into_iter().map(|one| (one.line, one.place, one.quote)).collect();
        let places = ["shop@6ef8cf4:src/a.rs:10-16", "shop@6ef8cf4:docs/b.md:3"].map(str::to_owned);
        assert_eq!(found, [(1, places[0].clone(), Some("let a = \"b\";".into())), (2, places[1].clone(), Some("b".into()))]);
        let bare = cited("shop@main:a.rs:1 \"x\" shop@6ef8cf4:a.rs:1");
        assert_eq!(bare.iter().map(|one| one.quote.as_deref()).collect::<Vec<_>>(), [Some("x"), None]);
        assert_eq!(cited("shop@6ef8cf4:a.rs:1 \"never closed")[0].quote, None);
    }

    #[test]
    fn a_quote_is_judged_by_its_words_and_its_lines() {
        let text = "fn a() {\n    one(two,   three);\n\n    four()\n}\none(two, three);\n";
        let mark = |from, to, quote: &str| judge(text, from, to, &words(quote));
        assert_eq!(mark(2, 2, "one(two, three);"), (Mark::Verified, String::new()));
        assert_eq!(mark(2, 4, "three);\nfour()"), (Mark::Verified, String::new()));
        assert_eq!(mark(4, 4, "one(two, three);"), (Mark::Moved, "it stands at line 2".into()));
        assert_eq!(mark(5, 5, "one(two, three);"), (Mark::Moved, "it stands at line 6".into()));
        assert_eq!(mark(2, 2, "one(two);"), (Mark::Changed, "line 2 says: one(two,   three);".into()));
        assert_eq!(mark(70, 80, "gone"), (Mark::Changed, "the file has 6 lines".into()));
        assert_eq!(judge("", 1, 1, "x"), (Mark::Changed, "the file has 0 lines".into()));
        assert_eq!(mark(usize::MAX, usize::MAX, "four()").0, Mark::Moved);
    }
}
