//! Releases on disk: the bytes of an artifact, copied once, named by their digest, and checked before every use.
//!
//! All functions block; the caller moves them off its async threads.

use super::release_files::Tally;
use crate::model::{Sha256, text::visible_line};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Where pinned releases stand: one folder per digest.
#[derive(Debug, Clone)]
pub struct ReleaseStore {
    dir: PathBuf,
    limits: Limits,
}

/// What an artifact may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// How many times larger than itself an archive may become.
    pub ratio: u64,
    /// Below so many bytes the ratio is not judged.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 100_000, bytes: 4 << 30, ratio: 200, ratio_from: 64 << 20 }
    }
}

/// An artifact whose bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// SHA-256 over path, exec bit, size and SHA-256 of every file, sorted by path.
    pub digest: Sha256,
    /// Number of files.
    pub files: u64,
    /// Size of all files together.
    pub size_bytes: u64,
}

/// Why an artifact cannot be pinned or used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// There is nothing at that path.
    #[error("there is no artifact `{0}`")]
    Missing(String),
    /// The path, or a link in the artifact, leads where it must not.
    #[error("artifact `{path}` {why}")]
    Outside {
        /// As the caller gave it, or inside the artifact.
        path: String,
        /// `leads out of the workspace` …
        why: &'static str,
    },
    /// It holds no file.
    #[error("artifact `{0}` holds no file")]
    Empty(String),
    /// It is not a file, folder or archive of plain files.
    #[error("artifact `{path}`: {why}")]
    Unusable {
        /// As the caller gave it, or inside the artifact.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// It is larger than allowed.
    #[error("the artifact is too large: {0}")]
    TooLarge(String),
    /// It was written to while it was copied.
    #[error("artifact `{0}` changed while it was copied")]
    Changing(String),
    /// The pinned bytes no longer match their digest.
    #[error("the pinned bytes of release {} were altered", .0.short())]
    Changed(Sha256),
    /// No release of this digest is pinned.
    #[error("release {} is not pinned", .0.short())]
    NotPinned(Sha256),
    /// The disk is full, or a size limit of the system was hit; nothing was kept.
    #[error("the disk is full, or a size limit was hit, while copying the artifact: {0}")]
    DiskFull(io::Error),
    /// The disk does not do what it should.
    #[error("reading or writing an artifact: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ArtifactError {
    fn from(err: io::Error) -> Self {
        match err.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => ArtifactError::DiskFull(err),
            _ => ArtifactError::Io(err),
        }
    }
}

pub(super) type Result<T, E = ArtifactError> = std::result::Result<T, E>;

