//! The two files between the server and a shim: `spec.json` says what to run, `status.json` what became of it.

use super::identity::Process;
use crate::model::Epoch;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What a shim runs; written by whoever starts it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The program and its arguments, places filled.
    pub argv: Vec<String>,
    /// The environment beyond the allow-list; secrets stand here as references only.
    pub env: BTreeMap<String, String>,
    /// Where the instance starts.
    pub cwd: PathBuf,
    /// Where the instance listens; handed over as `PORT`.
    pub port: u16,
    /// The control socket.
    pub control: PathBuf,
    /// The boot of the machine this was written in.
    pub boot_id: String,
    /// The epoch of the start.
    pub epoch: Epoch,
    /// How long the instance may take to end when the shim itself is asked to.
    pub grace_ms: u64,
    /// How its output is kept.
    #[serde(default)]
    pub log: LogPolicy,
    /// How it is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
}

/// How much of an instance's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// Size at which `log` becomes `log.1`.
    pub max_bytes: u64,
    /// How many rotated files stay.
    pub keep: u32,
    /// What is kept of one line.
    pub max_line: usize,
}

impl Default for LogPolicy {
    fn default() -> Self {
        LogPolicy { max_bytes: 10 << 20, keep: 5, max_line: 64 << 10 }
    }
}

/// When an instance that ended is started again: the wait doubles, and starts over after a while up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// The first wait.
    pub first_ms: u64,
    /// The longest wait.
    pub max_ms: u64,
    /// Up this long, the next wait is the first again.
    pub reset_ms: u64,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { first_ms: 100, max_ms: 10_000, reset_ms: 30_000 }
    }
}

/// What a shim says of its instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The shim.
    pub shim: Process,
    /// The instance that was started last: alive, or the leader of what it left behind.
    pub instance: Option<Process>,
    /// The boot both belong to.
    pub boot_id: String,
    /// Whether the program itself runs in `instance`, past the launcher.
    pub launched: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended: `exit 3`, `signal 9`.
    pub last_exit: Option<String>,
    /// Whether its port was another process's when it last ended.
    #[serde(default)]
    pub port_taken: bool,
    /// Why it could not be started at the last try; names a secret's reference, never its value.
    pub fault: Option<String>,
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// Where it listens.
    pub port: u16,
    /// How many bytes of log were written before the first byte of `log`.
    pub log_start: u64,
    /// The inode of `log` for which `log_start` holds.
    pub log_inode: u64,
    /// Whether it was stopped on purpose.
    pub stopped: bool,
}

impl Spec {
    /// Reads the spec in a folder.
    pub fn read(dir: &Path) -> Result<Self> {
        read_json(&dir.join("spec.json"))?.with_context(|| format!("no spec.json in `{}`", dir.display()))
    }

    /// Writes the spec into a folder.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("spec.json"), self)
    }
}

impl Status {
    /// Reads the status in a folder, if there is one.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        read_json(&dir.join("status.json"))
    }

    /// Writes the status into a folder.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("status.json"), self)
    }

    /// Tells whether the shim and its instance both run, in this boot of the machine.
    pub fn is_running(&self, boot_id: &str) -> bool {
        self.boot_id == boot_id && self.launched && self.shim.is_alive() && self.instance.is_some_and(|instance| instance.is_alive())
    }
}

/// Reads a JSON file; `None` when there is none.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("reading `{}`", path.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("reading `{}`", path.display())),
    }
}

/// Replaces a JSON file in one step: a reader, or a power cut, sees the old one or the new one whole.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("writing `{}`", path.display()))
}
