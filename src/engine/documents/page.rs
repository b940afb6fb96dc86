//! A page of Markdown, line by line. Words from outside stand in code spans and fences they cannot leave; what is not known is said. Pure.

use crate::{
    engine::{
        about_document,
        runbook::{MARKER, fenced},
    },
    model::{JournalEntry, Timestamp, text},
};

/// What stands where the record has nothing.
pub const NOT_RECORDED: &str = "not recorded";
/// The longest words from outside on one line.
const LINE_CHARS: usize = 300;

/// A page under way.
pub struct Page(String);

impl Page {
    /// Returns a page with a title and nothing below it.
    pub fn titled(title: &str) -> Page {
        Page(format!("{MARKER}\n# {title}\n"))
    }

    /// Opens a section.
    pub fn section(&mut self, title: &str) {
        self.0 += &format!("\n## {title}\n\n");
    }

    /// Adds a line of our own words.
    pub fn say(&mut self, line: impl AsRef<str>) {
        self.0 += line.as_ref();
        self.0 += "\n";
    }

    /// Adds what the record has under a name, or that it has nothing.
    pub fn fact(&mut self, name: &str, value: Option<String>) {
        self.say(format!("- {name}: {}", value.as_deref().unwrap_or(NOT_RECORDED)));
    }

    /// Adds an item that is to be ticked.
    pub fn tick(&mut self, is_done: bool, item: impl AsRef<str>) {
        self.say(format!("- [{}] {}", if is_done { "x" } else { " " }, item.as_ref()));
    }

    /// Adds a table, or that nothing of the kind is recorded.
    pub fn table<const N: usize>(&mut self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return self.say("None recorded.");
        }
        self.say(format!("| {} |", head.join(" | ")));
        self.say(format!("|{}", "---|".repeat(N)));
        for row in rows {
            self.say(format!("| {} |", row.map(|cell| cell.replace('\n', " ").replace('|', "\\|")).join(" | ")));
        }
    }

    /// Adds text from outside in a fence it cannot close.
    pub fn quote(&mut self, words: &str) {
        self.0 += &fenced(words);
    }

    /// Returns the text and the names of what the record does not have; an agent's notes come last, fenced and marked.
    pub fn finish(self, notes: Option<&str>) -> (String, Vec<String>) {
        finished(self.0, notes)
    }
}

/// Adds an agent's notes to a page, and returns the page with the names of what the record does not have.
pub fn finished(mut page: String, notes: Option<&str>) -> (String, Vec<String>) {
    let is_missing = |value: &str| value == NOT_RECORDED || value.starts_with(about_document::NOT_SAID);
    let lacks = |line: &str| Some(line.strip_prefix("- ")?.split_once(": ").filter(|(_, value)| is_missing(value))?.0.to_owned());
    let missing = page.lines().filter_map(lacks).collect();
    if let Some(notes) = notes {
        page += &format!("\n## Notes of the agent (unverified)\n\n{}", fenced(notes));
    }
    (page, missing)
}

/// Returns words from outside as a code span: no markup in them counts, and everything in them is seen.
pub fn code(words: &str) -> String {
    let shown = text::visible_line(words, LINE_CHARS);
    let longest = shown.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    if shown.trim().is_empty() { "(empty)".into() } else { format!("{fence}{pad}{shown}{pad}{fence}") }
}

/// Returns how long a step took, in milliseconds.
pub fn took(entry: &JournalEntry) -> Option<String> {
    between(entry.started_at, entry.ended_at)
}

/// Returns the time between two instants, in milliseconds.
pub fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    Some(format!("{} ms", to?.since(from?).as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_stay_words() {
        assert_eq!(code("a <img src=x> [b](http://c)"), "`a <img src=x> [b](http://c)`");
        assert_eq!(code("a\n## b ``c`` \u{202e}"), "``` a ## b ``c`` \\u{202e} ```");
        assert_eq!(code(" \n"), "(empty)");
        let mut page = Page::titled("T");
        page.table(["A"], [["x | y\n| z".to_owned()]]);
        page.fact("Owner", None);
        let (text, missing) = page.finish(Some("```\n- Region: not recorded\n## Faked"));
        assert!(
            text.contains("| x \\| y \\| z |\n") && text.ends_with("````text\n```\n- Region: not recorded\n## Faked\n````\n"),
            "{text}"
        );
        assert_eq!(missing, ["Owner"], "what an agent says is missing is not asked of the record");
    }
}
