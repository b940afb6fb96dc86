//! The demo's approver: decides through the same code a person uses, with a random passphrase that never leaves this process.

use crate::{
    cli::people::{api::ask, decide, keys::SealedKey},
    config::Workspace,
    decisions::{Enrolment, Question},
    error::Result,
    model::{DecisionKind, DecisionVerdict, digest::hex},
};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

/// Somebody who decides.
pub struct Chairman {
    workspace: Workspace,
    sealed: SealedKey,
    key: SigningKey,
}

impl Chairman {
    /// Makes a key under a random passphrase and enrols it as the first approver.
    pub async fn enrol(workspace: &Workspace) -> Result<Self> {
        let passphrase = hex(&rand::random::<[u8; 16]>());
        let (sealed, _) = SealedKey::create(&"demo-chairman".into(), &passphrase)?;
        let key = sealed.open(&passphrase)?;
        let enrolment =
            Enrolment { name: sealed.name.clone(), role: "chairman".into(), public_key: sealed.public_key.clone().into(), further: false };
        let _: Value = ask(workspace, "enrol_first", json!(enrolment)).await?;
        Ok(Chairman { workspace: workspace.clone(), sealed, key })
    }

    /// Decides yes over a subject.
    pub async fn approve(&self, kind: DecisionKind, subject: Value) -> Result<Value> {
        let question = Question { kind, subject, verdict: DecisionVerdict::Approve };
        let review = decide::fetch(&self.workspace, &question).await?;
        decide::sign(&self.workspace, &question, &review, (&self.sealed.name, &self.key), None).await
    }

    /// Returns what people compare.
    pub fn fingerprint(&self) -> String {
        self.sealed.public_key.fingerprint()
    }
}
