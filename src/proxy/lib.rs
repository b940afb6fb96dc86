//! The embedded traffic switch, `interlock proxy`: one listen address, for each service one split in force, moved at one instant.
//!
//! Two processes: the *holder* owns the listening sockets and is too small to fail; the *worker* carries the traffic and is started again
//! when it ends. The kernel queues connections meanwhile, so the address never refuses.
//!
//! - `holder` · `crew` · `link` · `worker`: the processes; `spawn` here starts the pair · `lineage`: one worker takes over from another
//! - `control` · `reports` · `client` · `commands` · `changes`: the line protocol on the unix socket, its caller's side, its answers
//! - `state`: what survives a worker · `routes`: which service a request is for · `listener`: the clients · `shadow`: rehearsals
//! - `switch` · `table` · `sticky` · `instance` · `hold`: who gets it, and whether it waits · `counters` · `metrics` · `access`: what is known
//! - `forward` · `answer` · `pool` · `timer` · `told`: one request · `websocket`: frames and tunnels · `probe`: its own requests
//! - the package `interlock-wire` in `src/wire`: both connections, and the heads; requests whose end could be read in two ways never get further

mod access;
mod answer;
pub mod build;
mod changes;
pub mod client;
mod commands;
pub mod control;
mod counters;
mod crew;
mod forward;
mod hold;
pub mod holder;
mod instance;
mod lineage;
mod link;
mod listener;
pub mod metrics;
mod pool;
mod probe;
mod reports;
mod routes;
mod shadow;
mod state;
mod sticky;
mod switch;
mod table;
mod timer;
mod told;
mod websocket;
pub mod worker;

pub use client::{ClientError, ProxyClient};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    fs::{DirBuilder, OpenOptions},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The exit code of a holder whose address is taken.
pub const EXIT_PORT_TAKEN: i32 = 73;

/// How long a new proxy may take until its control socket answers.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Arguments of `interlock proxy`.
#[derive(Debug, Clone, clap::Args)]
pub struct HolderArgs {
    /// The folder of its state and log.
    #[arg(long)]
    pub dir: PathBuf,
    /// Where customers connect.
    #[arg(long)]
    pub listen: SocketAddr,
    /// The unix socket it is controlled by.
    #[arg(long)]
    pub control: PathBuf,
}

/// Arguments of `interlock proxy-worker`, which only a holder starts.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerArgs {
    /// The folder of its state.
    #[arg(long)]
    pub dir: PathBuf,
    /// The holder's process id: the worker does not outlive it.
    #[arg(long)]
    pub holder: i32,
    /// How many workers ended unasked before this one.
    #[arg(long)]
    pub lost: u64,
    /// The socket of the worker it takes over from.
    #[arg(long)]
    pub predecessor: Option<PathBuf>,
}

/// `proxy.json`: who holds the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderIdentity {
    /// The holder's process id.
    pub pid: i32,
    /// Its start time in clock ticks since boot, which tells it from a later process with the same id.
    pub start_time: u64,
    /// The boot it runs in.
    pub boot_id: String,
    /// Where customers connect, port resolved.
    pub listen: SocketAddr,
    /// The control protocol it speaks.
    pub protocol: u32,
}

/// Returns the names of the services that the proxy of this folder remembers; one from before services had names is the empty name.
pub fn services_in(dir: &Path) -> Vec<String> {
    let (saved, _) = state::Saved::load(dir, &state::boot_id());
    saved.present().map(|(name, _)| name.clone()).collect()
}

impl HolderIdentity {
    /// Returns the holder named in the folder; `None` when none is, or its file cannot be read.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join("proxy.json")).ok()?).ok()
    }

    /// Returns whether that very process lives.
    pub fn is_alive(&self) -> bool {
        self.boot_id == state::boot_id() && state::start_time(self.pid) == Some(self.start_time)
    }
}

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Another process has the address.
    #[error("`{0}` is taken by another process")]
    PortTaken(SocketAddr),
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Starts a proxy in a session of its own and returns when its control socket answers. It outlives the caller.
pub async fn spawn(exe: &Path, dir: &Path, listen: SocketAddr, control: &Path) -> Result<(), SpawnError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("creating `{}`", dir.display()))?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join("proxy.log")).context("opening the proxy's log")?;
    // Not killed on drop, and reaped by the runtime when it ends before we do.
    let mut holder = tokio::process::Command::new(exe)
        .arg("proxy")
        .arg("--dir")
        .arg(dir)
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--control")
        .arg(control)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("sharing the proxy's log")?)
        .stderr(log)
        .spawn()
        .context("starting the proxy")?;
    let client = ProxyClient::new(control);
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if let Some(status) = holder.try_wait().context("waiting for the proxy")? {
            if status.code() == Some(EXIT_PORT_TAKEN) {
                return Err(SpawnError::PortTaken(listen));
            }
            return Err(anyhow::anyhow!("the proxy ended at its start ({status}); see `{}`", dir.join("proxy.log").display()).into());
        }
        match client.version().await {
            Ok(about) if Some(about.holder) == holder.id().map(|pid| pid as i32) => return Ok(()),
            _ if Instant::now() >= deadline => {
                let _ = holder.start_kill();
                return Err(anyhow::anyhow!("the proxy did not answer within {} s", START_DEADLINE.as_secs()).into());
            }
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}
