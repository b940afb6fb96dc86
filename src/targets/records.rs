//! What this server keeps of each instance that somebody else runs: one folder per instance, replaced whole, refusing lower epochs.

use super::{InstanceSpec, TargetError};
use crate::{
    model::{Epoch, InstanceId, Lease},
    shim::spec::{read_json, write_json},
};
use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use std::{fs, marker::PhantomData, path::PathBuf};

/// A record of an instance.
pub(super) trait Kept: Serialize + DeserializeOwned {
    /// Returns what is to run.
    fn spec(&self) -> &InstanceSpec;
    /// Returns the highest epoch it was changed under.
    fn epoch(&self) -> Epoch;
}

/// The records of one kind of target.
pub(super) struct Records<R> {
    folder: PathBuf,
    kind: PhantomData<fn() -> R>,
}

impl<R: Kept> Records<R> {
    /// Returns the records below this folder, which may not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Records { folder, kind: PhantomData }
    }

    fn file(&self, instance: &InstanceId) -> PathBuf {
        self.folder.join(instance.as_str()).join("instance.json")
    }

    /// Returns the record of an instance; none when there is no trace of it.
    pub fn of(&self, instance: &InstanceId) -> anyhow::Result<Option<R>> {
        read_json(&self.file(instance)).with_context(|| format!("reading the record of `{instance}`"))
    }

    /// Writes a record down, durably.
    pub fn keep(&self, record: &R) -> anyhow::Result<()> {
        let file = self.file(&record.spec().id);
        fs::create_dir_all(file.parent().expect("a record lies in a folder"))?;
        write_json(&file, record)
    }

    /// Forgets an instance.
    pub fn remove(&self, instance: &InstanceId) -> anyhow::Result<()> {
        fs::remove_dir_all(self.folder.join(instance.as_str())).context("removing an instance's record")
    }

    /// Returns every record.
    pub fn all(&self) -> anyhow::Result<Vec<R>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context("reading the records of instances")?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            records.extend(self.of(&InstanceId::from(name.to_string_lossy().as_ref()))?);
        }
        Ok(records)
    }

    /// Returns the records of the service in its environment, this instance's among them.
    pub fn of_place(&self, spec: &InstanceSpec) -> anyhow::Result<Vec<R>> {
        let place = |spec: &InstanceSpec| (spec.spec.environment.clone(), spec.spec.service.clone());
        Ok(self.all()?.into_iter().filter(|record| place(record.spec()) == place(spec)).collect())
    }

    /// Refuses a lower epoch than any instance of the same place has seen.
    pub fn fence(&self, lease: &Lease, spec: &InstanceSpec) -> Result<(), TargetError> {
        match self.of_place(spec)?.iter().map(Kept::epoch).max() {
            Some(seen) if lease.epoch < seen => Err(TargetError::StaleEpoch { given: lease.epoch, seen }),
            _ => Ok(()),
        }
    }
}
