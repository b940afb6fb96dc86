//! Who a process is: its number alone is used again, its number with its start time and the machine's boot is not.

pub use crate::model::time::boot_id;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process of this boot, told from any later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When the kernel started it, in ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// Returns the process of this number; `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Process { pid, start_time: stat.start_time })
    }

    /// Returns this process.
    pub fn me() -> Self {
        let pid = std::process::id() as i32;
        Process::of(pid).unwrap_or(Process { pid, start_time: 0 })
    }

    /// Tells whether it runs; one that ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.ended)
    }

    /// Returns every running process of the session this one leads, also after its own end; none when its number is used again.
    pub fn session(&self) -> Vec<Process> {
        if stat(self.pid).is_some_and(|stat| stat.start_time != self.start_time) {
            return Vec::new();
        }
        let Ok(folders) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| Some((pid, stat(pid)?)))
            .filter(|(pid, stat)| (stat.session == self.pid || *pid == self.pid) && stat.start_time >= self.start_time && !stat.ended)
            .map(|(pid, stat)| Process { pid, start_time: stat.start_time })
            .collect()
    }

    /// Sends the signal, if the process still is who it was.
    pub fn signal(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Returns the running children of this process, those it adopted among them.
pub fn children() -> Vec<Process> {
    let me = std::process::id();
    let listed = std::fs::read_to_string(format!("/proc/self/task/{me}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| Process::of(pid.parse().ok()?)).filter(Process::is_alive).collect()
}

struct Stat {
    ended: bool,
    session: i32,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The program's name stands in parentheses and may hold spaces and parentheses itself.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ended = matches!(*fields.first()?, "Z" | "X" | "x");
    Some(Stat { ended, session: fields.get(3)?.parse().ok()?, start_time: fields.get(19)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_an_awkward_name_is_read() {
        let stat = parse_stat("77 (a) S (b) Z 1 70 71 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0").unwrap();
        assert!(stat.ended);
        assert_eq!((stat.session, stat.start_time), (71, 4242));
        assert!(parse_stat("77 (cut) S 1").is_none());
    }

    #[test]
    fn this_process_is_alive_and_another_of_its_number_is_not() {
        let me = Process::me();
        assert!(me.is_alive());
        assert!(!Process { start_time: me.start_time + 1, ..me }.is_alive());
        assert!(!boot_id().is_empty());
    }
}
