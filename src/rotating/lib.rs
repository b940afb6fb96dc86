//! A file that makes room by itself: full, it becomes `NAME.1`, what was there `NAME.2` …, and the oldest goes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The size at which a log of ours makes room.
pub const FILE_BYTES: u64 = 10 << 20;

/// How many full files of ours stay beside the one that is written.
pub const KEEP: u32 = 4;

/// The file being written, for its user alone. What cannot be written is lost: nobody ever waits for a log.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: Option<File>,
    size_bytes: u64,
    inode: u64,
    limit_bytes: u64,
    keep: u32,
}

impl Rotating {
    /// Opens a file, which is kept below the limit; beside it stay at most `keep` full ones.
    pub fn open(path: PathBuf, limit_bytes: u64, keep: u32) -> Self {
        let mut log = Rotating { path, file: None, size_bytes: 0, inode: 0, limit_bytes, keep };
        log.reopen();
        log
    }

    /// Returns whether it could be opened.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the file being written once more: while it is held, no other file gets its inode.
    pub fn held(&self) -> Option<File> {
        self.file.as_ref()?.try_clone().ok()
    }

    /// Returns the inode of the file being written; 0 without one.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Turns the files when so many more bytes do not fit; returns the size of the one that was full.
    pub fn make_room(&mut self, bytes: u64) -> Option<u64> {
        if self.size_bytes == 0 || self.size_bytes + bytes <= self.limit_bytes {
            return None;
        }
        let full = self.size_bytes;
        for number in (1..self.keep).rev() {
            let _ = fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1));
        }
        let _ = fs::rename(&self.path, rotated(&self.path, 1));
        self.reopen();
        Some(full)
    }

    /// Appends whole lines to the file as it is.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen();
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = file.write_all(lines);
        match written {
            Ok(()) => self.size_bytes += lines.len() as u64,
            // A part of it may have been written.
            Err(_) => self.size_bytes = file.metadata().map_or(self.size_bytes, |metadata| metadata.len()),
        }
        written
    }

    fn reopen(&mut self) {
        self.file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).ok();
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        (self.size_bytes, self.inode) = metadata.map_or((0, 0), |metadata| (metadata.len(), metadata.ino()));
    }
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room(bytes.len() as u64);
        self.append(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the name of a full file, the higher the older.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(folder.path().join("a.log"), 10, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!([read("a.log"), read("a.log.1"), read("a.log.2")], ["six\nseven\n", "four\nfive\n", "three\n"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(fs::metadata(folder.path().join("a.log")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(folder.path().join("later/a.log"), 10, 2);
        assert!(!log.is_open() && log.append(b"lost\n").is_err());
        fs::create_dir(folder.path().join("later")).unwrap();
        log.append(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("later/a.log")).unwrap(), "kept\n");
    }
}
