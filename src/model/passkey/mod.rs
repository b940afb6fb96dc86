//! A passkey (WebAuthn) as an approver's key: what is kept of it, and whether an assertion is its own over exactly one challenge. Pure: the
//! same check runs when a decision is handed in, when it is executed, and offline.
//!
//! Not `webauthn-rs-core` 0.6: it verifies no EdDSA, does not look at `crossOrigin` in an assertion, and brings 80 packages, release
//! candidates among them. `ring` verifies TLS here anyway; what is left is one fixed layout of bytes (`authenticator`), CBOR and JSON.

mod assertion;
mod authenticator;
mod cose;
mod registration;

pub use assertion::Assertion;
pub use registration::Registration;

use super::{decision::PublicKey, text::visible_line};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// The longest credential id there is, in bytes (WebAuthn level 3, 6.5.1).
const LONGEST_ID: usize = 1_023;

/// The signature algorithms a passkey may have, best first, as COSE numbers them: ES256, EdDSA, RS256 (Windows Hello has nothing else).
pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];

/// A passkey whose assertions count for an approver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// The credential's id, base64url without padding.
    pub credential_id: String,
    /// The credential's public key: its COSE key, in hex.
    pub public_key: PublicKey,
    /// The relying party it was made for: a host, without a port.
    pub rp_id: String,
    /// Its signature counter when it was enrolled; 0 where it counts nothing.
    pub sign_count: u32,
}

/// Where passkeys are asked for: one origin, and the relying party it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    origin: String,
    id: String,
}

/// Why what an authenticator answered does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A part is not what it should be, byte for byte.
    #[error("its {0}")]
    Malformed(&'static str),
    /// Made for something else than what was asked.
    #[error("it is a `{}`, not a `{wanted}`", visible_line(.shown, 40))]
    WrongType {
        /// What the browser says it is.
        shown: String,
        /// What was asked.
        wanted: &'static str,
    },
    /// Over other bytes.
    #[error("it answers another challenge than that of this decision")]
    OtherChallenge,
    /// From another page.
    #[error("it was made at `{}`, not at `{wanted}`", visible_line(.shown, 120))]
    OtherOrigin {
        /// The page's origin, as the browser says.
        shown: String,
        /// Ours.
        wanted: String,
    },
    /// From a page inside another site's page.
    #[error("it was made in a page that another site has embedded")]
    CrossOrigin,
    /// For another relying party.
    #[error("it was made for another site than `{0}`")]
    OtherParty(String),
    /// Nobody touched the authenticator.
    #[error("nobody was present when it was made")]
    NotPresent,
    /// Nobody showed who they are.
    #[error("the person was not verified: no fingerprint, face or PIN was asked")]
    NotVerified,
    /// Another credential.
    #[error("it is of another passkey")]
    OtherCredential,
    /// A kind of key nobody asked for.
    #[error("its key is none of ES256, EdDSA and RS256, or is no valid one")]
    Key,
    /// The signature is not this key's over these bytes.
    #[error("the signature is not that key's over these bytes")]
    Signature,
    /// It says nowhere at which page it was asked for.
    #[error("the decision names no page where a passkey was asked for")]
    NoPage,
}

impl RelyingParty {
    /// Returns the party of a page's origin, `http://localhost:8420`: its id is the host. `None` for what is no origin a browser gives
    /// passkeys to: those need a name, not an address, and TLS beyond this machine.
    pub fn at(origin: &str) -> Option<Self> {
        let (secure, authority) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
            (Some(authority), _) => (true, authority),
            (_, Some(authority)) => (false, authority),
            _ => return None,
        };
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_name = host.len() <= 253
            && host.contains(|c: char| c.is_ascii_lowercase())
            && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
        // As browsers write it: the scheme's own port is left out.
        let usual = if secure { 443 } else { 80 };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number != usual && number.to_string() == port));
        let is_ours = is_name && is_port && (secure || host == "localhost");
        is_ours.then(|| RelyingParty { origin: origin.to_owned(), id: host.to_owned() })
    }

    /// Returns the exact origin, its port included.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the relying party's id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Passkey {
    /// Refuses a passkey that could never count: one of another shape or size than authenticators make.
    pub fn check(&self) -> Result<(), Unfit> {
        let id = unbase64(&self.credential_id).ok_or(Unfit::Malformed("credential id is no base64url"))?;
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(Unfit::Malformed("credential id has 1 to 1023 bytes"));
        }
        if RelyingParty::at(&format!("https://{}", self.rp_id)).is_none_or(|party| party.id != self.rp_id) {
            return Err(Unfit::Malformed("relying party is no host"));
        }
        cose::Key::of(&self.public_key).map(drop)
    }
}

/// Returns bytes as browsers write them in JSON.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
