//! Logs: text (or JSON with `INTERLOCK_LOG_FORMAT=json`) into size-capped files, never to standard output. `INTERLOCK_LOG` filters.

use crate::rotating::{FILE_BYTES, KEEP, Rotating};
use anyhow::{Context as _, ensure};
use std::{fs, path::Path, sync::Mutex};
use tracing_subscriber::EnvFilter;

/// Sends this process's logs to `<folder>/<name>.log`; a second call in one process changes nothing.
pub fn to_files(folder: &Path, name: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder).context("making the log's folder")?;
    let log = Rotating::open(folder.join(format!("{name}.log")), FILE_BYTES, KEEP);
    ensure!(log.is_open(), "cannot open the log in `{}`", folder.display());
    let writer = Mutex::new(log);
    let filter = EnvFilter::try_from_env("INTERLOCK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let _ = match std::env::var("INTERLOCK_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().try_init(),
        _ => builder.try_init(),
    };
    Ok(())
}
