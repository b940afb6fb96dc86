//! The lines of `docs/outdated.md`, run as they stand there with tools that say what the real ones said, or fail as they do.

use crate::required::runtime;
use interlock::gates::{Format, Measures, read_report};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// What npm 11, pip 23 and cargo-outdated print, by their arguments; `$FAULT` makes them fail as they do.
const TOOLS: [(&str, &str); 3] = [
    (
        "npm",
        r#"[ "$FAULT" != unreachable ] || { echo '{"error":{"code":"ECONNREFUSED","summary":"request failed"}}'; exit 1; }
case "$*" in
  "query :root > *:not(:link) --package-lock-only") echo '[{"name":"ms","version":"2.1.3"},{"name":"uuid","version":"8.3.2"}]' ;;
  "view ms version --json") echo '"2.1.3"' ;;
  "view uuid version --json") [ "$FAULT" != unknown ] || { echo '{"error":{"code":"E404"}}'; exit 1; }; echo '"14.0.3"' ;;
  *) exit 64 ;;
esac"#,
    ),
    (
        "pip",
        r#"[ "$FAULT" = "" ] || case "$*" in *--outdated*|*--uptodate*) echo '[]'; exit 0 ;; esac
case "${*#list --format json --exclude pip --exclude setuptools}" in
  " --outdated") echo '[{"name":"attrs","version":"25.3.0","latest_version":"26.1.0","latest_filetype":"wheel"}]' ;;
  " --uptodate") echo '[{"name":"six","version":"1.17.0"}]' ;;
  "") echo '[{"name":"attrs","version":"25.3.0"},{"name":"six","version":"1.17.0"}]' ;;
  *) exit 64 ;;
esac"#,
    ),
    (
        "cargo",
        r#"case "$*" in
  "metadata --no-deps --format-version 1") echo '{"packages":[{"name":"web","dependencies":[
    {"name":"bitflags","source":"registry+https://index.test"},{"name":"rand","source":"registry+https://index.test"},
    {"name":"itoa","source":"registry+https://index.test"},{"name":"itoa","source":"registry+https://index.test","kind":"dev"},
    {"name":"wire","source":null}'"$GIT"']}],"version":1}' ;;
  "outdated --root-deps-only --format json")
    [ "$FAULT" = "" ] || { echo 'error: failed to download from the index' >&2; exit 101; }
    echo '{"crate_name":"web","dependencies":[{"name":"bitflags","project":"1.3.2","compat":"---","latest":"2.13.2","kind":"Normal","platform":null},
    {"name":"rand","project":"0.8.5","compat":"0.8.8","latest":"---","kind":"Development","platform":null}]}' ;;
  *) exit 64 ;;
esac"#,
    ),
];

/// Returns the lines of the documentation.
fn lines() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/outdated.md")).unwrap();
    text.split("```sh needs=tools\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn write(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a line where these tools are.
fn run(line: &str, folder: &Path, fault: &str, git: &str) -> Output {
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).env("PATH", path).env("FAULT", fault).env("GIT", git).current_dir(folder).output().unwrap()
}

fn counts(measures: &Measures) -> [f64; 3] {
    ["examined", "outdated", "majors_behind"].map(|name| measures.get(name).unwrap())
}

#[test]
fn the_lines_of_the_docs_write_what_is_read() {
    let Some(node) = runtime("node", "INTERLOCK_NODE") else { return };
    let Some(python) = runtime("python", "INTERLOCK_PYTHON") else { return };
    let folder = TempDir::new().unwrap();
    for (name, script) in TOOLS {
        write(folder.path(), name, script);
    }
    for (name, program) in [("node", node), ("python3", python)] {
        write(folder.path(), name, &format!("exec '{}' \"$@\"", program.display()));
    }
    let lines = lines();
    assert_eq!(lines.len(), TOOLS.len());
    for ((line, (tool, _)), expected) in lines.iter().zip(TOOLS).zip([[2.0, 1.0, 6.0], [2.0, 1.0, 1.0], [3.0, 2.0, 1.0]]) {
        let done = run(line, folder.path(), "", "");
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(counts(&read_report(Format::Outdated, &done.stdout).unwrap()), expected, "{tool}");
        for fault in ["unreachable", "unknown"] {
            let failed = run(line, folder.path(), fault, "");
            // pip itself ends well and with empty lists; the others end badly, and write nothing that could be taken for a report.
            match tool {
                "pip" => assert_eq!(counts(&read_report(Format::Outdated, &failed.stdout).unwrap())[0], 0.0, "{fault}"),
                _ => assert!(!failed.status.success() && failed.stdout.is_empty(), "{tool}, {fault}: {failed:?}"),
            }
        }
    }
    let from_git = r#",{"name":"wire2","source":"git+https://git.test/wire2"}"#;
    let done = run(&lines[2], folder.path(), "", from_git);
    let read = read_report(Format::Outdated, &done.stdout).unwrap();
    assert_eq!((counts(&read)[0], read.notes[0].as_str()), (0.0, "1 of 4 could not be compared: wire2"));
}
