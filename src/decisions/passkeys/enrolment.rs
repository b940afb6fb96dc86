//! Enrols a passkey by a one-time link. The first approver's counts at once, trusted on first use; every later one, and every further key of
//! an approver, waits for an approver's decision over exactly what was made.

use super::{
    Passkeys,
    options::{self, Enroller},
};
use crate::{
    decisions::approver,
    engine::Engine,
    error::{Code, Error, Result},
    model::{
        ApproverName, Caller, Sha256, Timestamp,
        decision::{ApproverKey, Enrolment},
        digest::hex,
    },
    store::{EnrolmentLink, LinkUse},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How long a link may be used.
const LINK_EXPIRES: Duration = Duration::from_secs(600);

/// How long what a link has made waits for an approver.
const WAITS: Duration = Duration::from_secs(24 * 3_600);

/// A passkey that is about to be made.
pub(super) struct Prepared {
    link: Sha256,
    challenge: [u8; 32],
}

/// Who is to get a link.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkAsked {
    /// Their name.
    pub name: ApproverName,
    /// Their role; that of the approver they are already.
    pub role: String,
}

/// A link that was made. It is shown once; only its hash is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    /// What the link carries: 64 hex digits.
    pub token: String,
    /// Until when it may be used.
    pub expires_at: Timestamp,
    /// Whether the passkey counts at once; otherwise it waits for an approver's decision.
    pub counts_at_once: bool,
}

/// Whom a link is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// Who is to be enrolled.
    pub name: ApproverName,
    /// As what.
    pub role: String,
    /// Whether the passkey counts at once; otherwise it waits for an approver's decision.
    pub counts_at_once: bool,
}

/// A passkey that the browser has made.
#[derive(Debug, Clone, Serialize)]
pub struct AskedEnrolment {
    /// What the answer names, once.
    pub handle: String,
    /// Who is enrolled.
    pub name: ApproverName,
    /// As what.
    pub role: String,
    /// For `navigator.credentials.create`, as `PublicKeyCredential.parseCreationOptionsFromJSON` reads it.
    pub options: Value,
}

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Enrolled {
    /// What was made.
    pub enrolment: Enrolment,
    /// What people compare.
    pub fingerprint: String,
    /// Whether it waits for an approver's decision.
    pub waits: bool,
}

/// Makes a link for somebody. Whoever has it makes a passkey under that name; whether the passkey counts is another's decision.
pub async fn link(engine: &Engine, by: &Caller, asked: &LinkAsked) -> Result<Link> {
    approver::check_names(&asked.name, &asked.role)?;
    let approvers = engine.store.approvers().await?;
    if let Some(known) = approvers.iter().find(|known| known.name == asked.name)
        && known.role != asked.role
    {
        return Err(Error::invalid(format!("`{}` is enrolled as {}, not {}", known.name, known.role, asked.role)));
    }
    let token = hex(&rand::random::<[u8; 32]>());
    let expires_at = engine.present().plus(LINK_EXPIRES);
    let (token_sha256, name, role) = (Sha256::of(token.as_bytes()), asked.name.clone(), asked.role.clone());
    engine.store.add_enrolment_link(by, &EnrolmentLink { token_sha256, name, role, expires_at, used_at: None }).await?;
    Ok(Link { token, expires_at, counts_at_once: approvers.is_empty() })
}

/// Returns what was made by links and waits for an approver's decision, oldest first.
pub async fn waiting(engine: &Engine) -> Result<Vec<Enrolment>> {
    Ok(engine.store.waiting_enrolments(engine.clock.now().minus(WAITS)).await?)
}

impl Passkeys {
    /// Returns whom a link is for; it is not used up.
    pub async fn invited(&self, token: &str) -> Result<Invited> {
        let EnrolmentLink { name, role, .. } = self.link(&Sha256::of(token.as_bytes())).await?;
        Ok(Invited { name, role, counts_at_once: self.engine.store.approvers().await?.is_empty() })
    }

    /// Begins to enrol by a link: says who is to be enrolled, and what the browser is asked. The link is not used up yet.
    pub async fn begin_enrolment(&self, token: &str) -> Result<AskedEnrolment> {
        let token_sha256 = Sha256::of(token.as_bytes());
        let link = self.link(&token_sha256).await?;
        let challenge: [u8; 32] = rand::random();
        let approver = self.engine.store.approver(&link.name).await?;
        let known: Vec<String> = match &approver {
            Some(approver) => self.passkeys_of(approver).unwrap_or_default(),
            None => Vec::new(),
        };
        let project = self.engine.workspace.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of = Enroller { name: link.name.as_str(), role: &link.role, project: &project, known: &known };
        let options = options::creation(&self.party, &challenge, &of);
        let handle = hex(&rand::random::<[u8; 16]>());
        let now = self.engine.present();
        self.enrolments().begin(&handle, &token_sha256.0, now, Prepared { link: token_sha256.clone(), challenge });
        Ok(AskedEnrolment { handle, name: link.name, role: link.role, options })
    }

    /// Ends it with the passkey that was made, and uses the link up.
    pub async fn finish_enrolment(&self, handle: &str, answer: &Value) -> Result<Enrolled> {
        let registration = options::registration(answer)?;
        let Prepared { link: token_sha256, challenge } = self.enrolments().end(handle, self.engine.present())?;
        let link = self.link(&token_sha256).await?;
        let passkey = registration.passkey(&challenge, &self.party);
        let passkey = passkey.map_err(|unfit| Error::new(Code::DecisionRefused, format!("the passkey does not count: {unfit}")))?;
        let further = self.engine.store.approver(&link.name).await?.is_some();
        let enrolment = Enrolment { name: link.name, role: link.role, public_key: ApproverKey::Passkey(passkey), further };
        let by = Caller::on_page(&enrolment.name);
        let waits = match self.engine.store.use_enrolment_link(&by, &token_sha256, &enrolment).await? {
            LinkUse::Enrolled => false,
            LinkUse::Waits => true,
            LinkUse::Spent => return Err(spent()),
        };
        let fingerprint = enrolment.public_key.fingerprint();
        tracing::info!("`{}` has made a passkey {fingerprint}{}", enrolment.name, if waits { ", which waits for an approver" } else { "" });
        Ok(Enrolled { enrolment, fingerprint, waits })
    }

    async fn link(&self, token_sha256: &Sha256) -> Result<EnrolmentLink> {
        let link = self.engine.store.enrolment_link(token_sha256).await?.ok_or_else(spent)?;
        match link.used_at.is_none() && link.expires_at > self.engine.present() {
            true => Ok(link),
            false => Err(spent()),
        }
    }
}

/// The same for a link that was used, is expired or never was: nothing is said to who guesses.
fn spent() -> Error {
    Error::new(Code::DeniedByPolicy, "this link is used, expired, or was never made").hint("`interlock approver link NAME` makes another")
}
