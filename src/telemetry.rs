//! Logs: text (or JSON with `INTERLOCK_LOG_FORMAT=json`) into size-capped files, never to standard output. `INTERLOCK_LOG` filters.

use anyhow::Context as _;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};
use tracing_subscriber::EnvFilter;

const FILE_BYTES: u64 = 10 * 1024 * 1024;
const FILES: usize = 5;

/// Sends this process's logs to `<folder>/<name>.log`; a second call in one process changes nothing.
pub fn to_files(folder: &Path, name: &str) -> anyhow::Result<()> {
    let writer = Mutex::new(Rotating::open(folder.join(format!("{name}.log")), FILE_BYTES, FILES).context("opening the log")?);
    let filter = EnvFilter::try_from_env("INTERLOCK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let _ = match std::env::var("INTERLOCK_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.try_init(),
    };
    Ok(())
}

/// A file that is renamed to `.1`, `.2` … when it is full; the oldest goes.
struct Rotating {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    limit_bytes: u64,
    keep: usize,
}

impl Rotating {
    fn open(path: PathBuf, limit_bytes: u64, keep: usize) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Rotating { path, file, size_bytes, limit_bytes, keep })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: usize| match number {
            0 => self.path.clone(),
            number => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        for number in (0..self.keep.saturating_sub(1)).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        *self = Rotating::open(self.path.clone(), self.limit_bytes, self.keep)?;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size_bytes > 0 && self.size_bytes + bytes.len() as u64 > self.limit_bytes {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = Rotating::open(path.clone(), 10, 3).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!([read("a.log"), read("a.log.1"), read("a.log.2")], ["six\nseven\n", "four\nfive\n", "three\n"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
