//! Which build of the program a file is: its version, size and time tell one from the next without reading it.

use std::{os::unix::fs::MetadataExt, path::Path};

/// Returns the id of the program in a file; `/proc/self/exe` is the one that runs, also after its file was replaced.
pub fn build_of(exe: &Path) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::fs::metadata(exe) {
        Ok(file) => format!("{version}-{:x}-{:x}.{:x}", file.size(), file.mtime(), file.mtime_nsec()),
        Err(_) => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_again() {
        let me = std::env::current_exe().unwrap();
        assert_eq!(build_of(&me), build_of(Path::new("/proc/self/exe")));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        assert_ne!(build_of(&me), build_of(&dir.path().join("other")));
    }
}
