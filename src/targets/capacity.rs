//! What this machine has left, from `statvfs`, `/proc` and the cgroup this process is in. What cannot be read is not known.

use crate::{
    model::capacity::{Capacity, Disk, Holds},
    shim::identity::Process,
};
use rustix::{
    fs::{stat, statvfs},
    process::{Resource, getrlimit},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Returns what this machine has left for folders that hold this; blocks.
pub fn of_this_machine(folders: &[(Holds, PathBuf)]) -> Capacity {
    let limit = getrlimit(Resource::Nofile).current;
    Capacity {
        disks: disks(folders),
        ports: free_ports(&read("/proc/sys/net/ipv4/ip_local_port_range"), &[read("/proc/net/tcp"), read("/proc/net/tcp6")]),
        descriptors_each: Some(limit.unwrap_or(u64::MAX)),
        descriptors: free_descriptors(&read("/proc/sys/fs/file-nr")),
        memory_bytes: free_memory(),
        used_bytes: Default::default(),
    }
}

/// Returns the memory, in bytes, of a process and everything in its session; none of one that has just ended, or that may not be looked
/// at: that says nothing about what the next one needs.
pub fn memory_of(process: Process) -> Option<u64> {
    let resident = |process: &Process| kilobytes(&read(format!("/proc/{}/status", process.pid)), "VmRSS:").unwrap_or(0);
    Some(process.session().iter().map(resident).sum::<u64>() * 1024).filter(|bytes| *bytes > 0)
}

/// Returns the disks of these folders, each once; a folder that is not there yet will lie where its parent does.
fn disks(folders: &[(Holds, PathBuf)]) -> Vec<Disk> {
    let mut disks: Vec<(u64, Disk)> = Vec::new();
    for (holds, folder) in folders {
        let Some(there) = folder.ancestors().find(|folder| folder.exists()) else { continue };
        let (Ok(identity), Ok(space)) = (stat(there), statvfs(there)) else { continue };
        match disks.iter_mut().find(|(device, _)| *device == identity.st_dev) {
            Some((_, disk)) => disk.holds.push(*holds),
            None => disks.push((identity.st_dev, Disk { holds: vec![*holds], free_bytes: space.f_bavail * space.f_frsize })),
        }
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

/// Returns how many ports of the range are on no socket, from the kernel's tables of them.
fn free_ports(range: &str, sockets: &[String]) -> Option<u64> {
    // The table of IPv6 may be missing; without the first nobody knows what is taken.
    if sockets.first().is_none_or(String::is_empty) {
        return None;
    }
    let mut bounds = range.split_whitespace().map(|bound| bound.parse::<u16>());
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    let port = |line: &str| u16::from_str_radix(line.split_whitespace().nth(1)?.rsplit(':').next()?, 16).ok();
    let taken: BTreeSet<u16> = sockets.iter().flat_map(|table| table.lines().skip(1).filter_map(port)).collect();
    let size = u64::from(last.checked_sub(first)?) + 1;
    Some(size - taken.range(first..=last).count() as u64)
}

/// Returns how many more file descriptors the system may open: `file-nr` holds allocated, unused, and the most.
fn free_descriptors(numbers: &str) -> Option<u64> {
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [allocated, _, most] => Some(most.saturating_sub(allocated)),
        _ => None,
    }
}

/// Returns the memory that is left: of the machine, or of the tightest cgroup around this process.
fn free_memory() -> Option<u64> {
    let machine = kilobytes(&read("/proc/meminfo"), "MemAvailable:")? * 1024;
    let own = read("/proc/self/cgroup");
    let group = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(group);
    let left = |group: &Path| {
        let number = |name: &str| read(group.join(name)).trim().parse::<u64>().ok();
        // What lies in the page cache is given back when it is needed.
        let cached = read(group.join("memory.stat")).lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
        Some(number("memory.max")?.saturating_sub(number("memory.current")?.saturating_sub(cached.unwrap_or(0))))
    };
    let groups = group.ancestors().take_while(|folder| folder.starts_with(root));
    Some(groups.filter_map(left).fold(machine, u64::min))
}

/// Returns the number of kilobytes that a line of `/proc` says.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_everything() {
        let folder = tempfile::tempdir().unwrap();
        let not_there = folder.path().join("a/b");
        let capacity = of_this_machine(&[(Holds::Releases, folder.path().into()), (Holds::Instances, not_there)]);
        let [disk] = &capacity.disks[..] else { panic!("one disk: {:?}", capacity.disks) };
        assert_eq!(disk.holds, [Holds::Releases, Holds::Instances]);
        assert!(disk.free_bytes > 0 && capacity.ports > Some(0) && capacity.descriptors_each > Some(0), "{capacity:?}");
        assert!(capacity.descriptors > Some(0) && capacity.memory_bytes > Some(0), "{capacity:?}");
        let own = kilobytes(&read("/proc/self/status"), "VmRSS:").unwrap();
        assert!(own > 0 && memory_of(Process::me()) > Some(0));
    }

    #[test]
    fn a_process_that_has_ended_says_nothing_about_memory() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let process = Process::of(ended.id() as i32).expect("nobody has waited for it");
        assert!(ended.wait().unwrap().success());
        assert_eq!(memory_of(process), None);
    }

    #[test]
    fn a_taken_port_and_an_open_file_are_not_free() {
        let table = "  sl  local_address rem_address\n   0: 0100007F:8000 00000000:0000 0A\n   1: 0100007F:0050 00000000:0000 0A\n";
        assert_eq!(free_ports("32768\t32769\n", &[table.into(), table.into()]), Some(1), "a port counts once, and one outside not at all");
        assert_eq!((free_ports("", &[table.into()]), free_ports("9 3", &[table.into()])), (None, None));
        assert_eq!(free_ports("1 9", &[String::new(), table.into()]), None, "without the first table nobody knows what is taken");
        assert_eq!(free_ports("1 9", &[table.into(), String::new()]), Some(9), "there may be no IPv6");
        assert_eq!((free_descriptors("1024\t0\t5000\n"), free_descriptors("12")), (Some(3976), None));
    }
}
