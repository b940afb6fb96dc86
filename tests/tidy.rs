//! Keeps the shape: layers import downward, a library is named in one place, files stay short and say what they are.
//! Every rule is a function over text, and is shown to catch a planted fault.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The layers, top first. A module uses the layers below its own, never a neighbour.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["mcp", "rpc", "web"],
    &["operations", "decisions"],
    &["engine"],
    &["gates", "targets", "store"],
    &["config", "phases", "manifest", "telemetry", "command", "proxy", "shim"],
    &["rotating", "wire"],
    &["error"],
    &["model"],
];

/// A library that only one module names.
const OWNED: &[(&str, &str)] = &[
    ("rmcp", "mcp"),
    ("jsonrpsee", "rpc"),
    ("sqlx", "store"),
    ("sqlparser", "gates"),
    ("interlock_wire", "proxy"),
    ("statrs", "model"),
    ("ciborium", "model"),
    ("maud", "web"),
    ("pulldown_cmark", "engine"),
    ("similar", "web"),
];

const MAX_LINES: usize = 400;

/// One source file: its path inside `src/`, and its text.
struct Source {
    path: String,
    text: String,
}

#[test]
fn layers_import_downward() {
    none(sources().iter().flat_map(wrong_imports));
}

#[test]
fn a_planted_import_upward_or_sideways_is_found() {
    let wrong = |path: &str, text: &str| wrong_imports(&Source { path: path.into(), text: text.into() });
    assert_eq!(wrong("store/mod.rs", "use crate::engine::Lease;"), ["src/store/mod.rs: store may not use engine"]);
    assert_eq!(wrong("operations/approve.rs", "use crate::decisions;"), ["src/operations/approve.rs: operations may not use decisions"]);
    assert_eq!(wrong("decisions/plan.rs", "crate::operations::run()"), ["src/decisions/plan.rs: decisions may not use operations"]);
    assert_eq!(wrong("gates/x.rs", "use crate::{model::{Plan, Step}, targets::Target};"), ["src/gates/x.rs: gates may not use targets"]);
    assert_eq!(wrong("model/passkey/mod.rs", "use super::super::error::Error;"), ["src/model/passkey/mod.rs: model may not use error"]);
    assert_eq!(
        wrong("model/plan.rs", "use super::{ids::PlanId, time};\nuse super::super::store;"),
        ["src/model/plan.rs: model may not use store"]
    );
    assert_eq!(wrong("wire/server.rs", "use interlock_proxy::Split;"), ["src/wire/server.rs: wire may not use proxy"]);
    assert_eq!(wrong("main.rs", "fn main() { interlock::cli::run() }"), [""; 0]);
    assert_eq!(wrong("helpers.rs", ""), ["src/helpers.rs: `helpers` is in no layer; name it in tests/tidy.rs"]);
    assert_eq!(wrong("engine/mod.rs", "// crate::cli is not used\nuse crate::{store, model::Plan};"), [""; 0]);
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let tests: String = files(&root().join("tests")).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let page = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let reliability = page("docs/reliability.md");
    let (_, promises) = reliability.split_once("## Promises").expect("the page lists promises");
    assert_eq!(unknown_tests(promises, &tests), [""; 0]);
    let map = page("src/ARCHITECTURE.md");
    let invariants = map.split("# Invariants").nth(1).and_then(|rest| rest.split("\n# ").next()).expect("the map lists invariants");
    assert_eq!(unknown_tests(invariants, &tests), [""; 0]);
    let planted = "`tests/gone.rs` `engine::nothing` `a_test_that_nobody_wrote` `INTERLOCK_GONE=n` `tests/tidy.rs`";
    let found = ["`tests/gone.rs`", "`engine::nothing`", "`a_test_that_nobody_wrote`", "`INTERLOCK_GONE=n`"]
        .map(|name| format!("{name} is nowhere"));
    assert_eq!(unknown_tests(planted, &tests), found);
}

#[test]
fn every_row_of_the_five_documents_names_its_test_or_says_what_is_open() {
    let tests: String = files(&root().join("tests")).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let faults = |page: &str| -> Vec<String> {
        let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| named there"));
        let shown = rows.map(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default());
        let proven = shown.filter(|shown| shown.strip_prefix("open: ").is_none_or(str::is_empty));
        proven
            .flat_map(|shown| if shown.contains('`') { unknown_tests(shown, &tests) } else { vec![format!("{shown}: no test")] })
            .collect()
    };
    none(faults(&fs::read_to_string(root().join("tests/seeds.md")).unwrap()).into_iter());
    let planted =
        "| named there | here | shown by |\n|---|---|---|\n| a | b | `a_test_that_nobody_wrote` |\n| a | b | soon |\n| a | | open: c |";
    assert_eq!(faults(planted), ["`a_test_that_nobody_wrote` is nowhere", "soon: no test"]);
}

