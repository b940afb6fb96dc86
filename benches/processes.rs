//! Processes of a figure: bound to a core, and ended with it.

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that ends with its figure.
pub struct Process {
    /// Its process id.
    pub pid: u32,
    child: Child,
}

impl Process {
    /// Starts a command on one core; it writes into `log`.
    pub fn on_core(core: usize, command: &[&str], log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(log).with_context(|| format!("`{}`", log.display()))?;
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", &core.to_string()]).args(command).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = pinned.spawn().with_context(|| format!("starting `{}`", command[0]))?;
        Ok(Process { pid: child.id(), child })
    }

    /// Returns when somebody listens there.
    pub fn answers(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at its start: {status}");
            }
            ensure!(began.elapsed() < PATIENCE, "nobody listens on {address}");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Pid::from_raw(self.pid as i32).map(|pid| kill_process(pid, Signal::TERM));
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address on which nobody listens now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
