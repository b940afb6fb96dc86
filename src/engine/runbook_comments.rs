//! Comments of people on lines of a runbook, and what became of each. They decide nothing: an agent reads them, and writes the next version.

use super::{
    Engine,
    lint::{notes_from, secret_in},
};
use crate::{
    error::{Code, Error, Result},
    model::{Caller, RunbookId, Who},
    store::{MOST_COMMENTS, NewRunbookComment, RunbookComment, RunbookVersion},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// The longest comment, characters.
pub const COMMENT_CHARS: usize = 2_000;
/// How many of the newest versions are held against what was said of earlier ones.
const NEWEST: u32 = 20;
/// How much of a line a comment quotes, characters.
const QUOTE_CHARS: usize = 400;

/// What became of a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// The version it is about is the newest.
    Open,
    /// A later version says something else there.
    Answered,
    /// Later versions still say it.
    Unanswered,
}

/// A comment, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commented {
    /// The comment.
    #[serde(flatten)]
    pub comment: RunbookComment,
    /// Which side writes that line: the agent its notes, the server all else, from the record.
    pub side: Who,
    /// What became of it.
    pub became: Became,
    /// The version that answered it, or the newest that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_version: Option<i64>,
}

impl Commented {
    /// Tells whether the agent is to answer it with its next version.
    pub fn waits_for_agent(&self) -> bool {
        self.side == Who::Agent && self.became != Became::Answered
    }
}

impl Engine {
    /// Saves what a person says of a line of a runbook's newest version; returns the comment's number.
    pub async fn comment_on_runbook(&self, by: &Caller, runbook: &RunbookId, version: i64, line: i64, text: &str) -> Result<i64> {
        let text = text.trim().replace("\r\n", "\n");
        let chars = text.chars().count();
        if text.is_empty() || chars > COMMENT_CHARS || text.contains('\0') {
            return Err(Error::invalid(format!("a comment has 1 to {COMMENT_CHARS} characters of text, and this one has {chars}")));
        }
        if let Some(shape) = secret_in(&text) {
            return Err(
                Error::invalid(format!("the comment holds what looks like a secret (`{shape}`…)")).hint("name the reference instead")
            );
        }
        let shown = self.store.runbook_version(runbook, version).await?.ok_or_else(|| Error::not_found("runbook version", version))?;
        let lines = shown.text.lines().count();
        let at = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
        let quote = at.and_then(|at| shown.text.lines().nth(at));
        let quote = quote.ok_or_else(|| Error::invalid(format!("version {version} has lines 1 to {lines}, and no line {line}")))?;
        if quote.trim().is_empty() {
            return Err(Error::invalid(format!("line {line} is empty: say it of a line that says something")));
        }
        let quote = quote.chars().take(QUOTE_CHARS).collect();
        let new = NewRunbookComment { runbook: runbook.clone(), version, line, quote, text };
        if let Some(number) = self.store.add_runbook_comment(by, &new).await? {
            return Ok(number);
        }
        let newest = self.store.newest_runbook_version(runbook).await?;
        Err(match newest.is_some_and(|newest| newest.version > version) {
            true => Error::new(Code::WrongState, format!("version {version} is no longer the newest"))
                .hint("read the newest, and comment on that"),
            false => Error::new(Code::WrongState, format!("version {version} has {MOST_COMMENTS} comments"))
                .hint("return it with a reason that says the rest"),
        })
    }

    /// Returns what people have said of a runbook's lines, oldest first, and what became of it: in the version after that, and in the newest
    /// ones. Those in between are not looked at, of which there may be one from every deployment.
    pub async fn runbook_comments(&self, runbook: &RunbookId) -> Result<Vec<Commented>> {
        let comments = self.store.runbook_comments(runbook).await?;
        if comments.is_empty() {
            return Ok(Vec::new());
        }
        let mut versions = self.store.runbook_versions(runbook, i64::MAX, NEWEST).await?;
        let commented: BTreeSet<i64> = comments.iter().map(|comment| comment.version).collect();
        for version in commented {
            if versions.iter().all(|found| found.version != version) {
                versions.extend(self.store.runbook_versions(runbook, version + 1, 2).await?);
            }
        }
        Ok(comments.into_iter().map(|comment| became(comment, &versions)).collect())
    }
}

fn became(comment: RunbookComment, versions: &[RunbookVersion]) -> Commented {
    let says = |version: &RunbookVersion| version.text.lines().any(|line| line.chars().take(QUOTE_CHARS).eq(comment.quote.chars()));
    let later = || versions.iter().filter(|version| version.version > comment.version);
    let answered = later().filter(|version| !says(version)).map(|version| version.version).min();
    let newest = later().map(|version| version.version).max();
    let its_own = versions.iter().find(|version| version.version == comment.version).and_then(|version| notes_from(&version.text));
    let side = if its_own.is_some_and(|from| comment.line >= from as i64) { Who::Agent } else { Who::Server };
    let (became, in_version) = match (answered, newest) {
        (Some(version), _) => (Became::Answered, Some(version)),
        (None, Some(version)) => (Became::Unanswered, Some(version)),
        (None, None) => (Became::Open, None),
    };
    Commented { comment, side, became, in_version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Sha256, Timestamp},
        store::RunbookState,
    };

    #[test]
    fn a_comment_is_answered_by_the_version_that_no_longer_says_it() {
        let version = |version: i64, text: &str| RunbookVersion {
            runbook: "rb_a_b".into(),
            version,
            directive: "SD-DEPLOY-001".into(),
            deployment: None,
            state: RunbookState::InReview,
            text: text.into(),
            sha256: Sha256::of(text.as_bytes()),
            lint: serde_json::Value::Null,
            created_by: "agent".into(),
            created_at: Timestamp(0),
        };
        let comment = RunbookComment {
            number: 1,
            version: 1,
            line: 2,
            quote: "two".into(),
            text: "why?".into(),
            author: "ada".into(),
            commented_at: Timestamp(0),
        };
        let of = |versions: &[RunbookVersion]| {
            let commented = became(comment.clone(), versions);
            (commented.became, commented.in_version)
        };
        let mut versions = vec![version(1, "one\ntwo")];
        assert_eq!(of(&versions), (Became::Open, None));
        versions.push(version(2, "zero\none\ntwo"));
        assert_eq!(of(&versions), (Became::Unanswered, Some(2)));
        versions.push(version(3, "one\nthree"));
        assert_eq!(of(&versions), (Became::Answered, Some(3)));
        versions.push(version(4, "two"));
        assert_eq!(of(&versions), (Became::Answered, Some(3)));
    }
}
