//! What people do at the command line: enrol, approve, reject, sign off, publish, apply, freeze, choose. The passphrase comes from the controlling
//! terminal only; the document is rendered from the very bytes that are signed.
//!
//! To add a command: a file here with `command()` and `run(…)`, and a line in `cli::COMMANDS`.

pub mod api;
pub mod apply;
pub mod approver;
pub mod decide;
pub mod freezes;
pub mod keys;
pub mod notify;
pub mod verdicts;

use crate::error::{Code, Error, Result};

/// Asks for a passphrase at the controlling terminal; there is no other way to give one.
pub fn passphrase(prompt: &str) -> Result<String> {
    rpassword::prompt_password(prompt).map_err(|_| {
        Error::new(Code::DeniedByPolicy, "a passphrase is read from the controlling terminal, and there is none")
            .hint("run this command yourself, in a terminal")
    })
}