#[test]
fn a_library_is_named_in_one_module() {
    none(sources().iter().flat_map(foreign_libraries));
    let planted = Source { path: "engine/mod.rs".into(), text: "use sqlx::Row;\n// rmcp::x is only told of\nlet y = jsonrpsee::y;".into() };
    assert_eq!(
        foreign_libraries(&planted),
        ["src/engine/mod.rs: only rpc may name jsonrpsee", "src/engine/mod.rs: only store may name sqlx"]
    );
}

#[test]
fn files_are_short_and_introduced() {
    none(sources().iter().flat_map(shape));
    let planted = Source { path: "engine/mod.rs".into(), text: "use x;\n".repeat(MAX_LINES + 1) };
    assert_eq!(shape(&planted).len(), 2);
}

#[test]
fn nothing_unwraps_outside_tests() {
    none(sources().iter().flat_map(unwraps));
    let planted = "fn a() {\n    b.unwrap();\n}\n// c.unwrap()\n#[cfg(test)]\nmod tests { fn d() { e.unwrap(); } }";
    assert_eq!(
        unwraps(&Source { path: "a.rs".into(), text: planted.into() }),
        ["src/a.rs:2: `unwrap` outside tests; `expect` states the invariant"]
    );
}

#[test]
fn nothing_depends_on_somebodys_machine() {
    let texts = ["src", "tests", "tools", "prompts", "migrations", "docs", ".ci", "README.md", "CHANGELOG.md", "Cargo.toml"];
    let files: Vec<_> = texts.iter().flat_map(|name| files(&root().join(name))).collect();
    assert!(files.len() > 20, "only {} files were looked at", files.len());
    none(files.iter().flat_map(|file| home_paths(&file.display().to_string(), &fs::read_to_string(file).unwrap_or_default())));
    let planted = format!("let x = \"{}\";\nGET http://host/home/x", ["", "home", "ann", "x"].join("/"));
    assert_eq!(home_paths("a.rs", &planted).len(), 1);
}

#[test]
fn each_operation_has_its_page_and_each_page_its_operation() {
    let pages: BTreeSet<String> = stems(&root().join("tools"), "md").into_iter().map(|(stem, _)| stem).collect();
    let operations = stems(&root().join("src/operations"), "rs")
        .into_iter()
        .filter(|(stem, _)| stem != "mod")
        .filter_map(|(stem, text)| Some((stem, operation_name(&text)?)));
    let operations: Vec<(String, String)> = operations.collect();

    assert!(!operations.is_empty(), "no operation was found in src/operations");
    for (file, name) in &operations {
        assert_eq!(file, name, "src/operations/{file}.rs defines `{name}`");
    }
    assert_eq!(operations.into_iter().map(|(file, _)| file).collect::<BTreeSet<_>>(), pages);
    assert_eq!(operation_name("impl Operation for X {\n    const NAME: &'static str = \"do_x\";\n}").as_deref(), Some("do_x"));
}

/// Says which modules a file uses that do not lie below its own.
fn wrong_imports(source: &Source) -> Vec<String> {
    let own = source.module();
    if own == "lib" {
        return Vec::new();
    }
    let Some(own_layer) = layer(own) else {
        return vec![format!("src/{}: `{own}` is in no layer; name it in tests/tidy.rs", source.path)];
    };
    let code = source.code();
    let way_up = source.way_up();
    // A module that is a package of its own is named `interlock_…`.
    let used = ["crate::", &way_up, "interlock_"].into_iter().flat_map(|root| crate_paths(&code, root));
    let used: BTreeSet<_> = used.filter(|used| *used != own && layer(used).is_some_and(|used| used <= own_layer)).collect();
    used.into_iter().map(|used| format!("src/{}: {own} may not use {used}", source.path)).collect()
}

fn foreign_libraries(source: &Source) -> Vec<String> {
    let code = source.code();
    let words: BTreeSet<&str> = code.split("::").map(|before| before.rsplit(|c: char| !is_word(c)).next().unwrap_or_default()).collect();
    let mut wrong: Vec<_> = OWNED.iter().filter(|(library, owner)| words.contains(library) && source.module() != *owner).collect();
    wrong.sort();
    wrong.iter().map(|(library, owner)| format!("src/{}: only {owner} may name {library}", source.path)).collect()
}

