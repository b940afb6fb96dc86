//! The machine a figure comes from, and what its kernel says of processes.

use anyhow::Context;
use std::{collections::BTreeMap, fs, path::Path, process::Command, thread};

/// Clock ticks a second, as the kernel reports times to programs on every architecture.
const TICKS: f64 = 100.0;

/// Returns one paragraph about the machine and the program under test.
pub fn description(binary: &Path) -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, name)| name);
    let size = fs::metadata(binary).with_context(|| format!("`{}`", binary.display()))?.len();
    Ok(format!(
        "{} cores ({model}), Linux {}, {}; `interlock` has {:.1} MB. Load before: {}.",
        thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease"),
        read("/etc/os-release").lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"'),
        size as f64 / f64::from(1 << 20),
        load(),
    ))
}

/// Returns the load of the last minute.
pub fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

/// Returns the first line a command prints, on either output; `None` when there is no such command.
pub fn first_line(command: &[&str]) -> Option<String> {
    let output = Command::new(command[0]).args(&command[1..]).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).lines().next()?.trim().to_owned())
}

/// Returns a process and its descendants.
pub fn family(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: BTreeMap<u32, u32> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, stat(pid)?.get(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, one)| **one == parent).map(|(child, _)| *child));
        next += 1;
    }
    found
}

/// Returns the seconds of processor time a process and its descendants have used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let ticks = |pid| stat(pid).map_or(0.0, |fields| fields[11..13].iter().map(|ticks| ticks.parse().unwrap_or(0.0)).sum::<f64>());
    family(pid).into_iter().map(ticks).sum::<f64>() / TICKS
}

/// Returns the seconds a core was busy, whoever had it, and those that the hypervisor took away.
pub fn core_seconds(core: usize) -> (f64, f64) {
    let stat = read("/proc/stat");
    let line = stat.lines().find(|line| line.starts_with(&format!("cpu{core} "))).unwrap_or_default();
    let ticks: Vec<f64> = line.split(' ').skip(1).map(|ticks| ticks.parse().unwrap_or(0.0) / TICKS).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    ([0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum(), ticks.get(7).copied().unwrap_or(0.0))
}

/// What a process has in memory, in MB of 2^20 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Everything resident, also pages of the program that other processes share.
    pub resident: f64,
    /// Its own: heap and stacks.
    pub anonymous: f64,
    /// Resident, with each shared page divided by those that share it.
    pub proportional: f64,
}

/// Returns what a process has in memory.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("process {pid} has ended"))?;
    Ok(Memory { resident: field(&status, "VmRSS:"), anonymous: field(&status, "RssAnon:"), proportional: field(&smaps, "Pss:") })
}

/// Returns the fields of `/proc/PID/stat` after the name, the state first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(line.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
