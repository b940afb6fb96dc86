//! A router that Interlock does not run: it promises nothing, counts nothing, and is probed from here.

use super::{
    DrainReport, Router, RouterError, Samples,
    job::{self, Job},
    probe::Probe,
};
use crate::{
    model::{Epoch, Guarantees, InstanceId, Split, service::fill},
    shim::spec::{read_json, write_json},
};
use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long the command that moves traffic may take.
const SWITCH: Duration = Duration::from_secs(60);
/// Patience with one probe.
const PROBE: Duration = Duration::from_secs(5);

/// Where customers connect, and how traffic is moved there.
pub struct ExternalRouter {
    address: SocketAddr,
    switch: Option<Vec<String>>,
    folder: PathBuf,
    marks: PathBuf,
    workspace: PathBuf,
    probes: Arc<Mutex<Samples>>,
    probing: Mutex<Option<(CancellationToken, AbortOnDropHandle<()>)>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Told {
    split: Split,
    epoch: Epoch,
}

impl ExternalRouter {
    /// Returns the router of an address; what it was told last lies in `folder`.
    pub fn new(address: SocketAddr, switch: Option<Vec<String>>, folder: PathBuf, marks: PathBuf, workspace: PathBuf) -> Self {
        ExternalRouter { address, switch, folder, marks, workspace, probes: Arc::default(), probing: Mutex::default() }
    }

    fn told(&self) -> anyhow::Result<Told> {
        Ok(read_json(&self.folder.join("told.json"))?.unwrap_or_default())
    }
}

#[async_trait]
impl Router for ExternalRouter {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            atomic_switch: false,
            drain_signal: false,
            measures: false,
            summary:
                "none: the router is not Interlock's. When and for whom traffic moves, what is cut and what customers see is not known; \
                      only this server's own probes of the address are counted"
                    .into(),
        }
    }

    async fn set(&self, split: &Split, epoch: Epoch) -> Result<(), RouterError> {
        let told = self.told()?;
        if epoch < told.epoch {
            return Err(RouterError::StaleEpoch { given: epoch, seen: told.epoch });
        }
        if let (Some(switch), Some(to)) = (&self.switch, split.serving().next()) {
            let (address, epoch) = (to.address.to_string(), epoch.to_string());
            let places = [("version", to.version.as_str()), ("instance", to.instance.as_str()), ("address", &address), ("epoch", &epoch)];
            let argv = switch.iter().map(|word| fill(word, &places)).collect();
            let (folder, marks) = (self.workspace.clone(), self.marks.clone());
            let job = Job { argv, folder, marks, deploys: true, env: Default::default(), timeout: SWITCH };
            job::run(job, |_, _| {}).await.map_err(|error| RouterError::Failed(anyhow::anyhow!("{error}")))?;
        }
        std::fs::create_dir_all(&self.folder).context("making the router's folder")?;
        write_json(&self.folder.join("told.json"), &Told { split: split.clone(), epoch })?;
        Ok(())
    }

    async fn observe(&self) -> Result<(Split, Epoch), RouterError> {
        let told = self.told()?;
        Ok((told.split, told.epoch))
    }

    /// Returns at once: nobody tells when the last request has ended.
    async fn drain(&self, _instance: &InstanceId, _patience: Duration) -> Result<DrainReport, RouterError> {
        Ok(DrainReport::default())
    }

    async fn probe(&self, path: Option<&str>, interval: Duration) -> Result<(), RouterError> {
        let mut probing = self.probing.lock().expect("no holder of this lock panics");
        if let Some((stop, _)) = probing.take() {
            stop.cancel();
        }
        let Some(path) = path.map(str::to_owned) else { return Ok(()) };
        let (stop, samples, probe) = (CancellationToken::new(), self.probes.clone(), Probe { timeout: PROBE, ..Probe::new(self.address) });
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let answered = probe.answers(&path).await;
                {
                    let mut samples = samples.lock().expect("no holder of this lock panics");
                    samples.probes += 1;
                    samples.failed_probes += u64::from(!answered);
                }
                tokio::time::sleep(interval).await;
            }
        });
        *probing = Some((stop, AbortOnDropHandle::new(task)));
        Ok(())
    }

    /// Ends only the probes: the router is not ours to end.
    async fn stop(&self) -> Result<(), RouterError> {
        self.probe(None, PROBE).await
    }

    async fn measure(&self) -> Result<Samples, RouterError> {
        Ok(self.probes.lock().expect("no holder of this lock panics").clone())
    }
}
