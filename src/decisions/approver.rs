//! Enrol an approver. The first one is trusted on first use and audited; every later one needs an existing approver's decision.

use super::{Enrolment, Matter, Question};
use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::{ApproverName, Caller, DecisionVerdict, decision::ApproverKey, digest::unhex},
    store::DecisionEffect,
};
use serde_json::{Value, json};

/// Enrols the first approver; refused when there is one already.
pub async fn enrol_first(engine: &Engine, by: &Caller, enrolment: &Enrolment) -> Result<Value> {
    check(enrolment)?;
    if !engine.store.approvers().await?.is_empty() {
        return Err(Error::new(Code::DeniedByPolicy, "there is an approver already: only an approver's decision enrols another")
            .hint("an existing approver runs `interlock approver add NAME --role ROLE --by THEIR_NAME`"));
    }
    if matches!(enrolment.public_key, ApproverKey::Passkey(_)) || enrolment.further {
        return Err(
            Error::invalid("the first approver enrols a key of a terminal here").hint("`interlock approver link NAME` enrols a passkey")
        );
    }
    engine.store.add_approver(by, enrolment, None).await?;
    Ok(json!({ "enrolled": enrolment.name, "role": enrolment.role, "fingerprint": enrolment.public_key.fingerprint() }))
}

pub(super) async fn matter(engine: &Engine, question: &Question) -> Result<Matter> {
    let enrolment: Enrolment =
        serde_json::from_value(question.subject.clone()).map_err(|error| Error::invalid(format!("`subject` is no enrolment: {error}")))?;
    check(&enrolment)?;
    if question.verdict == DecisionVerdict::Reject {
        return Err(Error::invalid("somebody who is not wanted is simply not enrolled"));
    }
    Ok(Matter {
        environment: None,
        role: role(engine, &enrolment).await?,
        document: super::canonical(&enrolment),
        effect: Box::new(move |_| Ok(DecisionEffect::EnrolApprover(enrolment))),
    })
}

/// Returns the role that decides: a further key signs as its owner does, and only somebody in that role hands that out.
async fn role(engine: &Engine, enrolment: &Enrolment) -> Result<Option<String>> {
    if !enrolment.further {
        return Ok(None);
    }
    match engine.store.approver(&enrolment.name).await? {
        Some(known) if known.role == enrolment.role => Ok(Some(known.role)),
        _ => Err(Error::new(
            Code::WrongState,
            format!("no approver `{}` is {}, who could have a further key", enrolment.name, enrolment.role),
        )),
    }
}

fn check(enrolment: &Enrolment) -> Result<()> {
    check_names(&enrolment.name, &enrolment.role)?;
    match &enrolment.public_key {
        ApproverKey::Ed25519(key) if unhex(&key.0).is_some_and(|bytes| bytes.len() == 32) => Ok(()),
        ApproverKey::Ed25519(_) => Err(Error::invalid("a public key is 64 hex digits")),
        ApproverKey::Passkey(passkey) => passkey.check().map_err(|unfit| Error::invalid(format!("that is no passkey: {unfit}"))),
    }
}

/// Refuses a name or role that could be taken for something else.
pub(super) fn check_names(name: &ApproverName, role: &str) -> Result<()> {
    let is_name = |text: &str| {
        text.len() <= 40
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match is_name(name.as_str()) && is_name(role) {
        true => Ok(()),
        false => Err(Error::invalid("a name and a role have 1 to 40 characters of a-z, 0-9 and `-`, and begin with a letter")),
    }
}
