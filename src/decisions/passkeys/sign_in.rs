//! Signs a person in on a page by a passkey: it says who reads, and decides nothing. Its challenge is random, a decision's is its hash.

use super::{Passkeys, cloned, no_longer, options};
use crate::{
    decisions::refused,
    error::Result,
    model::{ApproverName, Caller, Timestamp, digest::hex, passkey::Unfit},
};
use serde::Serialize;
use serde_json::Value;

/// A challenge that waits for anybody's passkey.
pub(super) struct Prepared {
    challenge: [u8; 32],
}

/// A sign-in that the browser has a passkey answer.
#[derive(Debug, Clone, Serialize)]
pub struct AskedSignIn {
    /// What the answer names, once.
    pub handle: String,
    /// For `navigator.credentials.get`, as `PublicKeyCredential.parseRequestOptionsFromJSON` reads it.
    pub options: Value,
}

/// Who has signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedIn {
    /// The approver.
    pub name: ApproverName,
    /// Their role.
    pub role: String,
    /// When.
    pub at: Timestamp,
    /// How many of their passkeys had been cloned: what is opened is over with the next one.
    pub clones: u64,
}

impl Passkeys {
    /// Begins to sign somebody in: whichever passkey of this site the authenticator offers.
    pub fn begin_sign_in(&self) -> AskedSignIn {
        let (handle, challenge): (String, [u8; 32]) = (hex(&rand::random::<[u8; 16]>()), rand::random());
        let now = self.engine.present();
        self.sign_ins().begin(&handle, "", now, Prepared { challenge });
        AskedSignIn { options: options::request(&self.party, &challenge, &[]), handle }
    }

    /// Ends it: says whose passkey has answered. Which session that opens is the page's business.
    pub async fn finish_sign_in(&self, handle: &str, answer: &Value) -> Result<SignedIn> {
        let assertion = options::assertion(answer)?;
        let Prepared { challenge } = self.sign_ins().end(handle, self.engine.present())?;
        let unfit = |unfit: Unfit| refused(format!("the passkey does not count: {unfit}"));
        let held = self.engine.store.passkey(&assertion.credential_id).await?;
        let (approver, passkey, cloned_at) = held.ok_or_else(|| unfit(Unfit::OtherCredential))?;
        passkey.verify(&assertion, &challenge, &self.party).map_err(unfit)?;
        let by = Caller::on_page(&approver.name);
        if cloned_at.is_some() {
            self.engine.store.note_refused_sign_in(&by, &approver.name, &assertion).await?;
            return Err(no_longer());
        }
        match self.engine.store.use_passkey(&by, &approver.name, &assertion).await? {
            true => Ok(SignedIn { clones: approver.clones(), name: approver.name, role: approver.role, at: self.engine.clock.now() }),
            false => Err(cloned(&self.engine, &by, &assertion).await?),
        }
    }
}

/// How many sign-ins may be under way: anybody begins one, so that many windows and few bytes.
pub(super) const MOST: usize = 256;
