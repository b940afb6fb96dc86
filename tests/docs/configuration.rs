//! The reference of `interlock.toml`: each key that the program looks for has its row, with what it takes as it is read, and a default that
//! is tried. The words of a row are the page's own.

use super::{
    book::{Page, none, read, root},
    snippets::{base, merged},
};
use interlock::{
    config::{self, ProjectConfig, Takes},
    model::catalog::{GATES, GateSource},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
};
use toml::{Table, Value};

const PAGE: &str = "docs/reference/configuration.md";
const BEGIN: &str = "<!-- keys: written by tests/docs, but for defaults and words -->\n";
const END: &str = "<!-- end of keys -->\n";

/// The tables of the page: what a key begins with, and what the table is called.
const TABLES: &[(&str, &str)] = &[
    ("project", "[project]"),
    ("services.*.metrics", "[[services.NAME.metrics]]"),
    ("services.*.about", "[services.NAME.about]"),
    ("services.*.monitoring", "[services.NAME.monitoring]"),
    ("services", "[services.NAME]"),
    ("monitoring", "[monitoring]"),
    ("environments.*.services", "[environments.NAME.services.NAME]"),
    ("environments", "[environments.NAME]"),
    ("gates", "[gates]"),
    ("ci", "[ci]"),
    ("phases", "[phases]"),
    ("notify", "[notify.NAME]"),
];

/// The order in which they stand on the page.
const ORDER: &[&str] = &[
    "[project]",
    "[services.NAME]",
    "[[services.NAME.metrics]]",
    "[services.NAME.about]",
    "[services.NAME.monitoring]",
    "[environments.NAME]",
    "[environments.NAME.services.NAME]",
    "[gates]",
    "[monitoring]",
    "[ci]",
    "[phases]",
    "[notify.NAME]",
];

/// What is looked for and written by nobody: texts that `apply` puts there, and a key that is always refused.
const NOT_WRITTEN: &[&str] = &["phases.files", "services.*.about.variables[].value"];
/// What a place says like its service; its row says so.
const AS_IN_SERVICES: &[&str] = &["environments.*.services.*.metrics", "environments.*.services.*.about"];

/// What the page says of a key.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    takes: String,
    default: String,
    words: String,
}

