//! What a deployment will need where it goes, and what is left there.

use super::Engine;
use crate::{
    error::Result,
    gates::quota::Needs,
    model::{Directive, ServiceSpec, capacity::Capacity},
};
use std::{fs, path::Path};

impl Engine {
    /// Returns what a directive's deployment needs, and what its target has left: none where it cannot say, or why it did not.
    pub(super) async fn room(
        &self,
        directive: &Directive,
        spec: &ServiceSpec,
    ) -> Result<(Needs, std::result::Result<Option<Capacity>, String>)> {
        let releases = self.workspace.releases_dir();
        let has = self.adapters.target(spec).capacity(&releases).await.map_err(|error| error.to_string());
        let serving = self.store.serving(&directive.service, &directive.environment).await?;
        let used =
            |capacity: &Capacity| serving.iter().flat_map(|set| &set.instances).filter_map(|id| capacity.used_bytes.get(id)).max().copied();
        let measured_bytes = has.as_ref().ok().and_then(Option::as_ref).and_then(used);
        let release = releases.join(&directive.digest.0);
        let artifact_bytes = self.blocking(move || size_of(&release)).await?;
        Ok((Needs { artifact_bytes, instances: spec.instances.into(), measured_bytes }, has))
    }
}

/// Returns the bytes of all files in a folder; links are not followed.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
