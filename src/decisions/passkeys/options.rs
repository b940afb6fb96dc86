//! What a browser is asked and answers, as JSON (WebAuthn level 3, 5.1.8 to 5.1.10): the forms of `parseCreationOptionsFromJSON`,
//! `parseRequestOptionsFromJSON` and `PublicKeyCredential.toJSON`.

use super::PATIENCE;
use crate::{
    error::{Error, Result},
    model::passkey::{ALGORITHMS, Assertion, Registration, RelyingParty, base64url},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Returns the options that make a passkey: kept by the authenticator where it can, and never without showing who its person is.
pub fn creation(party: &RelyingParty, challenge: &[u8], of: &Enroller<'_>) -> Value {
    let Enroller { name, role, project, known } = of;
    let algorithms: Vec<Value> = ALGORITHMS.iter().map(|number| json!({ "type": "public-key", "alg": number })).collect();
    json!({
        "rp": { "id": party.id(), "name": format!("Interlock {project}") },
        // A new one each time: an authenticator would overwrite an earlier passkey of the same user, another project's too.
        "user": { "id": base64url(&rand::random::<[u8; 32]>()), "name": format!("{name} in {project}"), "displayName": format!("{name} ({role})") },
        "challenge": base64url(challenge),
        "pubKeyCredParams": algorithms,
        "timeout": PATIENCE.as_millis() as u64,
        "excludeCredentials": descriptors(known),
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "required" },
        "attestation": "none",
    })
}

/// Whose passkey is made.
pub struct Enroller<'a> {
    /// The name.
    pub name: &'a str,
    /// The role.
    pub role: &'a str,
    /// The workspace's name, so that its person can tell two apart.
    pub project: &'a str,
    /// The passkeys they have.
    pub known: &'a [String],
}

/// Returns the options that have a passkey sign.
pub fn request(party: &RelyingParty, challenge: &[u8], passkeys: &[String]) -> Value {
    json!({
        "challenge": base64url(challenge),
        "rpId": party.id(),
        "allowCredentials": descriptors(passkeys),
        "userVerification": "required",
        "timeout": PATIENCE.as_millis() as u64,
    })
}

/// Reads the answer to [`request`].
pub fn assertion(answer: &Value) -> Result<Assertion> {
    let Answer { id, response } = read::<Asserted>(answer)?;
    let Asserted { client_data_json, authenticator_data, signature } = response;
    Ok(Assertion { credential_id: id, authenticator_data, client_data_json, signature })
}

/// Reads the answer to [`creation`].
pub fn registration(answer: &Value) -> Result<Registration> {
    let Answer { id, response } = read::<Attested>(answer)?;
    Ok(Registration { credential_id: id, client_data_json: response.client_data_json, attestation_object: response.attestation_object })
}

// What else a browser adds (`rawId`, `type`, `clientExtensionResults` …) is not looked at: nothing of it is signed.
#[derive(Deserialize)]
struct Answer<R> {
    id: String,
    response: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asserted {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    authenticator_data: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attested {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    attestation_object: String,
}

fn read<R: DeserializeOwned>(answer: &Value) -> Result<Answer<R>> {
    Answer::deserialize(answer).map_err(|error| Error::invalid(format!("this is no answer of a browser's passkey dialogue: {error}")))
}

fn descriptors(passkeys: &[String]) -> Vec<Value> {
    passkeys.iter().map(|id| json!({ "type": "public-key", "id": id })).collect()
}
