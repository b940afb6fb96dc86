//! Whether the file on disk is what was applied: shown, never used.

use super::Engine;
use crate::{config, model::Sha256};
use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// For how long after a change a file is read each time: within one tick of the file system's clock it may change twice.
const FRESH: Duration = Duration::from_secs(2);

impl Engine {
    /// Tells whether the file on disk differs from the newest revision.
    pub fn is_drifted(&self, newest: &Sha256) -> bool {
        let file = self.workspace.config_file();
        // Nearly always it is what was applied, to the byte; only where it is not, it is read for the phases it names.
        self.on_disk.sha256(&file, SystemTime::now()) != *newest && {
            let text = fs::read_to_string(file).unwrap_or_default();
            Sha256::of(config::with_phases(&self.workspace, &text).unwrap_or(text).as_bytes()) != *newest
        }
    }
}

/// The hash of a file, and which state of it was hashed: one that nobody has touched since is not read again.
#[derive(Default)]
pub(super) struct OnDisk(Mutex<Option<(Stamp, Sha256)>>);

/// A state of a file.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size_bytes: u64,
    /// When it was changed last, by the machine's clock, whatever time the file says.
    changed_at: (i64, i64),
}

impl OnDisk {
    /// Returns the hash of a file's bytes; that of nothing where it cannot be read.
    fn sha256(&self, file: &Path, now: SystemTime) -> Sha256 {
        let stamp = fs::metadata(file).ok().map(|found| Stamp::of(&found));
        let mut known = self.0.lock().expect("nothing panics here");
        if let Some((_, sha256)) = known.as_ref().filter(|(one, _)| Some(one) == stamp.as_ref()) {
            return sha256.clone();
        }
        let sha256 = Sha256::of(&fs::read(file).unwrap_or_default());
        *known = stamp.filter(|stamp| stamp.is_settled(now)).map(|stamp| (stamp, sha256.clone()));
        sha256
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Stamp { inode: found.ino(), size_bytes: found.len(), changed_at: (found.ctime(), found.ctime_nsec()) }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(self.changed_at.0).is_ok_and(|changed_at| changed_at.saturating_add(FRESH.as_secs()) < now.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_once_it_was_touched_and_trusted_once_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other, on_disk) = (folder.path().join("file"), folder.path().join("other"), OnDisk::default());
        let (now, later) = (SystemTime::now(), SystemTime::now() + FRESH * 3);
        assert_eq!(on_disk.sha256(&file, later), Sha256::of(b""), "there is none");
        fs::write(&file, "one").unwrap();
        assert_eq!(on_disk.sha256(&file, now), Sha256::of(b"one"));
        assert!(on_disk.0.lock().unwrap().is_none(), "it may change again within this tick");
        assert_eq!(on_disk.sha256(&file, later), Sha256::of(b"one"));
        assert!(on_disk.0.lock().unwrap().is_some());
        // As editors do it.
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &file).unwrap();
        assert_eq!(on_disk.sha256(&file, later), Sha256::of(b"two"));
        fs::remove_file(&file).unwrap();
        assert_eq!(on_disk.sha256(&file, later), Sha256::of(b""));
    }
}
