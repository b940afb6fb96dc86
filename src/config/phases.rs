//! `[phases]`: the folder with the project's own phase files. Their texts become part of the configuration when it is applied, as
//! `[phases.files]`: what is signed and in force is what stood in them then, whatever is done to the files afterwards.

use super::{FILE_NAME, PHASES, Workspace, is_name, reader::Table};
use crate::model::{Fault, Faults, text::visible_line};
use std::{collections::BTreeMap, fs, path::Path};
use toml::de::DeTable;

/// The longest phase file.
const MAX_BYTES: u64 = 64 * 1024;
/// How many there may be.
const MAX_FILES: usize = 50;

/// Reads `[phases]` of an applied configuration: the text of each own phase by its name.
pub(super) fn phases(root: &Table<'_>) -> BTreeMap<String, String> {
    let Some(table) = root.get("phases").and_then(|item| item.table()) else { return BTreeMap::new() };
    if let Some(item) = table.require("dir", "write dir = \"phases\"") {
        item.text();
    }
    let mut phases = BTreeMap::new();
    for (name, item) in table.get("files").and_then(|item| item.table()).map(|files| files.items()).unwrap_or_default() {
        if PHASES.contains(&name) {
            item.fault_at_key(format!("`{name}` is a phase of Interlock"), Some("give the file another name".into()));
        } else if let Some(text) = item.text().filter(|_| is_name(&item, name)) {
            phases.insert(name.to_owned(), text.to_owned());
        }
    }
    table.close();
    phases
}

/// Returns a configuration with the texts of its own phase files in it; the text itself where it names no folder.
pub fn with_phases(workspace: &Workspace, text: &str) -> Result<String, Faults> {
    let Some(dir) = dir_of(text)? else { return Ok(text.to_owned()) };
    let fault = |message: String, hint: Option<&str>| {
        let line = text.lines().position(|line| line.trim_start().starts_with("[phases]")).map_or(1, |index| index + 1);
        let (key, hint) = ("phases.dir".to_owned(), hint.map(str::to_owned));
        Faults(vec![Fault { file: FILE_NAME.into(), line, column: None, key, message, hint }])
    };
    if !text.lines().any(|line| line.trim_start().starts_with("[phases]")) {
        return Err(fault("`phases` is no table of its own".into(), Some("write [phases] on a line of its own, and dir below it")));
    }
    let mut whole = format!("{}\n\n# The files of `{dir}` as they were applied.\n[phases.files]\n", text.trim_end());
    for (name, body) in files(workspace, &dir).map_err(|message| fault(message, None))? {
        whole.push_str(&format!("{name} = {}\n", written(&body)));
    }
    Ok(whole)
}

/// Returns the own phase files of a workspace's configuration as they stand on disk, path and text; none where it names no folder.
pub fn phase_files(workspace: &Workspace) -> Result<Vec<(String, String)>, String> {
    let text = fs::read_to_string(workspace.config_file()).map_err(|error| format!("`{FILE_NAME}` cannot be read: {error}"))?;
    let Some(dir) = dir_of(&text).map_err(|faults| faults.to_string())? else { return Ok(Vec::new()) };
    let path = |(name, text)| (format!("{}/{name}.md", dir.trim_end_matches('/')), text);
    Ok(files(workspace, &dir)?.into_iter().map(path).collect())
}

/// Returns what `[phases] dir` names; anything else that is wrong in the file is told when it is read as a whole.
fn dir_of(text: &str) -> Result<Option<String>, Faults> {
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(phases) = document.get_ref().get("phases").and_then(|phases| phases.get_ref().as_table()) else { return Ok(None) };
    if let Some((key, _)) = phases.iter().find(|(key, _)| key.get_ref() == "files") {
        let line = text[..key.span().start.min(text.len())].matches('\n').count() + 1;
        let hint = "leave it out: `interlock apply` puts the files of `dir` there".to_owned();
        let message = "is not written by hand".to_owned();
        let fault = Fault { file: FILE_NAME.into(), line, column: None, key: "phases.files".into(), message, hint: Some(hint) };
        return Err(Faults(vec![fault]));
    }
    Ok(phases.get("dir").and_then(|dir| dir.get_ref().as_str()).map(str::to_owned))
}

/// Returns name and text of every `NAME.md` in a folder, by name.
fn files(workspace: &Workspace, dir: &str) -> Result<BTreeMap<String, String>, String> {
    let shown = |path: &Path| visible_line(&path.display().to_string(), 200);
    let folder = workspace.resolve_inside(dir)?;
    let entries = fs::read_dir(&folder).map_err(|error| format!("`{}` cannot be read: {error}", visible_line(dir, 200)))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("`{}` cannot be read: {error}", shown(&folder)))?.path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|extension| extension == "md")) else { continue };
        let (Some(name), Some(inside)) = (name.to_str(), path.strip_prefix(&workspace.root).ok().and_then(Path::to_str)) else {
            return Err(format!("`{}` is no name of a phase", shown(&path)));
        };
        let resolved = workspace.resolve_inside(inside)?;
        let is_small = fs::metadata(&resolved).map_err(|error| format!("`{}` cannot be read: {error}", shown(&path)))?.len() <= MAX_BYTES;
        if !is_small || files.len() == MAX_FILES {
            return Err(format!("`{}` is larger than {MAX_BYTES} bytes, or one of more than {MAX_FILES} files", shown(&path)));
        }
        let text = fs::read_to_string(&resolved).map_err(|error| format!("`{}` cannot be read: {error}", shown(&path)))?;
        files.insert(name.to_owned(), text);
    }
    Ok(files)
}

/// Writes a text so that a person can read it in the file, where TOML allows that.
fn written(text: &str) -> String {
    let is_plain = text.ends_with('\n') && !text.contains("'''") && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    match is_plain {
        true => format!("'''\n{text}'''"),
        // What JSON escapes, TOML reads.
        false => serde_json::to_string(text).expect("a text can be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_reads_back_as_it_was_written() {
        for text in ["a\nb\n", "no end", "'''\n", "\"quoted\" \\ \t\n", "\n\nfirst lines\n", "caf\u{e9} \u{1f600}\n", "carriage\r\n"] {
            let document: toml::Table = toml::from_str(&format!("a = {}", written(text))).unwrap();
            assert_eq!(document["a"].as_str(), Some(text));
        }
    }
}
