//! Where a command leaves its report: in its checkout, or on its standard output; never anywhere else.

use super::ObserveError;
use crate::{gates::formats::MAX_REPORT_BYTES, model::text::visible_line};
use rustix::fs::OFlags;
use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
};

/// Where the report is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportPlace {
    /// On standard output.
    Stdout,
    /// At this path from the folder the command runs in; only plain names.
    File(PathBuf),
}

impl ReportPlace {
    /// Reads the configured path; one that leads out of the checkout is refused.
    pub fn parse(report: &str) -> Result<Self, ObserveError> {
        if report == "-" {
            return Ok(ReportPlace::Stdout);
        }
        let names: Option<PathBuf> = Path::new(report)
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| matches!(component, Component::Normal(_)).then_some(component))
            .collect();
        match names {
            Some(path) if path.file_name().is_some() && !report.contains('\0') => Ok(ReportPlace::File(path)),
            _ => Err(ObserveError::Invalid(format!("the report `{}` is no path inside the checkout", visible_line(report, 120)))),
        }
    }

    /// Removes a report that the commit brought along.
    pub fn clear(&self, root: &Path, folder: &Path) -> Result<(), ObserveError> {
        let ReportPlace::File(path) = self else { return Ok(()) };
        let act = "removing the old report";
        let parent = match folder.join(path).parent().expect("a joined path has a parent").canonicalize() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            resolved => resolved.map_err(ObserveError::io(act))?,
        };
        if !parent.starts_with(root) {
            return Err(ObserveError::Invalid(leads_out(path)));
        }
        let old = parent.join(path.file_name().expect("a report's path ends in a name"));
        let removed = match fs::symlink_metadata(&old) {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&old),
            Ok(_) => fs::remove_file(&old),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(cause),
        };
        removed.map_err(ObserveError::io(act))
    }

    /// Returns the report's bytes, or why there are none.
    pub fn read(&self, root: &Path, folder: &Path, stdout: Vec<u8>) -> Result<Vec<u8>, String> {
        let bytes = match self {
            ReportPlace::Stdout if stdout.is_empty() => return Err("the command wrote nothing to standard output".into()),
            ReportPlace::Stdout => stdout,
            ReportPlace::File(path) => read_file(root, folder, path)?,
        };
        match bytes.len() as u64 > MAX_REPORT_BYTES {
            true => Err(crate::gates::ReportError::TooLarge.to_string()),
            false => Ok(bytes),
        }
    }
}

fn read_file(root: &Path, folder: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => format!("the command wrote no report at `{}`", path.display()),
        _ => format!("the report `{}` cannot be read: {cause}", path.display()),
    };
    let resolved = folder.join(path).canonicalize().map_err(unreadable)?;
    if !resolved.starts_with(root) {
        return Err(leads_out(path));
    }
    // Without waiting: a named pipe would hold the server for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&resolved).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(format!("the report `{}` is no file", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_REPORT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn leads_out(path: &Path) -> String {
    format!("the report `{}` leads out of the checkout", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_checkout_are_places() {
        assert_eq!(ReportPlace::parse("-").unwrap(), ReportPlace::Stdout);
        assert_eq!(ReportPlace::parse("./target/junit.xml").unwrap(), ReportPlace::File("target/junit.xml".into()));
        for bad in ["", ".", "..", "/etc/passwd", "a/../../b", "../x", "a\0b"] {
            assert!(ReportPlace::parse(bad).is_err(), "{bad:?}");
        }
    }
}
