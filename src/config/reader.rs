//! Reads a TOML file as a person's text: collects every fault with its place instead of stopping at the first.
//!
//! A reading function returns `None` when it has told a fault; what is built from it does not matter then, because a file with a fault is refused whole.

use crate::model::{
    Fault, Faults,
    fault::{nearest, suggestion},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Keys that have a meaning to come; they are refused until it is built, so that nobody relies on what is not there.
const RESERVED: &[&str] = &["tls", "artifact"];

/// A file being read, with the faults found so far.
pub struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// The file is no TOML: what seems missing may only be unreadable, so only faults of what is there are told.
    is_broken: bool,
    faults: RefCell<Vec<Fault>>,
    /// What each key that was asked for takes; kept for who writes the reference.
    keys: Option<RefCell<BTreeMap<String, Takes>>>,
}

/// What a key takes, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// Asked for, and not there: what it takes was not seen.
    Unseen,
    /// A table, or the name of one.
    Table,
    /// A list; what stands in it is a key of its own, `KEY[]`.
    List,
    /// An argv.
    Argv,
    /// A text.
    Text,
    /// A whole number from the first to the last.
    Whole(i64, i64),
    /// A duration from the first to the last, as configuration writes them.
    Duration(String, String),
    /// `true`, or nothing.
    Yes,
    /// One of these words.
    Choice(Vec<String>),
}

/// A table of the file; [`Table::close`] tells the keys nobody asked for.
pub struct Table<'a> {
    reader: &'a Reader<'a>,
    path: String,
    /// The path with `*` for free names and `[]` for places in lists.
    pattern: String,
    at: usize,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys that must be there and are not, each with its hint; a misspelt one is told once, as unknown.
    absent: RefCell<Vec<(&'static str, String)>>,
}

/// A value of the file.
#[derive(Clone)]
pub struct Item<'a> {
    reader: &'a Reader<'a>,
    path: String,
    pattern: String,
    key: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Reader<'a> {
    /// Starts to read a text with the syntax errors its parser found.
    pub fn new(file: &'a str, text: &'a str, errors: &[toml::de::Error]) -> Self {
        let reader = Reader { file, text, is_broken: !errors.is_empty(), faults: RefCell::default(), keys: None };
        for error in errors {
            reader.push(error.span().map_or(0, |span| span.start), "", error.message().to_owned(), None);
        }
        reader
    }

    /// Keeps every key that is asked for, and what it takes.
    pub fn keeping_keys(mut self) -> Self {
        self.keys = Some(RefCell::default());
        self
    }

    /// Returns every key that was asked for, by its path with `*` for free names; none where they were not kept.
    pub fn keys(&self) -> BTreeMap<String, Takes> {
        self.keys.as_ref().map(|keys| keys.borrow().clone()).unwrap_or_default()
    }

    /// Keeps what a key takes: what was seen replaces what was not, and what says more replaces a list, a text or a table.
    fn takes(&self, pattern: &str, takes: Takes) {
        let Some(keys) = &self.keys else { return };
        let mut keys = keys.borrow_mut();
        let known = keys.entry(pattern.to_owned()).or_insert(Takes::Unseen);
        let says_less = |takes: &Takes| matches!(takes, Takes::Unseen | Takes::List | Takes::Text | Takes::Table);
        if *known == Takes::Unseen || (says_less(known) && !says_less(&takes)) {
            *known = takes;
        }
    }

    /// Returns the table of the whole file.
    pub fn root(&'a self, entries: &'a DeTable<'a>) -> Table<'a> {
        Table {
            reader: self,
            path: String::new(),
            pattern: String::new(),
            at: 0,
            entries,
            asked: RefCell::default(),
            absent: RefCell::default(),
        }
    }

    /// Returns every fault in the order of the lines; of a file that is no TOML at most one a line.
    pub fn finish(self) -> Result<(), Faults> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        match self.is_broken {
            true => faults.dedup_by_key(|fault| fault.line),
            false => faults.dedup(),
        }
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }

    fn push(&self, at: usize, key: &str, message: String, hint: Option<String>) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.faults.borrow_mut().push(Fault { file: self.file.to_owned(), line, column: Some(column), key: key.to_owned(), message, hint });
    }
}

