//! An assertion: what an authenticator signed when a person was asked (WebAuthn level 3, 7.2).

use super::{
    Passkey, RelyingParty, Unfit,
    authenticator::{AuthenticatorData, check_client_data, part, sha256},
    cose,
};
use serde::{Deserialize, Serialize};

/// What an authenticator signed, as it came: every part is base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which passkey made it.
    pub credential_id: String,
    /// What the authenticator says: for whom, whether the person was verified, its counter.
    pub authenticator_data: String,
    /// What the browser says: the challenge, and the origin it was asked at.
    pub client_data_json: String,
    /// The signature over the authenticator's data and the SHA-256 of the client's.
    pub signature: String,
}

impl Assertion {
    /// Returns the signature counter it shows.
    pub fn sign_count(&self) -> Result<u32, Unfit> {
        Ok(AuthenticatorData::read(&self.authenticator_data()?)?.sign_count)
    }

    fn authenticator_data(&self) -> Result<Vec<u8>, Unfit> {
        part(&self.authenticator_data, "authenticator data is no base64url")
    }
}

impl Passkey {
    /// Refuses an assertion unless this passkey made it over exactly this challenge, at exactly this origin, for a verified person.
    ///
    /// Whether its counter has gone on is asked where it is recorded: only one of two at once can have.
    pub fn verify(&self, assertion: &Assertion, challenge: &[u8], party: &RelyingParty) -> Result<(), Unfit> {
        if assertion.credential_id != self.credential_id {
            return Err(Unfit::OtherCredential);
        }
        let client_data = part(&assertion.client_data_json, "client data is no base64url")?;
        check_client_data(&client_data, "webauthn.get", challenge, party)?;
        let authenticator_data = assertion.authenticator_data()?;
        let said = AuthenticatorData::read(&authenticator_data)?;
        if said.credential.is_some() {
            return Err(Unfit::Malformed("authenticator data brings a new credential"));
        }
        said.check(&self.rp_id)?;
        if party.id() != self.rp_id {
            return Err(Unfit::OtherParty(party.id().to_owned()));
        }
        let signature = part(&assertion.signature, "signature is no base64url")?;
        cose::Key::of(&self.public_key)?.verify(&[authenticator_data.as_slice(), &sha256(&client_data)].concat(), &signature)
    }
}
