//! A registration: the credential an authenticator has just made (WebAuthn level 3, 7.1). Its attestation is neither asked for nor read: who
//! an approver's key belongs to is what another approver, or the first use, says.

use super::{
    LONGEST_ID, Passkey, RelyingParty, Unfit,
    authenticator::{AuthenticatorData, check_client_data, part},
    base64url, cose,
};
use crate::{decision::PublicKey, digest::hex};
use ciborium::Value;
use serde::{Deserialize, Serialize};

/// A new credential, as it came: every part is base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The credential's id, as the browser says it.
    pub credential_id: String,
    /// What the browser says: the challenge, and the origin it was asked at.
    pub client_data_json: String,
    /// What the authenticator says, in CBOR: the credential with its public key.
    pub attestation_object: String,
}

impl Registration {
    /// Returns the passkey that was made for exactly this challenge, at exactly this origin, by a verified person.
    pub fn passkey(&self, challenge: &[u8], party: &RelyingParty) -> Result<Passkey, Unfit> {
        let client_data = part(&self.client_data_json, "client data is no base64url")?;
        check_client_data(&client_data, "webauthn.create", challenge, party)?;
        let attestation = part(&self.attestation_object, "attestation object is no base64url")?;
        let (object, rest) = cose::value(&attestation)?;
        if !rest.is_empty() {
            return Err(Unfit::Malformed("attestation object goes on behind its end"));
        }
        const NONE: Unfit = Unfit::Malformed("attestation object has no authenticator data");
        let is_said = |(name, _): &&(Value, Value)| name.as_text() == Some("authData");
        let authenticator_data = object.as_map().and_then(|fields| fields.iter().find(is_said)?.1.as_bytes()).ok_or(NONE)?;
        let said = AuthenticatorData::read(authenticator_data)?;
        said.check(party.id())?;
        let made = said.credential.ok_or(Unfit::Malformed("authenticator data brings no credential"))?;
        if made.id.is_empty() || made.id.len() > LONGEST_ID || base64url(made.id) != self.credential_id {
            return Err(Unfit::OtherCredential);
        }
        cose::Key::read(made.public_key)?;
        Ok(Passkey {
            credential_id: self.credential_id.clone(),
            public_key: PublicKey(hex(made.public_key)),
            rp_id: party.id().to_owned(),
            sign_count: said.sign_count,
        })
    }
}