impl<'a> Table<'a> {
    /// Returns the value of a key.
    pub fn get(&self, key: &'static str) -> Option<Item<'a>> {
        self.asked.borrow_mut().push(key);
        self.reader.takes(&joined(&self.pattern, key), Takes::Unseen);
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| self.item(name, key, value))
    }

    /// Returns the value of a key; its absence is a fault, told by [`Table::close`].
    pub fn require(&self, key: &'static str, hint: &str) -> Option<Item<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.absent.borrow_mut().push((key, hint.to_owned()));
        }
        found
    }

    /// Returns every key of a table whose keys are free names.
    pub fn items(&self) -> Vec<(&'a str, Item<'a>)> {
        self.entries.iter().map(|(name, value)| (name.get_ref().as_ref(), self.item(name, "*", value))).collect()
    }

    /// Tells that something is not there.
    pub fn missing(&self, message: impl Into<String>, hint: &str) {
        if !self.reader.is_broken {
            self.reader.push(self.at, &self.path, message.into(), Some(hint.to_owned()));
        }
    }

    /// Tells every key that was not asked for, and every one that is missing.
    pub fn close(self) {
        let asked = self.asked.borrow();
        for (name, item) in self.items().into_iter().filter(|(name, _)| !asked.contains(name)) {
            if RESERVED.contains(&name) {
                item.fault_at_key("reserved, not built yet", Some(format!("leave `{name}` out")));
                continue;
            }
            let meant = nearest(name, asked.iter().copied());
            self.absent.borrow_mut().retain(|(absent, _)| Some(*absent) != meant);
            item.fault_at_key("unknown key", suggestion(name, asked.iter().copied()));
        }
        for (key, hint) in self.absent.borrow().iter() {
            self.missing(format!("`{key}` is missing"), hint);
        }
    }

    fn item(&self, name: &'a Spanned<std::borrow::Cow<'a, str>>, pattern: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let (path, pattern) = (joined(&self.path, name.get_ref()), joined(&self.pattern, pattern));
        Item { reader: self.reader, path, pattern, key: name.span(), value }
    }
}

impl<'a> Item<'a> {
    /// Tells a fault of this value.
    pub fn fault(&self, message: impl Into<String>, hint: Option<String>) {
        // A table written under a header has no place of its own worth showing: its key has.
        let at = if self.value.get_ref().is_table() { self.key.start } else { self.value.span().start };
        self.reader.push(at, &self.path, message.into(), hint);
    }

    /// Tells a fault of this key.
    pub fn fault_at_key(&self, message: impl Into<String>, hint: Option<String>) {
        self.reader.push(self.key.start, &self.path, message.into(), hint);
    }

    /// Tells a fault against another part of the file, which may be unreadable in a file that is no TOML.
    pub fn mismatch(&self, message: impl Into<String>, hint: Option<String>) {
        if !self.reader.is_broken {
            self.fault(message, hint);
        }
    }

