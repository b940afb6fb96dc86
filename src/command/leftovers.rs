//! What a run left running: found by its marker in `/proc`, so that no other process is ever ended.

use super::MARKER;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, thread, time::Duration};

/// Each round ends all that are seen; a process that forks meanwhile is seen in the next.
const ROUNDS: u32 = 200;

/// Ends what is left of the run with this process group, as `on_started` was told it; returns how many processes it was.
///
/// A number that now belongs to something else, after a reboot or by reuse, is left alone.
pub fn kill_leftover(pid: u32, start_time: u64) -> usize {
    let leader = self::start_time(pid);
    if leader.is_some_and(|actual| actual != start_time) {
        return 0;
    }
    kill_all(|process| group_of(process) == Some(pid) && marker_of(process).is_some())
}

/// Ends every process of the runs in `folder`, or of the run whose folder it is.
pub fn kill_marked(folder: &Path) -> usize {
    kill_all(|process| marker_of(process).is_some_and(|marker| Path::new(OsStr::from_bytes(&marker)).starts_with(folder)))
}

/// Returns a process's start time in clock ticks since boot; `None` when there is none.
pub fn start_time(pid: u32) -> Option<u64> {
    stat_field(pid, 22)
}

fn kill_all(is_ours: impl Fn(u32) -> bool) -> usize {
    let mut killed = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        let found: Vec<u32> = processes().filter(|pid| is_ours(*pid)).collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            kill(pid, &is_ours);
            killed.insert(pid);
        }
        // A killed process is seen until the kernel has taken it down.
        thread::sleep(Duration::from_millis(5));
    }
    killed.len()
}

fn kill(pid: u32, is_ours: impl Fn(u32) -> bool) {
    let Some(process) = Pid::from_raw(pid.cast_signed()) else { return };
    // Held before it is looked at once more: the number cannot become another's in between.
    if let Ok(handle) = pidfd_open(process, PidfdFlags::empty())
        && is_ours(pid)
    {
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(move |pid| *pid != own)
}

/// Returns the value of the marker in a process's environment; a zombie has none.
fn marker_of(pid: u32) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let marker = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="));
    marker.map(<[u8]>::to_vec)
}

fn group_of(pid: u32) -> Option<u32> {
    stat_field(pid, 5)
}

/// Returns a field of `/proc/<pid>/stat`, counted from 1 as in its manual.
fn stat_field<T: std::str::FromStr>(pid: u32, field: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, which may hold spaces and brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(field - 3)?.parse().ok()
}