impl ReleaseStore {
    /// Returns the store in a folder, which is made when first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        ReleaseStore { dir: dir.into(), limits: Limits::default() }
    }

    /// Replaces the limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Copies a file, folder or `.tar.gz` of the workspace into the store; the same bytes give the same digest and are kept once.
    ///
    /// Links inside the artifact become copies of what they point to; empty folders are not kept.
    pub fn pin(&self, workspace_root: &Path, artifact: &str) -> Result<Pinned> {
        let (path, shown) = self.locate(workspace_root, artifact)?;
        self.clear_abandoned();
        let unpacked = Temporary::under(&self.dir)?;
        let copied = Temporary::under(&self.dir)?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let lower = name.to_string_lossy().to_lowercase();
        let mut tally = Tally::new(self.limits);
        if path.is_dir() {
            tally.copy_folder(&path, &path, &copied.0, Path::new(""), 0)?;
        } else if lower.ends_with(".tar.gz") || lower.ends_with(".tgz") {
            let unpacked_root = unpacked.0.canonicalize()?;
            super::release_archive::unpack(&path, &shown, &unpacked_root, self.limits)?;
            tally.copy_folder(&unpacked_root, &unpacked_root, &copied.0, Path::new(""), 0)?;
        } else {
            tally.copy_file(&path, &copied.0, Path::new(&name))?;
        }
        if tally.is_empty() {
            return Err(ArtifactError::Empty(shown));
        }
        let pinned = tally.pinned();
        // One call for all files: a power cut after the rename finds them whole.
        rustix::fs::syncfs(File::open(&copied.0)?).map_err(io::Error::from)?;
        let place = self.dir.join(&pinned.digest.0);
        match self.verify(&pinned.digest) {
            Ok(_) => return Ok(pinned),
            // Altered bytes make way for the right ones.
            Err(ArtifactError::Changed(_)) => self.remove(&pinned.digest)?,
            Err(ArtifactError::NotPinned(_)) => {}
            Err(err) => return Err(err),
        }
        match fs::rename(&copied.0, &place) {
            // Somebody else pinned the same bytes meanwhile.
            Err(_) if place.exists() => self.verify(&pinned.digest).map(drop)?,
            renamed => renamed?,
        }
        File::open(&self.dir)?.sync_all()?;
        Ok(pinned)
    }

    /// Reads every pinned byte again and returns the folder, if they still are what the digest says.
    pub fn verify(&self, digest: &Sha256) -> Result<PathBuf> {
        let place = self.place(digest)?;
        let mut tally = Tally::new(self.limits);
        match tally.read_folder(&place, Path::new("")) {
            Ok(()) if tally.pinned().digest == *digest => Ok(place),
            Err(ArtifactError::Io(err)) if err.kind() != ErrorKind::NotFound => Err(ArtifactError::Io(err)),
            _ => Err(ArtifactError::Changed(digest.clone())),
        }
    }

    /// Removes a release's bytes; fine when they are gone already.
    pub fn remove(&self, digest: &Sha256) -> Result<()> {
        let place = match self.place(digest) {
            Err(ArtifactError::NotPinned(_)) => return Ok(()),
            place => place?,
        };
        // Out of the way at one instant, so that no half of a release is ever found under its digest.
        let away = Temporary::under(&self.dir)?;
        fs::rename(place, away.0.join("removed"))?;
        Ok(())
    }

    /// Returns the digests of all pinned releases.
    pub fn list(&self) -> Result<Vec<Sha256>> {
        let mut found = Vec::new();
        match fs::read_dir(&self.dir) {
            Ok(folders) => {
                for folder in folders {
                    found.extend(folder?.file_name().into_string().ok().map(Sha256).filter(is_digest));
                }
            }
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err.into()),
        }
        found.sort();
        Ok(found)
    }

    fn place(&self, digest: &Sha256) -> Result<PathBuf> {
        let place = self.dir.join(&digest.0);
        let is_folder = is_digest(digest) && fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_dir());
        if is_folder { Ok(place) } else { Err(ArtifactError::NotPinned(digest.clone())) }
    }

    /// Returns where the caller's path really leads, and how to show it.
    fn locate(&self, workspace_root: &Path, artifact: &str) -> Result<(PathBuf, String)> {
        let (given, shown) = (artifact.strip_prefix("path:").unwrap_or(artifact), visible_line(artifact, 200));
        if given.is_empty() || given.contains('\0') {
            return Err(ArtifactError::Missing(shown));
        }
        let root = workspace_root.canonicalize()?;
        let path = match root.join(given).canonicalize() {
            // Also a loop of links, and a name longer than any file can have.
            Err(err)
                if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) || err.raw_os_error().is_some_and(is_no_path) =>
            {
                return Err(ArtifactError::Missing(shown));
            }
            path => path?,
        };
        let Ok(inside) = path.strip_prefix(&root) else {
            return Err(ArtifactError::Outside { path: shown, why: "leads out of the workspace" });
        };
        // The server's own folder holds a token and keys, and the store itself.
        fs::DirBuilder::new().recursive(true).create(&self.dir)?;
        let in_state = inside.components().any(|part| part.as_os_str() == ".interlock");
        if in_state || self.dir.canonicalize()?.starts_with(&path) || path.join(".interlock").exists() {
            return Err(ArtifactError::Outside { path: shown, why: "reaches into the server's own folder" });
        }
        Ok((path, shown))
    }

    /// Removes what a killed server left half done.
    fn clear_abandoned(&self) {
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = folder.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(".tmp-")?.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|pid| pid != std::process::id() && !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(folder.path());
            }
        }
    }
}

fn is_no_path(error: i32) -> bool {
    [rustix::io::Errno::LOOP, rustix::io::Errno::NAMETOOLONG].iter().any(|known| known.raw_os_error() == error)
}

fn is_digest(digest: &Sha256) -> bool {
    digest.0.len() == 64 && digest.0.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A folder that goes away when nobody renamed it.
struct Temporary(PathBuf);

impl Temporary {
    fn under(dir: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let path = dir.join(format!(".tmp-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Temporary(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
