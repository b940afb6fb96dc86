//! The files of an artifact: copied and read in one place, each counted, limited and hashed.

use super::release_store::{ArtifactError, Limits, Pinned, Result};
use crate::model::{Sha256, digest::hex, text::visible_line};
use rustix::fs::OFlags;
use sha2::Digest as _;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

/// What has been read so far: one line per file, and the sums that are limited.
pub(super) struct Tally {
    limits: Limits,
    entries: u64,
    bytes: u64,
    lines: Vec<(Vec<u8>, String, u64)>,
}

impl Tally {
    /// Returns an empty tally.
    pub(super) fn new(limits: Limits) -> Self {
        Tally { limits, entries: 0, bytes: 0, lines: Vec::new() }
    }

    /// Tells whether no file was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Copies a folder; `root` is the artifact, `inside` the path in the copy.
    pub(super) fn copy_folder(&mut self, root: &Path, folder: &Path, to: &Path, inside: &Path, depth: u32) -> Result<()> {
        if depth > 100 {
            return Err(unusable(inside, "folders or links are nested too deep"));
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (mut path, inside) = (entry.path(), inside.join(entry.file_name()));
            self.count_entry()?;
            if entry.file_type()?.is_symlink() {
                path = path.canonicalize().map_err(|_| unusable(&inside, "the link leads nowhere"))?;
                if !path.starts_with(root) {
                    return Err(ArtifactError::Outside {
                        path: visible_line(&inside.to_string_lossy(), 200),
                        why: "is a link that leads out of the artifact",
                    });
                }
            }
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                self.copy_folder(root, &path, to, &inside, depth + 1)?;
            } else if kind.is_file() {
                self.copy_file(&path, to, &inside)?;
            } else {
                return Err(unusable(&inside, "neither a file nor a folder"));
            }
        }
        Ok(())
    }

    pub(super) fn copy_file(&mut self, from: &Path, to: &Path, inside: &Path) -> Result<()> {
        let mut source = open(from)?;
        let before = source.metadata()?;
        if !before.is_file() {
            return Err(unusable(inside, "neither a file nor a folder"));
        }
        let target = to.join(inside);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut copy = OpenOptions::new().write(true).create_new(true).open(&target)?;
        let (sha256, size) = self.read(&mut source, |bytes| copy.write_all(bytes))?;
        let after = source.metadata()?;
        let state = |of: &fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
        if size != before.len() || state(&before) != state(&after) {
            return Err(ArtifactError::Changing(visible_line(&inside.to_string_lossy(), 200)));
        }
        let is_executable = before.mode() & 0o111 != 0;
        copy.set_permissions(fs::Permissions::from_mode(if is_executable { 0o555 } else { 0o444 }))?;
        self.add(inside, is_executable, size, sha256);
        Ok(())
    }

    /// Reads a pinned folder, in which only files and folders can be.
    pub(super) fn read_folder(&mut self, root: &Path, inside: &Path) -> Result<()> {
        for entry in fs::read_dir(root.join(inside))? {
            let entry = entry?;
            let (kind, inside) = (entry.file_type()?, inside.join(entry.file_name()));
            self.count_entry()?;
            if kind.is_dir() {
                self.read_folder(root, &inside)?;
            } else if kind.is_file() {
                let mut file = open(&entry.path())?;
                let is_executable = file.metadata()?.mode() & 0o111 != 0;
                let (sha256, size) = self.read(&mut file, |_| Ok(()))?;
                self.add(&inside, is_executable, size, sha256);
            } else {
                return Err(unusable(&inside, "neither a file nor a folder"));
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &mut File, mut keep: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(String, u64)> {
        let (mut hasher, mut buffer, mut size) = (sha2::Sha256::new(), vec![0; 64 << 10], 0);
        loop {
            let read = match file.read(&mut buffer)? {
                0 => return Ok((hex(&hasher.finalize()), size)),
                read => read,
            };
            size += read as u64;
            self.bytes += read as u64;
            if self.bytes > self.limits.bytes {
                return Err(ArtifactError::TooLarge(format!("more than {} bytes", self.limits.bytes)));
            }
            hasher.update(&buffer[..read]);
            keep(&buffer[..read])?;
        }
    }

    fn count_entry(&mut self) -> Result<()> {
        self.entries += 1;
        match self.entries > self.limits.entries {
            true => Err(ArtifactError::TooLarge(format!("more than {} entries", self.limits.entries))),
            false => Ok(()),
        }
    }

    fn add(&mut self, inside: &Path, is_executable: bool, size: u64, sha256: String) {
        let mark = if is_executable { 'x' } else { '-' };
        self.lines.push((inside.as_os_str().as_bytes().to_vec(), format!("{mark} {size} {sha256}"), size));
    }

    pub(super) fn pinned(mut self) -> Pinned {
        self.lines.sort();
        let mut hasher = sha2::Sha256::new();
        for (path, facts, _) in &self.lines {
            // A path holds any byte but zero, so zero ends it.
            hasher.update(path);
            hasher.update([0]);
            hasher.update(facts);
            hasher.update("\n");
        }
        let size_bytes = self.lines.iter().map(|(_, _, size)| size).sum();
        Pinned { digest: Sha256(hex(&hasher.finalize())), files: self.lines.len() as u64, size_bytes }
    }
}

/// Opens a file for reading without following a link and without waiting for a pipe's other end.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

pub(super) fn unusable(path: &Path, why: impl Into<String>) -> ArtifactError {
    ArtifactError::Unusable { path: visible_line(&path.to_string_lossy(), 200), why: why.into() }
}

/// Returns the path as one of plain names only, or `None` when it climbs or starts at the root.
pub(super) fn plain(path: &[u8]) -> Option<PathBuf> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(plain)
}