#[test]
fn the_reference_has_every_key_with_what_it_takes_and_a_default_that_is_tried() {
    let page = Page { path: PAGE.into(), text: read(PAGE) };
    let (examples, keys) = (examples(&page), keys(&page));
    assert!(keys.len() > 100, "{} keys", keys.len());
    if std::env::var("INTERLOCK_WRITE_DOCS").is_ok() {
        fs::write(root().join(PAGE), written(&page.text, &keys)).unwrap();
        return;
    }
    none(faults(&rows(&page.text), &keys, &examples));
    assert_eq!(
        written(&page.text, &keys),
        page.text,
        "`INTERLOCK_WRITE_DOCS=1 cargo test --test docs reference` writes docs/reference anew"
    );

    // The positive control: a row too many, one too few, another type, no words, another default, one that is said to be needed.
    let mut planted = rows(&page.text);
    planted.insert("services.NAME.drian".into(), Row { takes: "text".into(), default: "–".into(), words: "x".into() });
    planted.remove("services.NAME.keep").unwrap();
    planted.get_mut("services.NAME.bake").unwrap().takes = "text".into();
    planted.get_mut("project.name").unwrap().words.clear();
    planted.get_mut("services.NAME.drain").unwrap().default = "`\"31s\"`".into();
    planted.get_mut("services.NAME.owner").unwrap().default = "needed".into();
    let found = faults(&planted, &keys, &examples);
    let expected = [
        "project.name: nothing is said of it",
        "services.NAME.bake: takes a duration, `0ms` to `24h`, not text",
        "services.NAME.drain: `\"31s\"` is not what it is when left out",
        "services.NAME.drian: nobody looks for it",
        "services.NAME.keep: has no row",
        "services.NAME.owner: is not needed",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_examples_of_the_reference_show_every_key_and_every_kind() {
    let page = Page { path: PAGE.into(), text: read(PAGE) };
    let keys = keys(&page);
    let unseen = documented(&keys).into_iter().filter(|(_, takes)| takes.contains('?'));
    none(unseen.map(|(key, _)| format!("{key} is in no example")).collect());
    let shown: BTreeSet<(String, String)> = examples(&page).iter().flat_map(kinds).collect();
    let kinds = keys.iter().filter(|(key, _)| key.ends_with(".kind"));
    let missing = kinds.flat_map(|(key, takes)| match takes {
        Takes::Choice(words) => words
            .iter()
            .filter(|word| !shown.contains(&(key.clone(), (*word).clone())))
            .map(|word| format!("{key} = {word} is in no example"))
            .collect(),
        other => vec![format!("{key} takes {other:?}")],
    });
    none(missing.collect());
}

/// Returns the page's examples, each whole.
fn examples(page: &Page) -> Vec<Table> {
    let blocks = page.blocks().into_iter().filter(|block| block.language == "toml");
    blocks
        .map(|block| merged(base(), toml::from_str(&block.text).unwrap_or_else(|error| panic!("{PAGE}:{}: {error}", block.line))))
        .collect()
}

/// Returns every key that the program looks for in them, as the page names it.
fn keys(page: &Page) -> BTreeMap<String, Takes> {
    let mut keys = BTreeMap::new();
    for example in examples(page) {
        for (key, takes) in config::keys(&toml::to_string(&example).unwrap()) {
            let is_below = |table: &&str| key.strip_prefix(*table).is_some_and(|rest| rest.starts_with(['.', '[']));
            let is_repeated = AS_IN_SERVICES.iter().any(|table| is_below(table) && key != format!("{table}[]"));
            if is_repeated || NOT_WRITTEN.iter().any(|table| key == *table || is_below(table)) {
                continue;
            }
            let known = keys.entry(key).or_insert(Takes::Unseen);
            if *known == Takes::Unseen || (matches!(known, Takes::Text | Takes::Table) && matches!(takes, Takes::Choice(_))) {
                *known = takes;
            }
        }
    }
    keys
}

/// Returns the keys that have a row, by what the page calls them, with what they take.
fn documented(keys: &BTreeMap<String, Takes>) -> BTreeMap<String, String> {
    let mut documented = BTreeMap::new();
    for (key, takes) in keys.iter().filter(|(key, _)| !key.ends_with("[]")) {
        let known = documented.entry(named(key)).or_insert_with(|| "?".to_owned());
        // Of what stands once for several keys, the first that an example shows says what it takes.
        if known.contains('?') {
            *known = described(keys, key, takes);
        }
    }
    documented
}

/// Returns a key as the page writes it: free names are NAME, and the measures and gates of a threshold stand once.
fn named(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    let named = |parts: &[&str]| parts.join(".").replace('*', "NAME");
    match parts.as_slice() {
        ["gates", "max_age"] | ["gates"] => named(&parts),
        ["gates", _] => "gates.GATE".into(),
        ["gates", _, rest @ ("command" | "report" | "format" | "exit")] => format!("gates.GATE.{rest}"),
        ["gates", _, _] => "gates.GATE.MEASURE".into(),
        ["environments", "*", "gates", "*"] => "environments.NAME.gates.GATE".into(),
        ["environments", "*", "gates", "*", _] => "environments.NAME.gates.GATE.MEASURE".into(),
        parts => named(parts),
    }
}

fn described(keys: &BTreeMap<String, Takes>, key: &str, takes: &Takes) -> String {
    match takes {
        Takes::Unseen => "?".into(),
        Takes::Table => "table".into(),
        Takes::List => {
            let inner = format!("{key}[]");
            let inner = keys.get(&inner).map_or("?".into(), |takes| described(keys, &inner, takes));
            format!("list of {inner}")
        }
        Takes::Argv => "argv".into(),
        Takes::Text => "text".into(),
        Takes::Whole(first, last) => format!("whole number, {first} to {last}"),
        Takes::Duration(first, last) => format!("a duration, `{first}` to `{last}`"),
        Takes::Yes => "`true`".into(),
        Takes::Choice(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the rows of the page.
fn rows(text: &str) -> BTreeMap<String, Row> {
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [key, takes, default, words] = cells.as_slice() else { return None };
        let key = key.strip_prefix('`')?.strip_suffix('`')?;
        Some((key.to_owned(), Row { takes: (*takes).into(), default: (*default).into(), words: words.trim().into() }))
    });
    rows.collect()
}

/// Returns the page with its tables written anew: defaults and words of known keys stay, a new key gets `?`.
fn written(text: &str, keys: &BTreeMap<String, Takes>) -> String {
    let (head, rest) = text.split_once(BEGIN).expect("the page says where its keys begin");
    let (_, tail) = rest.split_once(END).expect("the page says where its keys end");
    let (rows, documented) = (rows(text), documented(keys));
    // A table that nobody has placed yet comes last.
    let table_of = |key: &str| {
        let placed = TABLES.iter().find(|(start, _)| key.replace("NAME", "*").starts_with(start));
        placed.map_or_else(|| format!("[{}]", key.split('.').next().unwrap_or_default()), |(_, table)| (*table).to_owned())
    };
    let unplaced: BTreeSet<String> = documented.keys().map(|key| table_of(key)).filter(|table| !ORDER.contains(&table.as_str())).collect();
    let mut page = format!("{head}{BEGIN}");
    for table in ORDER.iter().copied().chain(unplaced.iter().map(String::as_str)) {
        let _ = write!(page, "\n### `{table}`\n\n| key | takes | when left out | is |\n|---|---|---|---|\n");
        for (key, takes) in documented.iter().filter(|(key, _)| table_of(key) == table) {
            let row = rows.get(key).cloned().unwrap_or(Row { takes: String::new(), default: "?".into(), words: "?".into() });
            let _ = writeln!(page, "| `{key}` | {takes} | {} | {} |", row.default, row.words);
        }
    }
    let _ = write!(page, "\n### Gates and their measures\n\n| gate | measures | fed by |\n|---|---|---|\n");
    for gate in GATES {
        let fed = match gate.source {
            GateSource::Evidence => "a report, `[gates]`",
            GateSource::Record => "the record, or the world",
            GateSource::Server => "the server; binds everywhere",
        };
        let measures: Vec<String> = gate.measures.iter().map(|measure| format!("`{measure}`")).collect();
        let _ = writeln!(page, "| `{}` | {} | {fed} |", gate.name, if measures.is_empty() { "–".into() } else { measures.join(", ") });
    }
    page + "\n" + END + tail
}

/// Tells every row that is not as the program is.
fn faults(rows: &BTreeMap<String, Row>, keys: &BTreeMap<String, Takes>, examples: &[Table]) -> Vec<String> {
    let documented = documented(keys);
    let mut faults: Vec<String> =
        documented.keys().filter(|key| !rows.contains_key(*key)).map(|key| format!("{key}: has no row")).collect();
    for (key, row) in rows {
        let Some(takes) = documented.get(key) else {
            faults.push(format!("{key}: nobody looks for it"));
            continue;
        };
        if row.words.is_empty() || row.words == "?" {
            faults.push(format!("{key}: nothing is said of it"));
        }
        if row.takes != *takes {
            faults.push(format!("{key}: takes {takes}, not {}", row.takes));
        }
        let paths: Vec<&String> = keys.keys().filter(|path| named(path) == *key).collect();
        let tried: Vec<Outcome> =
            paths.iter().flat_map(|path| examples.iter().flat_map(|example| left_out(example, path, &row.default))).collect();
        let fault = match row.default.as_str() {
            "needed" => tried.iter().all(|outcome| !matches!(outcome, Outcome::Refused)).then(|| "is not needed".to_owned()),
            // What is there when nothing is written is said in words, or nothing is.
            text if !text.starts_with('`') => {
                (text.is_empty() || text == "?" || !tried.iter().any(|outcome| matches!(outcome, Outcome::Other | Outcome::Same)))
                    .then(|| "cannot be left out, or nobody has tried".to_owned())
            }
            default => {
                let is_same = tried.iter().any(|outcome| matches!(outcome, Outcome::Same))
                    && !tried.iter().any(|outcome| matches!(outcome, Outcome::Other));
                (!is_same).then(|| format!("{default} is not what it is when left out"))
            }
        };
        faults.extend(fault.map(|fault| format!("{key}: {fault}")));
    }
    faults.sort();
    faults
}

/// What becomes of an example without a key.
#[derive(Debug)]
enum Outcome {
    /// It is refused.
    Refused,
    /// It is the same as with the default.
    Same,
    /// It is read, and is not the same, or no default is stated.
    Other,
}

/// Leaves a key out wherever an example may have it.
fn left_out(example: &Table, key: &str, default: &str) -> Vec<Outcome> {
    let stated = default.strip_prefix('`').and_then(|rest| rest.split('`').next());
    let stated =
        stated.map(|text| toml::from_str::<Table>(&format!("it = {text}")).unwrap_or_else(|_| panic!("{key}: {text}"))["it"].clone());
    let parse = |table: &Value| -> Option<ProjectConfig> { config::parse("interlock.toml", &toml::to_string(table).unwrap()).ok() };
    let whole = Value::Table(example.clone());
    let parts: Vec<String> = key.replace("[]", ".[]").split('.').map(str::to_owned).collect();
    places(&whole, &parts)
        .into_iter()
        .filter_map(|place| {
            let mut without = whole.clone();
            let (last, above) = place.split_last()?;
            let was_there = at(&mut without, above)?.as_table_mut()?.remove(last).is_some();
            let Some(without) = parse(&without) else { return was_there.then_some(Outcome::Refused) };
            let Some(stated) = &stated else { return Some(Outcome::Other) };
            let mut with = whole.clone();
            at(&mut with, above)?.as_table_mut()?.insert(last.clone(), stated.clone());
            Some(if parse(&with)? == without { Outcome::Same } else { Outcome::Other })
        })
        .collect()
}

/// Returns where a key may stand in a configuration: its last part need not be there.
fn places(value: &Value, parts: &[String]) -> Vec<Vec<String>> {
    let Some((first, rest)) = parts.split_first() else { return vec![Vec::new()] };
    let inner: Vec<(String, &Value)> = match (first.as_str(), value) {
        ("*", Value::Table(table)) => table.iter().map(|(name, value)| (name.clone(), value)).collect(),
        ("[]", Value::Array(items)) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        (name, Value::Table(table)) => match table.get(name) {
            Some(value) => vec![(name.to_owned(), value)],
            None if rest.is_empty() => return vec![vec![name.to_owned()]],
            None => Vec::new(),
        },
        _ => Vec::new(),
    };
    let below = |(name, value): (String, &Value)| places(value, rest).into_iter().map(move |path| [vec![name.clone()], path].concat());
    inner.into_iter().flat_map(below).collect()
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        other => other.get_mut(part),
    })
}

/// Returns every `kind` of an example, by its key.
fn kinds(example: &Table) -> Vec<(String, String)> {
    fn walk(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), found)),
            Value::Table(table) => {
                let is_free =
                    ["services", "environments", "notify"].iter().any(|name| path == *name || path.ends_with(&format!("*.{name}")));
                for (name, value) in table {
                    let name = if is_free { "*" } else { name };
                    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    if let ("kind", Some(word)) = (name, value.as_str()) {
                        found.push((path.clone(), word.to_owned()));
                    }
                    walk(value, &path, found);
                }
            }
            _ => (),
        }
    }
    let mut found = Vec::new();
    walk(&Value::Table(example.clone()), "", &mut found);
    found
}
