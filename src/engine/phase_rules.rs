//! What an applied configuration may say of phases, and own phase files read once.

use crate::{
    config::{self, ProjectConfig},
    error::Result,
    model::{Fault, Faults, Sha256},
    phases::{self, Phase},
};
use std::sync::Mutex;

/// Refuses own phase files with faults, and an environment that does not ask for the approval its phase needs.
pub fn check(config: &ProjectConfig, text: &str) -> Result<()> {
    let (mut faults, mut own) = (Vec::new(), Vec::new());
    for (name, body) in &config.phases {
        let file = format!("{name}.md");
        match phases::parse(&file, body) {
            Ok(phase) if phase.name != *name => {
                let message = format!("`{}` is not the name of its file", phase.name);
                let hint = Some(format!("write name: {name}, or name the file {}.md", phase.name));
                faults.push(Fault { file, line: 2, column: None, key: "name".into(), message, hint });
            }
            Ok(phase) => own.push((file, phase)),
            Err(told) => faults.extend(told.0),
        }
    }
    let builtin = phases::all().iter().map(|phase| (phase.name.as_str(), phase));
    let together: Vec<(&str, &Phase)> = builtin.chain(own.iter().map(|(file, phase)| (file.as_str(), phase))).collect();
    faults.extend(phases::lint_together(&together));
    for (name, environment) in &config.environments {
        let phase = together.iter().find(|(_, phase)| Some(&phase.name) == environment.phase.as_ref());
        let Some((_, Phase { name: phase, approval: Some(role), .. })) = phase else { continue };
        if environment.approval.as_ref().is_none_or(|approval| approval.role != *role) {
            let header = format!("[environments.{name}");
            let line = text.lines().position(|line| line.trim_start().starts_with(&header)).map_or(1, |index| index + 1);
            let (message, hint) =
                (format!("phase `{phase}` asks for the approval of `{role}`"), format!("write approval = {{ role = \"{role}\" }}"));
            let key = format!("environments.{name}.approval");
            faults.push(Fault { file: config::FILE_NAME.into(), line, column: None, key, message, hint: Some(hint) });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults).into()) }
}

/// Phase files that were read a moment ago.
#[derive(Default)]
pub(super) struct Recalled(Mutex<Vec<Phase>>);

impl Recalled {
    /// How many are kept.
    const MOST: usize = 16;

    /// Returns the phase of a text; none when it is no phase.
    pub(super) fn of(&self, text: &str) -> Option<Phase> {
        let sha256 = Sha256::of(text.as_bytes());
        let mut kept = self.0.lock().expect("nothing panics here");
        if let Some(phase) = kept.iter().find(|phase| phase.sha256 == sha256) {
            return Some(phase.clone());
        }
        let phase = phases::recall(text)?;
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push(phase.clone());
        Some(phase)
    }
}