    /// Reads a text: not empty, without control characters.
    pub fn text(&self) -> Option<&'a str> {
        self.reader.takes(&self.pattern, Takes::Text);
        let Some(text) = self.value.get_ref().as_str() else { return self.wrong("text", "\"…\"") };
        if text.is_empty() || text.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
            self.fault("is empty or holds control characters", None);
            return None;
        }
        Some(text)
    }

    /// Reads a text that may be empty.
    pub fn value(&self) -> Option<&'a str> {
        self.reader.takes(&self.pattern, Takes::Text);
        if self.value.get_ref().as_str() == Some("") { Some("") } else { self.text() }
    }

    /// Reads an argv: a list of texts, not empty.
    pub fn argv(&self) -> Option<Vec<String>> {
        self.reader.takes(&self.pattern, Takes::Argv);
        if self.value.get_ref().is_str() {
            self.fault("is one text", Some("write a list, [\"program\", \"argument\"]: there is no shell".into()));
            return None;
        }
        let words = self.list()?;
        if words.is_empty() {
            self.fault("is empty", Some("write [\"program\", \"argument\"]".into()));
            return None;
        }
        let program = words[0].text();
        let arguments: Vec<_> = words[1..].iter().map(|word| word.value().map(str::to_owned)).collect();
        std::iter::once(program.map(str::to_owned)).chain(arguments).collect()
    }

    /// Reads a whole number within a range.
    pub fn whole(&self, range: RangeInclusive<i64>) -> Option<i64> {
        self.reader.takes(&self.pattern, Takes::Whole(*range.start(), *range.end()));
        let Some(number) = self.value.get_ref().as_integer() else { return self.wrong("a whole number", "3") };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.fault(format!("is not within {} to {}", range.start(), range.end()), None);
                None
            }
        }
    }

    /// Reads a duration, `"100ms"`, `"30s"`, `"10m"` or `"24h"`, as milliseconds within a range.
    pub fn duration(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.reader.takes(&self.pattern, Takes::Duration(shown(*range.start()), shown(*range.end())));
        let Some(text) = self.value.get_ref().as_str() else { return self.wrong("a duration", "\"30s\"") };
        match milliseconds(text) {
            Some(duration) if range.contains(&duration) => Some(duration),
            Some(_) => {
                self.fault(format!("`{text}` is not within {} to {}", shown(*range.start()), shown(*range.end())), None);
                None
            }
            None => {
                self.fault(format!("`{text}` is no duration"), Some("write \"100ms\", \"30s\", \"10m\" or \"24h\"".into()));
                None
            }
        }
    }

    /// Reads `true`; `false` is a fault, the key is left out instead.
    pub fn yes(&self) -> Option<()> {
        self.reader.takes(&self.pattern, Takes::Yes);
        match self.value.get_ref().as_bool() {
            Some(true) => Some(()),
            _ => self.wrong("`true`", "true"),
        }
    }

    /// Reads one of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], reserved: &[&str]) -> Option<T> {
        self.reader.takes(&self.pattern, Takes::Choice(choices.iter().map(|(name, _)| (*name).to_owned()).collect()));
        let word = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        match reserved.contains(&word) {
            true => self.fault(format!("`{word}` is reserved, not built yet"), suggestion("", choices.iter().map(|(name, _)| *name))),
            false => self.fault(format!("`{word}` is unknown"), suggestion(word, choices.iter().map(|(name, _)| *name))),
        }
        None
    }

    /// Reads a list.
    pub fn list(&self) -> Option<Vec<Item<'a>>> {
        self.reader.takes(&self.pattern, Takes::List);
        let Some(values) = self.value.get_ref().as_array() else { return self.wrong("a list", "[…]") };
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Item {
            reader: self.reader,
            path: format!("{}[{index}]", self.path),
            pattern: format!("{}[]", self.pattern),
            key: value.span(),
            value,
        };
        Some(values.iter().enumerate().map(item).collect())
    }

    /// Reads a table.
    pub fn table(&self) -> Option<Table<'a>> {
        self.reader.takes(&self.pattern, Takes::Table);
        let Some(entries) = self.value.get_ref().as_table() else { return self.wrong("a table", "{ … }") };
        Some(Table {
            reader: self.reader,
            path: self.path.clone(),
            pattern: self.pattern.clone(),
            at: self.key.start,
            entries,
            asked: RefCell::default(),
            absent: RefCell::default(),
        })
    }

    /// Tells every `{place}` of a text that would stay unfilled.
    pub fn check_places(&self, text: &str, known: &[&str]) {
        for (place, _) in text.split('{').skip(1).filter_map(|rest| rest.split_once('}')) {
            let is_word = !place.is_empty() && place.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_word && !known.contains(&place) {
                let known: Vec<String> = known.iter().map(|place| format!("{{{place}}}")).collect();
                self.fault(format!("`{{{place}}}` is not filled in here"), Some(format!("places here: {}", known.join(", "))));
            }
        }
    }

    /// Tells whether this is a text, and so not a table.
    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    fn wrong<T>(&self, wanted: &str, example: &str) -> Option<T> {
        self.fault(format!("is {}, not {wanted}", self.value.get_ref().type_str()), Some(format!("write {example}")));
        None
    }
}

/// Returns the path of a key in a table.
fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Reads a duration as milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// Returns a duration as configuration writes it.
fn shown(milliseconds: u64) -> String {
    match milliseconds {
        m if m >= 3_600_000 && m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m >= 60_000 && m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m >= 1_000 && m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, expected) in [("100ms", 100), ("30s", 30_000), ("10m", 600_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(milliseconds(text), Some(expected), "{text}");
        }
        for bad in ["", "30", "s", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(milliseconds(bad), None, "{bad}");
        }
        assert_eq!([shown(90_000), shown(60_000), shown(3_600_000), shown(10)], ["90s", "1m", "1h", "10ms"]);
    }
}
