//! The instance's log: `log`, and `log.1` … the older it is. Every byte has one offset for ever, so that a reader can go on where it was.

use super::{
    redact::{Lines, Redactor},
    spec::{LogPolicy, Status},
};
use crate::rotating::{Rotating, rotated};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::io::AsyncReadExt;

/// Most of a log that one page shows.
pub const MAX_PAGE: u64 = 256 << 10;

/// How often, and how far apart, a reader looks again while the files turn.
const LOOKS: u32 = 300;
const LOOK: Duration = Duration::from_millis(10);

/// Appends lines and rotates. What cannot be written, on a full disk, is dropped: the instance must never wait for its log.
pub struct LogWriter {
    file: Rotating,
    max_line: usize,
    /// How many bytes were written before the first byte of `log`.
    pub start: u64,
    /// The inode of `log`.
    pub inode: u64,
}

impl LogWriter {
    /// Opens the log in a folder, going on from what the last shim left.
    pub fn open(dir: &Path, policy: LogPolicy, before: Option<&Status>) -> Self {
        let (mut start, inode) = before.map_or((0, 0), |status| (status.log_start, status.log_inode));
        // The last shim may have died between turning the files and saying so.
        match fs::metadata(rotated(&dir.join("log"), 1)) {
            Ok(turned) if inode != 0 && turned.ino() == inode => start += turned.len(),
            _ => {}
        }
        let file = Rotating::open(dir.join("log"), policy.max_bytes, policy.keep);
        LogWriter { max_line: policy.max_line, start, inode: file.inode(), file }
    }

    /// Returns the file being written, for whoever has told others its inode.
    pub fn held(&self) -> Option<File> {
        self.file.held()
    }

    /// Appends whole lines; returns whether the files were turned.
    pub fn append(&mut self, lines: &[u8]) -> bool {
        let full = self.file.make_room(lines.len() as u64);
        self.start += full.unwrap_or(0);
        let _ = self.file.append(lines);
        self.inode = self.file.inode();
        full.is_some()
    }
}

/// Copies an instance's output into the log until it ends; never stops reading while there is some.
pub async fn drain(
    mut output: impl tokio::io::AsyncRead + Unpin,
    redactor: Arc<Redactor>,
    log: Arc<Mutex<LogWriter>>,
    turned: Arc<tokio::sync::Notify>,
) {
    let max_line = log.lock().expect("no writer panics").max_line;
    let (mut lines, mut buffer) = (Lines::new(redactor, max_line), vec![0; 8192]);
    loop {
        let (ready, at_end) = match output.read(&mut buffer).await {
            Ok(0) | Err(_) => (lines.end(), true),
            Ok(read) => (lines.push(&buffer[..read]), false),
        };
        if !ready.is_empty() && log.lock().expect("no writer panics").append(&ready) {
            turned.notify_one();
        }
        if at_end {
            return;
        }
    }
}

/// Returns lines from a byte offset, or the last `tail` ones, and the offset after them; at most [`MAX_PAGE`] bytes.
pub fn read(dir: &Path, from: Option<u64>, tail: usize) -> std::io::Result<(Vec<String>, u64)> {
    let Some(mut files) = open_all(dir)? else { return Ok((Vec::new(), from.unwrap_or(0))) };
    let oldest = files.last().map_or(0, |(start, _, _)| *start);
    let end = files.first().map_or(0, |(start, size, _)| start + size);
    let first = from.unwrap_or(end.saturating_sub(MAX_PAGE)).clamp(oldest, end);
    let mut bytes = Vec::new();
    for (start, size, file) in files.iter_mut().rev() {
        let (skip, room) = (first.saturating_sub(*start), MAX_PAGE - bytes.len() as u64);
        if skip < *size && room > 0 {
            file.seek(SeekFrom::Start(skip))?;
            file.take(room.min(*size - skip)).read_to_end(&mut bytes)?;
        }
    }
    // Half a line at the end of a page waits for the next one; half a line at its start is left out of a tail.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let next = first + whole as u64;
    let mut lines: Vec<String> = String::from_utf8_lossy(&bytes[..whole]).lines().map(str::to_owned).collect();
    if from.is_none() {
        let cut = if first > oldest { 1 } else { 0 };
        lines.drain(..lines.len().saturating_sub(tail).max(cut.min(lines.len())));
    }
    Ok((lines, next))
}

/// Returns (offset of the first byte, size, file) of every log file, the newest first.
fn open_all(dir: &Path) -> std::io::Result<Option<Vec<(u64, u64, File)>>> {
    for _ in 0..LOOKS {
        let Ok(Some(status)) = Status::read(dir) else { return Ok(None) };
        let Ok(newest) = File::open(dir.join("log")) else { return Ok(None) };
        let mut start = status.log_start;
        let mut files = vec![(start, newest.metadata()?.len(), newest)];
        for file in (1..).map_while(|number| File::open(rotated(&dir.join("log"), number)).ok()) {
            let size = file.metadata()?.len();
            start = start.saturating_sub(size);
            files.push((start, size, file));
        }
        // The files may turn while they are opened; then look again. The shim holds the file its status names, so that no later one has
        // that inode: for as long as the status stands.
        let is_named = fs::metadata(dir.join("log")).is_ok_and(|metadata| metadata.ino() == status.log_inode);
        let still_stands = matches!(Status::read(dir), Ok(Some(now)) if now.log_start == status.log_start);
        if is_named && still_stands {
            return Ok(Some(files));
        }
        std::thread::sleep(LOOK);
    }
    Err(std::io::Error::other("the log turns faster than it can be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Epoch, shim::identity::Process};

    fn turned(log: &mut LogWriter, times: u32) {
        for _ in 0..times {
            while !log.append(b"a line\n") {}
        }
    }

    #[test]
    fn no_file_is_taken_for_the_one_that_a_status_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path(), LogPolicy { max_bytes: 14, keep: 3, max_line: 100 }, None);
        log.append(b"a line\n");
        let named = (log.inode, log.held());
        for _ in 0..20 {
            turned(&mut log, 1);
            assert_ne!(log.inode, named.0, "its offset would be taken for this one's");
        }
    }

    #[test]
    fn what_a_status_no_longer_names_is_not_read_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path(), LogPolicy { max_bytes: 14, keep: 3, max_line: 100 }, None);
        turned(&mut log, 1);
        let mut status = Status {
            shim: Process::me(),
            instance: None,
            boot_id: "a boot".into(),
            launched: true,
            restarts: 0,
            last_exit: None,
            port_taken: false,
            fault: None,
            epoch: Epoch(1),
            port: 1,
            log_start: log.start,
            log_inode: log.inode,
            stopped: false,
        };
        status.write(folder.path()).unwrap();
        assert_eq!(read(folder.path(), Some(14), usize::MAX).unwrap(), (vec!["a line".into()], 21));
        let _held = log.held();
        turned(&mut log, 4);
        let late = read(folder.path(), Some(14), usize::MAX).unwrap_err();
        assert_eq!(late.to_string(), "the log turns faster than it can be read");
        (status.log_start, status.log_inode) = (log.start, log.inode);
        status.write(folder.path()).unwrap();
        assert_eq!(read(folder.path(), Some(14), usize::MAX).unwrap().1, 77);
    }
}
