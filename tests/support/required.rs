//! What a suite needs beyond Rust, a C compiler and git: without it the suite says on one line that it is skipped, and why. What
//! `INTERLOCK_REQUIRE` names must be there.

use std::{env, io::Write, path::PathBuf};

/// Returns what was found; without it says so on one line, or fails where `INTERLOCK_REQUIRE` has `name`.
pub fn found<T>(name: &str, found: Option<T>, why: &str) -> Option<T> {
    if found.is_none() {
        let is_required = env::var("INTERLOCK_REQUIRE").is_ok_and(|names| names.split(',').any(|one| one == name));
        assert!(!is_required, "INTERLOCK_REQUIRE names {name}: {why}");
        // Not `eprintln!`: what a test prints that way is hidden when it passes.
        let _ = writeln!(std::io::stderr(), "skipped: {name} ({why})");
    }
    found
}

/// Returns the runtime of an official client, which a variable names.
pub fn runtime(name: &str, variable: &str) -> Option<PathBuf> {
    let why = format!("{variable} is not set; `.ci/setup && . target/ci/env` installs {name} and the official clients");
    found(name, env::var_os(variable).map(PathBuf::from), &why)
}
