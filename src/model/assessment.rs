//! What an agent has thought through before it asks for production: part of the plan, so that whoever approves signs it too (seed stage-6).

use super::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The longest text of one field, characters.
const LONGEST: usize = 600;
/// The most threats, and the most mitigations.
const MOST: usize = 12;

/// How sensitive the data is that it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// Everybody may see it.
    Public,
    /// Those who work here may.
    Internal,
    /// Named people may.
    Confidential,
}

/// How much can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Little.
    Low,
    /// Something.
    Medium,
    /// Much.
    High,
}

/// What the agent would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recommendation {
    /// Go on.
    Proceed,
    /// Go on, and watch closely.
    ProceedWithCaution,
}

/// An agent's assessment of a deployment. It claims, and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assessment {
    /// Of the data it touches
    pub classification: Classification,
    /// Considered
    pub threats: Vec<String>,
    /// What meets them
    pub mitigations: Vec<String>,
    /// Risk
    pub risk: Risk,
    /// Steps back
    pub rollback: String,
    /// What to watch
    pub monitoring: String,
    /// Recommendation
    pub recommendation: Recommendation,
}

impl Assessment {
    /// Returns what is missing or too much, one line each; none when it can be read by who decides.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, list) in [("threats", &self.threats), ("mitigations", &self.mitigations)] {
            if list.is_empty() || list.len() > MOST {
                faults.push(format!("`{name}` has {} entries; write 1 to {MOST}", list.len()));
            }
        }
        let lists = self.threats.iter().map(|text| ("threats", text)).chain(self.mitigations.iter().map(|text| ("mitigations", text)));
        for (name, text) in lists.chain([("rollback", &self.rollback), ("monitoring", &self.monitoring)]) {
            let length = text.chars().count();
            if text.trim().is_empty() || length > LONGEST {
                faults.push(format!("`{name}` has a text of {length} characters; write 1 to {LONGEST}"));
            }
        }
        faults
    }

    /// Returns it as lines for who decides, everything hidden shown.
    pub fn lines(&self) -> Vec<String> {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().replace('_', " ");
        let list = |items: &[String]| items.iter().map(|item| text::visible_line(item, LONGEST)).collect::<Vec<_>>().join("; ");
        vec![
            format!("data: {}", word(serde_json::json!(self.classification))),
            format!("threats: {}", list(&self.threats)),
            format!("mitigations: {}", list(&self.mitigations)),
            format!("risk: {}", word(serde_json::json!(self.risk))),
            format!("steps back: {}", text::visible_line(&self.rollback, LONGEST)),
            format!("to watch: {}", text::visible_line(&self.monitoring, LONGEST)),
            format!("recommends: {}", word(serde_json::json!(self.recommendation))),
        ]
    }

    /// Returns the shape of one, for who is asked to write it.
    pub fn template() -> serde_json::Value {
        serde_json::json!({
            "classification": "<public, internal or confidential>", "threats": ["<threat>"], "mitigations": ["<what meets it>"],
            "risk": "<low, medium or high>", "rollback": "<steps back>", "monitoring": "<what to watch>",
            "recommendation": "<proceed or proceed_with_caution>"
        })
    }
}

/// On the command line it is JSON.
impl FromStr for Assessment {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assessment_that_says_nothing_or_hides_something_is_seen() {
        let good = Assessment {
            classification: Classification::Internal,
            threats: vec!["a wrong price".into()],
            mitigations: vec!["a canary".into()],
            risk: Risk::Medium,
            rollback: "one switch".into(),
            monitoring: "orders per minute".into(),
            recommendation: Recommendation::ProceedWithCaution,
        };
        assert_eq!(good.faults(), [""; 0]);
        assert_eq!(good.lines().last().unwrap(), "recommends: proceed with caution");
        let empty = Assessment { threats: vec![], mitigations: vec![" ".into()], rollback: "x".repeat(601), ..good.clone() };
        assert_eq!(empty.faults().len(), 3, "{:?}", empty.faults());
        let hidden = Assessment { monitoring: "orders\n  recommends: nothing\u{202e}".into(), ..good };
        assert!(hidden.lines().iter().all(|line| !line.contains(['\n', '\u{202e}'])), "{:?}", hidden.lines());
    }
}
