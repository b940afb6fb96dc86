//! Resolves secret references, as late as possible. A value never reaches a disk, an argv, a message or a log of ours.

use crate::model::service::SecretRef;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long a command may take to print a secret.
const PATIENCE: Duration = Duration::from_secs(10);
/// No secret is larger.
const MAX_BYTES: u64 = 64 << 10;

/// A resolved value. It can be neither printed nor serialised by accident.
pub struct Secret(String);

impl Secret {
    /// Returns the value, for the instance's environment and for redaction only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns a secret of this value.
    #[cfg(test)]
    pub fn of(value: &str) -> Self {
        Secret(value.to_owned())
    }
}

/// Returns the secret's value; blocks, for `exec:` up to 10 seconds. Errors name the reference, never the value.
pub fn resolve(reference: &SecretRef) -> Result<Secret> {
    let shown = shown(reference);
    let bytes = match reference {
        SecretRef::Env(name) => match std::env::var_os(name).filter(|_| !name.is_empty()) {
            Some(value) => value.into_encoded_bytes(),
            None => bail!("secret `{shown}`: the variable is not set"),
        },
        SecretRef::File(path) => read_file(path).with_context(|| format!("secret `{shown}`"))?,
        SecretRef::Exec(argv) => run(argv, PATIENCE).with_context(|| format!("secret `{shown}`"))?,
    };
    let Ok(mut value) = String::from_utf8(bytes) else { bail!("secret `{shown}`: its value is not text") };
    if !matches!(reference, SecretRef::Env(_)) && value.ends_with('\n') {
        value.truncate(value.len() - if value.ends_with("\r\n") { 2 } else { 1 });
    }
    ensure!(!value.is_empty(), "secret `{shown}`: its value is empty");
    ensure!(!value.contains('\0'), "secret `{shown}`: its value holds a zero byte");
    Ok(Secret(value))
}

/// Tells whether the secret can be resolved now; the message names the reference, never the value. Blocks like [`resolve`].
pub fn check(reference: &SecretRef) -> Result<(), String> {
    resolve(reference).map(drop).map_err(|err| format!("{err:#}"))
}

fn shown(reference: &SecretRef) -> String {
    let text = match reference {
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::File(path) => format!("file:{path}"),
        SecretRef::Exec(argv) => format!("exec:{}", argv.join(" ")),
    };
    crate::model::text::visible_line(&text, 200)
}

fn read_file(path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).context("cannot open the file")?;
    ensure!(!file.metadata()?.is_dir(), "it is a folder");
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).context("cannot read the file")?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "it is larger than 64 KiB");
    Ok(bytes)
}

fn run(argv: &[String], patience: Duration) -> Result<Vec<u8>> {
    let (program, arguments) = argv.split_first().context("the command is empty")?;
    // What it writes to standard error may hold the value; it is not kept.
    let (stdin, stderr) = (Stdio::null(), Stdio::null());
    let mut child = Command::new(program).args(arguments).stdin(stdin).stderr(stderr).stdout(Stdio::piped()).process_group(0).spawn()?;
    let group = Pid::from_child(&child);
    let output = child.stdout.take().expect("standard output is piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes);
        let _ = sender.send(read);
    });
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    // Whatever it left behind goes too; it would hold the pipe open.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    let Some(status) = status else { bail!("the command took longer than {} s", patience.as_secs()) };
    ensure!(status.success(), "the command failed: {status}");
    let bytes = receiver.recv_timeout(Duration::from_secs(2)).context("the command's output does not end")??;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "it is larger than 64 KiB");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(reference: &str) -> Result<String> {
        resolve(&SecretRef::parse(reference).unwrap()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn references_are_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "canary-1\n").unwrap();
        assert_eq!(value(&format!("file:{}", path.display())).unwrap(), "canary-1");
        assert_eq!(value("exec:echo canary-2").unwrap(), "canary-2");
        assert_eq!(value("env:PATH").unwrap(), std::env::var("PATH").unwrap());
    }

    #[test]
    fn a_fault_names_the_reference_and_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, b"canary\xff").unwrap();
        let path = path.display().to_string();
        for reference in [
            "env:INTERLOCK_NOT_SET",
            "env:",
            "file:/nowhere/at/all",
            "file:/tmp",
            "exec:",
            "exec:false",
            "exec:true",
            &format!("file:{path}"),
        ] {
            let message = check(&SecretRef::parse(reference).unwrap()).unwrap_err();
            assert!(message.contains(reference) && !message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_given_up() {
        let argv: Vec<String> = ["sh", "-c", "sleep 300 & sleep 300"].map(str::to_owned).into();
        let message = format!("{:#}", run(&argv, Duration::from_millis(50)).unwrap_err());
        assert!(message.contains("longer"), "{message}");
    }
}
