//! Toolsets: which operations an agent is offered, so that it pays for no more than it uses. Nothing is protected by them: who may
//! do what is decided by effects, gates and signatures.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which tools a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toolset {
    /// The way from directive to verified production.
    Core,
    /// Ventures, their stages, and what the record says about many deployments.
    Lifecycle,
    /// What is set up around a deployment: monitoring, backups, workflows, documents.
    Setup,
}

impl Toolset {
    /// Every toolset.
    pub const ALL: [Toolset; 3] = [Toolset::Core, Toolset::Lifecycle, Toolset::Setup];

    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Toolset::Core => "core",
            Toolset::Lifecycle => "lifecycle",
            Toolset::Setup => "setup",
        }
    }
}

impl FromStr for Toolset {
    type Err = Error;

    /// Reads the word; anything else is refused with the words there are.
    fn from_str(word: &str) -> Result<Self, Error> {
        let found = Toolset::ALL.into_iter().find(|toolset| toolset.as_str() == word.trim());
        found.ok_or_else(|| {
            Error::invalid(format!("no toolset `{}`; there are core, lifecycle and setup", crate::model::text::visible_line(word, 40)))
        })
    }
}

/// The first line of a connection to `agent.sock` on which an agent asks for toolsets: `toolsets core,lifecycle`. No JSON begins so.
const ASKING: &str = "toolsets ";

/// Returns the line that asks for toolsets.
pub fn asking_for(toolsets: &[Toolset]) -> String {
    let words: Vec<&str> = toolsets.iter().map(|toolset| toolset.as_str()).collect();
    format!("{ASKING}{}\n", words.join(","))
}

/// Returns the toolsets that a line asks for; none where it asks for nothing, or for what there is not.
pub fn asked_in(line: &str) -> Option<Vec<Toolset>> {
    line.strip_prefix(ASKING)?.split(',').map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_again() {
        for asked in [&Toolset::ALL[..], &[Toolset::Lifecycle]] {
            assert_eq!(asked_in(&asking_for(asked)).as_deref(), Some(asked));
        }
        assert_eq!(asked_in("toolsets core,everything\n"), None);
        assert_eq!(asked_in("{\"jsonrpc\": \"2.0\"}\n"), None);
        assert_eq!("all".parse::<Toolset>().unwrap_err().message, "no toolset `all`; there are core, lifecycle and setup");
    }
}
