//! Enrol an approver. The first one is trusted on first use and audited; every later one needs an existing approver's decision.

use super::{Matter, Question};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{ApproverName, Caller, DecisionVerdict, decision::PublicKey},
    store::DecisionEffect,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A person who is to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The name, `[a-z][a-z0-9-]{0,39}`.
    pub name: ApproverName,
    /// The role, `chairman`.
    pub role: String,
    /// The public key.
    pub public_key: PublicKey,
}

/// Enrols the first approver; refused when there is one already.
pub async fn enrol_first(engine: &Engine, by: &Caller, enrolment: &Enrolment) -> Result<Value> {
    check(enrolment)?;
    if !engine.store.approvers().await?.is_empty() {
        return Err(Error::new(Code::DeniedByPolicy, "there is an approver already: only an approver's decision enrols another")
            .hint("an existing approver runs `interlock approver add NAME --role ROLE --by THEIR_NAME`"));
    }
    engine.store.add_approver(by, &enrolment.name, &enrolment.role, &enrolment.public_key, None).await?;
    Ok(json!({ "enrolled": enrolment.name, "role": enrolment.role, "fingerprint": enrolment.public_key.fingerprint() }))
}

pub(super) fn matter(question: &Question) -> Result<Matter> {
    let enrolment: Enrolment =
        serde_json::from_value(question.subject.clone()).map_err(|error| Error::invalid(format!("`subject` is no enrolment: {error}")))?;
    check(&enrolment)?;
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("somebody who is not wanted is simply not enrolled"));
    }
    Ok(Matter {
        environment: None,
        role: None,
        document: super::canonical(&enrolment),
        effect: Box::new(move |_| {
            Ok(DecisionEffect::EnrolApprover { name: enrolment.name, role: enrolment.role, key: enrolment.public_key })
        }),
    })
}

fn check(enrolment: &Enrolment) -> Result<()> {
    let is_name = |text: &str| {
        text.len() <= 40
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !is_name(enrolment.name.as_str()) || !is_name(&enrolment.role) {
        return Err(Error::invalid("a name and a role have 1 to 40 characters of a-z, 0-9 and `-`, and begin with a letter"));
    }
    match enrolment.public_key.0.len() == 64 && enrolment.public_key.0.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(Error::invalid("a public key is 64 hex digits")),
    }
}