fn shape(source: &Source) -> Vec<String> {
    let (path, lines) = (&source.path, source.text.lines().count());
    let unintroduced = !source.text.starts_with("//!") && !source.text.starts_with("#![doc");
    let introduction = unintroduced.then(|| format!("src/{path}: the first line says what the file is for (`//! …`)"));
    introduction.into_iter().chain((lines > MAX_LINES).then(|| format!("src/{path}: {lines} lines; {MAX_LINES} at most"))).collect()
}

fn unwraps(source: &Source) -> Vec<String> {
    if source.path.ends_with("tests.rs") {
        return Vec::new();
    }
    let code = source.code();
    let before_tests = code.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate();
    let found = before_tests.filter(|(_, line)| line.contains(".unwrap()") || line.contains(".unwrap_err()"));
    found.map(|(index, _)| format!("src/{}:{}: `unwrap` outside tests; `expect` states the invariant", source.path, index + 1)).collect()
}

fn home_paths(file: &str, text: &str) -> Vec<String> {
    let homes = ["home", "root", "Users"].map(|folder| format!("/{folder}/"));
    let starts_there = |line: &str| {
        homes
            .iter()
            .any(|home| line.match_indices(home.as_str()).any(|(at, _)| !line[..at].ends_with(|c| is_word(c) || c == '.' || c == '}')))
    };
    text.lines().filter(|line| starts_there(line)).map(|line| format!("{file}: a path of somebody's machine: {}", line.trim())).collect()
}

/// Returns the name an operation's file gives itself.
fn operation_name(text: &str) -> Option<String> {
    let rest = &text[text.find("    const NAME: &'static str = ")?..];
    rest.split('"').nth(1).map(str::to_owned)
}

/// Returns `b` for each `crate::b`, and `b`, `c` for `crate::{b::d, c}`; `root` is how the code names the crate's root.
fn crate_paths<'a>(code: &'a str, root: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for rest in code.split(root).skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level(group)),
            None => found.push(ident(rest)),
        }
    }
    found
}

fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(ident(group[start..at].trim()));
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(ident(group[start..at].trim()));
                start = at + 1;
            }
            _ => (),
        }
    }
    items
}

/// Returns the tests and files that a page names between backticks and nobody finds.
fn unknown_tests(page: &str, sources: &str) -> Vec<String> {
    let named = page.split('`').skip(1).step_by(2);
    let is_there = |name: &str| match name {
        path if path.starts_with("tests/") => root().join(path).exists(),
        module if module.contains("::") => {
            root().join(format!("src/{}.rs", module.replace("::", "/"))).exists()
                || root().join(format!("src/{}/mod.rs", module.replace("::", "/"))).exists()
        }
        setting if setting.starts_with("INTERLOCK_") => {
            let name = setting.split('=').next().unwrap_or_default();
            sources.contains(&format!("env::var(\"{name}\")"))
        }
        test if test.contains('_') => sources.contains(&format!("fn {test}(")) || sources.contains(&format!("on_both!({test}")),
        _ => true,
    };
    named.filter(|name| !name.contains(' ') && !is_there(name)).map(|name| format!("`{name}` is nowhere")).collect()
}

fn ident(text: &str) -> &str {
    text.split(|c: char| !is_word(c)).next().unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

impl Source {
    /// Returns the top module the file belongs to: `store/deploys.rs` is `store`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Returns how the file can name the crate's root without `crate`: `super::` as often as it lies deep.
    fn way_up(&self) -> String {
        "super::".repeat(self.path.trim_end_matches("/mod.rs").split('/').count())
    }

    /// Returns the text without line comments; a `//` in a string only hides the rest of its line.
    fn code(&self) -> String {
        self.text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let found = files(&folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(&folder).unwrap().display().to_string(),
        text: fs::read_to_string(&path).unwrap(),
    };
    let found: Vec<_> = found.map(read).collect();
    assert!(found.len() > 20, "only {} files were found", found.len());
    found
}

fn stems(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let found = files(folder).into_iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    found.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())).collect()
}

/// Returns the files under a path, or the file itself, sorted.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|entry| files(&entry)).collect();
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn none(wrong: impl Iterator<Item = String>) {
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
