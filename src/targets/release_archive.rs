//! Unpacks a `.tar.gz` that nobody vouches for: no path out of the folder, no device, no hard link, no bomb.

use super::{
    release_files::{plain, unusable},
    release_store::{ArtifactError, Limits},
};
use crate::model::text::visible_line;
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};
use tar::EntryType;

/// Unpacks the archive into an empty folder. Links are made last, so that nothing is ever written through one; where they lead is judged by who reads them.
pub(super) fn unpack(archive: &Path, shown: &str, to: &Path, limits: Limits) -> Result<(), ArtifactError> {
    let file = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(archive)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(unusable(Path::new(shown), "neither a file nor a folder"));
    }
    // Headers and padding count too: an archive may be all headers.
    let allowed = limits
        .ratio_from
        .max(before.len().saturating_mul(limits.ratio))
        .min(limits.bytes.saturating_add(limits.entries.saturating_mul(2048)));
    let mut reader = Guarded { inner: flate2::read::MultiGzDecoder::new(file.try_clone()?), left: allowed, exceeded: false };
    let outcome = unpack_entries(&mut reader, to, limits);
    if reader.exceeded {
        return Err(ArtifactError::TooLarge(format!("`{shown}` unpacks to more than {allowed} bytes")));
    }
    outcome?;
    let after = file.metadata()?;
    match (before.len(), before.modified()?) == (after.len(), after.modified()?) {
        true => Ok(()),
        false => Err(ArtifactError::Changing(shown.to_owned())),
    }
}

fn unpack_entries(reader: impl Read, to: &Path, limits: Limits) -> Result<(), ArtifactError> {
    let mut archive = tar::Archive::new(reader);
    let (mut links, mut entries): (Vec<(PathBuf, PathBuf)>, u64) = (Vec::new(), 0);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        // Notes of the program that packed it.
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        entries += 1;
        if entries > limits.entries {
            return Err(ArtifactError::TooLarge(format!("more than {} entries", limits.entries)));
        }
        let raw = entry.path_bytes().into_owned();
        let Some(path) = plain(&raw) else {
            let path = visible_line(&String::from_utf8_lossy(&raw), 200);
            return Err(ArtifactError::Outside { path, why: "leads out of the artifact" });
        };
        let place = to.join(&path);
        let named = |err: io::Error| match err.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => unusable(&path, "stands in the archive twice"),
            _ => ArtifactError::from(err),
        };
        if let Some(folder) = place.parent().filter(|_| path != Path::new("")) {
            fs::create_dir_all(folder).map_err(named)?;
        }
        match kind {
            EntryType::Directory => fs::create_dir_all(&place).map_err(named)?,
            EntryType::Regular | EntryType::Continuous => {
                let mode = entry.header().mode().map_err(broken)?;
                let mut file = OpenOptions::new().write(true).create_new(true).open(&place).map_err(named)?;
                copy(&mut entry, &mut file)?;
                file.set_permissions(Permissions::from_mode(if mode & 0o111 != 0 { 0o755 } else { 0o644 }))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.ok_or_else(|| unusable(&path, "a link without a target"))?;
                links.push((place, target.into_owned()));
            }
            EntryType::Link => return Err(unusable(&path, "hard links are not accepted")),
            _ => return Err(unusable(&path, "neither a file nor a folder")),
        }
    }
    for (place, target) in links {
        let path = place.strip_prefix(to).unwrap_or(&place).to_owned();
        symlink(target, &place).map_err(|err| match err.kind() {
            io::ErrorKind::AlreadyExists => unusable(&path, "stands in the archive twice"),
            _ => ArtifactError::from(err),
        })?;
    }
    Ok(())
}

/// Copies an entry, telling a broken archive from a full disk.
fn copy(entry: &mut impl Read, file: &mut File) -> Result<(), ArtifactError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match entry.read(&mut buffer).map_err(broken)? {
            0 => return Ok(()),
            read => io::Write::write_all(file, &buffer[..read])?,
        }
    }
}

fn broken(err: io::Error) -> ArtifactError {
    unusable(Path::new("archive"), format!("cannot be unpacked: {err}"))
}

/// Ends with an error when more comes out than is allowed.
struct Guarded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}
