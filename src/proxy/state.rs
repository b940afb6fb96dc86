//! What survives a worker: `state.json`, written whole or not at all, and the copy before it.

use super::control::{ProbePlan, StateSource};
use crate::model::{Epoch, Split, Timestamp};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// What a proxy remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The file's version.
    pub v: u32,
    /// The boot it was written in: after another, its addresses belong to nobody knows whom.
    pub boot_id: String,
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// The split in force.
    pub split: Split,
    /// The proxy's own requests.
    pub probe: Option<ProbePlan>,
    /// Since when something has been in force without a break.
    pub serving_since: Option<Timestamp>,
}

impl Saved {
    /// Returns the last state that can be read, and where it came from.
    pub fn load(dir: &Path, boot_id: &str) -> (Self, StateSource) {
        let empty = Saved { v: 1, boot_id: boot_id.to_owned(), ..Saved::default() };
        let (saved, source) = match (read(&dir.join("state.json")), read(&dir.join("state.json.prev"))) {
            (Copy::Whole(saved), _) => (saved, StateSource::Saved),
            (_, Copy::Whole(saved)) => (saved, StateSource::Previous),
            (Copy::Absent, Copy::Absent) => return (empty, StateSource::New),
            _ => return (empty, StateSource::Unreadable),
        };
        if saved.boot_id != boot_id {
            return (Saved { epoch: saved.epoch, ..empty }, StateSource::EarlierBoot);
        }
        (saved, source)
    }

    /// Makes this state the durable one; the one before stays as `state.json.prev`.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (current, previous) = (dir.join("state.json"), dir.join("state.json.prev"));
        let fresh = dir.join("state.json.tmp");
        write_durably(&fresh, &serde_json::to_vec(self).context("writing the proxy's state")?)?;
        // A copy that cannot be read must not push out the one that can.
        if matches!(read(&current), Copy::Whole(_)) {
            fs::rename(&current, &previous).context("keeping the proxy's previous state")?;
        }
        fs::rename(&fresh, &current).context("replacing the proxy's state")?;
        File::open(dir).and_then(|folder| folder.sync_all()).context("making the proxy's state durable")
    }
}

enum Copy {
    Whole(Saved),
    Absent,
    Broken,
}

fn read(path: &Path) -> Copy {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Saved>(&bytes).ok().filter(|saved| saved.v == 1).map_or(Copy::Broken, Copy::Whole),
        Err(err) if err.kind() == ErrorKind::NotFound => Copy::Absent,
        Err(_) => Copy::Broken,
    }
}

/// Writes a file and waits until its bytes are on the disk.
pub fn write_durably(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(|| format!("writing `{}`", path.display()))
}

/// Returns the id of the running boot; empty where the system has none.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Returns when a living process started, in clock ticks since boot.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets; fields count from behind its last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_dead = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18)?.parse().ok().filter(|_| !is_dead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::split::Share;

    fn state(epoch: i64) -> Saved {
        let share = Share { instance: "a".into(), address: ([127, 0, 0, 1], 9).into(), version: "1".into(), weight: 1 };
        Saved { v: 1, boot_id: "b".into(), epoch: Epoch(epoch), split: Split(vec![share]), probe: None, serving_since: None }
    }

    #[test]
    fn the_last_state_that_can_be_read_wins() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Saved::load(dir.path(), "b").1, StateSource::New);
        state(1).save(dir.path()).unwrap();
        state(2).save(dir.path()).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(2), StateSource::Saved));
        let whole = fs::read(dir.path().join("state.json")).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(dir.path().join("state.json"), &whole[..length]).unwrap();
            assert_eq!(Saved::load(dir.path(), "b"), (state(1), StateSource::Previous));
        }
        state(3).save(dir.path()).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(3), StateSource::Saved));
        fs::write(dir.path().join("state.json"), "{").unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(1), StateSource::Previous), "a broken copy never replaces a whole one");
        fs::write(dir.path().join("state.json.prev"), "{").unwrap();
        let (nothing, source) = Saved::load(dir.path(), "b");
        assert_eq!((nothing.split, source), (Split::default(), StateSource::Unreadable));
    }

    #[test]
    fn a_crash_between_the_two_renames_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        state(1).save(dir.path()).unwrap();
        fs::rename(dir.path().join("state.json"), dir.path().join("state.json.prev")).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(1), StateSource::Previous));
    }

    #[test]
    fn after_a_reboot_only_the_epoch_counts() {
        let dir = tempfile::tempdir().unwrap();
        state(7).save(dir.path()).unwrap();
        let (saved, source) = Saved::load(dir.path(), "another");
        assert_eq!((saved.split, saved.epoch, source), (Split::default(), Epoch(7), StateSource::EarlierBoot));
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        assert!(start_time(std::process::id() as i32).is_some());
        assert_eq!(start_time(i32::MAX), None);
    }
}
