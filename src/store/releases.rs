//! Releases, and which of them must stay on disk.

use super::{
    Result, ServingSet, Store, Write,
    query::{Read, sql},
};
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// Returns the release with this digest.
    pub async fn release(&self, digest: &Sha256) -> Result<Option<Release>> {
        let Some(row) = sql("SELECT * FROM releases WHERE digest = $1").bind(digest).one(self.pool()).await? else { return Ok(None) };
        Ok(Some(Release {
            service: row.read("service")?,
            version: row.read("version")?,
            commit: row.read("commit_id")?,
            digest: row.read("digest")?,
            files: row.read("files")?,
            size_bytes: row.read("size_bytes")?,
        }))
    }

    /// Returns the releases whose bytes must stay: of open directives, of what serves and of its way back, and the last `keep`
    /// of each service that were deployed. A service that is not named keeps none of the last.
    pub async fn pinned_digests(&self, keep: &BTreeMap<ServiceName, u32>) -> Result<BTreeSet<Sha256>> {
        let mut pinned = BTreeSet::new();
        for directive in self.open_directives().await? {
            pinned.insert(directive.digest);
        }
        for set in self.all_serving().await? {
            let ServingSet { digest, base, .. } = set;
            pinned.extend([Some(digest), base.map(|base| base.digest)].into_iter().flatten());
        }
        let mut kept: BTreeMap<ServiceName, u32> = BTreeMap::new();
        let deployed =
            sql("SELECT service, digest FROM deployments GROUP BY service, digest ORDER BY MAX(number) DESC").all(self.pool()).await?;
        for row in deployed {
            let service: ServiceName = row.read("service")?;
            let limit = keep.get(&service).copied().unwrap_or(0);
            let count = kept.entry(service).or_default();
            if *count < limit {
                *count += 1;
                pinned.insert(row.read("digest")?);
            }
        }
        for row in sql("SELECT DISTINCT digest FROM deployments WHERE settled_at IS NULL OR (state = 'stuck' AND resolved_at IS NULL)")
            .all(self.pool())
            .await?
        {
            pinned.insert(row.read("digest")?);
        }
        Ok(pinned)
    }
}

/// Inserts a release; the same bytes are one release, whoever names them later.
pub(super) async fn remember(write: &mut Write, release: &Release) -> Result<()> {
    let at = write.at;
    sql("INSERT INTO releases (digest, service, version, commit_id, files, size_bytes, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (digest) DO NOTHING")
    .bind(&release.digest)
    .bind(&release.service)
    .bind(&release.version)
    .bind(release.commit.as_deref())
    .bind(release.files)
    .bind(release.size_bytes)
    .bind(at)
    .run(write.on())
    .await?;
    Ok(())
}
