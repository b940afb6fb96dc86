//! The program of the version before, which `tests/previous` names: built once, with the libraries that this one is built with.

use super::{BINARY, required};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Returns the program; none where the commit is not in this clone, which is said.
pub async fn program() -> Option<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = tokio::task::spawn_blocking(|| BUILT.get_or_init(|| build(&commit())).clone()).await.expect("building");
    let why = built.as_ref().err().cloned().unwrap_or_default();
    required::found("previous", built.ok(), &why)
}

fn commit() -> String {
    let named = include_str!("../previous").lines().find(|line| !line.starts_with('#'));
    named.expect("tests/previous names a commit").trim().to_owned()
}

fn build(commit: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let profile = Path::new(BINARY).parent().expect("a program lies in a folder");
    let target = profile.parent().expect("a profile's folder lies in the target folder");
    let (folder, is_release) = (target.join("previous"), profile.ends_with("release"));
    let program = folder.join(format!("interlock-{commit}-{}", profile.file_name().unwrap().to_string_lossy()));
    fs::create_dir_all(&folder).unwrap();
    // Another test binary may be about the same.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if program.exists() {
        return Ok(program);
    }
    let git = |words: &[&str]| Command::new("git").args(words).current_dir(root).stdin(Stdio::null()).output();
    match git(&["cat-file", "-e", &format!("{commit}^{{commit}}")]) {
        Ok(found) if found.status.success() => (),
        _ => return Err(format!("commit {commit} of tests/previous is not here; a full clone has it")),
    }
    let source = folder.join("source");
    let _ = fs::remove_dir_all(&source);
    let archive = git(&["archive", commit]).unwrap();
    assert!(archive.status.success(), "git archive: {}", String::from_utf8_lossy(&archive.stderr));
    tar::Archive::new(archive.stdout.as_slice()).unpack(&source).unwrap();
    // In the same target folder the libraries are there already; under its own name it does not take this program's place.
    let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let renamed = manifest.replacen("[[bin]]\nname = \"interlock\"", "[[bin]]\nname = \"interlock-previous\"", 1);
    assert_ne!(manifest, renamed, "the program before has another name");
    // Its folder lies within this workspace and is not of it.
    let own = if renamed.contains("[workspace]") { "" } else { "\n[workspace]\n" };
    fs::write(source.join("Cargo.toml"), renamed + own).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--bin", "interlock-previous"]).args(is_release.then_some("--release"));
    cargo.env("CARGO_TARGET_DIR", target).env("CARGO_INCREMENTAL", "0").current_dir(&source).stdin(Stdio::null());
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "building {commit}: {}", String::from_utf8_lossy(&built.stderr));
    // Whole or not at all.
    let partly = program.with_extension("new");
    fs::copy(profile.join("interlock-previous"), &partly).unwrap();
    fs::rename(partly, &program).unwrap();
    fs::remove_dir_all(&source).unwrap();
    Ok(program)
}
