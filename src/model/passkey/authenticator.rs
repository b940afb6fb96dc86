//! What an authenticator and a browser say, read byte for byte: `authenticatorData` (WebAuthn level 3, 6.1) and `clientDataJSON` (5.8.1).

use super::{RelyingParty, Unfit, cose, unbase64};
use serde::Deserialize;
use sha2::Digest as _;

/// No authenticator or browser writes more, by far.
const MOST_BYTES: usize = 16 * 1024;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What an authenticator says.
pub(super) struct AuthenticatorData<'a> {
    /// SHA-256 of the relying party's id.
    pub rp_id_hash: &'a [u8],
    /// How often it has signed; 0 where it does not count.
    pub sign_count: u32,
    /// The credential it has just made; none in an assertion.
    pub credential: Option<Credential<'a>>,
    flags: u8,
}

/// A credential that was just made.
pub(super) struct Credential<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// Its public key, as COSE.
    pub public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `bytes`; anything left over, or less than there should be, is refused.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unfit> {
        const SHORT: Unfit = Unfit::Malformed("authenticator data ends too early");
        let (rp_id_hash, rest) = bytes.split_at_checked(32).ok_or(SHORT)?;
        let (&flags, rest) = rest.split_first().ok_or(SHORT)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let credential = match flags & ATTESTED != 0 {
            true => {
                // 16 bytes name the authenticator's model, which nobody here asks about.
                let (_, after) = rest.split_at_checked(16).ok_or(SHORT)?;
                let (length, after) = after.split_first_chunk::<2>().ok_or(SHORT)?;
                let (id, after) = after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(SHORT)?;
                let (_, left) = cose::value(after)?;
                rest = left;
                Some(Credential { id, public_key: &after[..after.len() - left.len()] })
            }
            false => None,
        };
        if flags & EXTENSIONS != 0 {
            let (extensions, left) = cose::value(rest)?;
            rest = left;
            if !extensions.is_map() {
                return Err(Unfit::Malformed("extensions are no map"));
            }
        }
        if !rest.is_empty() {
            return Err(Unfit::Malformed("authenticator data goes on behind its end"));
        }
        if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
            return Err(Unfit::Malformed("flags say backed up, and that it cannot be"));
        }
        Ok(AuthenticatorData { rp_id_hash, sign_count: u32::from_be_bytes(*count), credential, flags })
    }

    /// Refuses unless it was made for this relying party, by a person who was there and was verified.
    pub fn check(&self, rp_id: &str) -> Result<(), Unfit> {
        if self.rp_id_hash != sha256(rp_id.as_bytes()) {
            return Err(Unfit::OtherParty(rp_id.to_owned()));
        }
        if self.flags & USER_PRESENT == 0 {
            return Err(Unfit::NotPresent);
        }
        match self.flags & USER_VERIFIED {
            0 => Err(Unfit::NotVerified),
            _ => Ok(()),
        }
    }
}

/// What the browser says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    cross_origin: Option<bool>,
    top_origin: Option<String>,
}

/// Refuses unless the browser was asked for `wanted` with exactly this challenge, at exactly this origin, in a page of its own.
pub(super) fn check_client_data(bytes: &[u8], wanted: &'static str, challenge: &[u8], party: &RelyingParty) -> Result<(), Unfit> {
    let client_data: ClientData = serde_json::from_slice(bytes).map_err(|_| Unfit::Malformed("client data is no JSON of a browser"))?;
    if client_data.kind != wanted {
        return Err(Unfit::WrongType { shown: client_data.kind, wanted });
    }
    if client_data.origin != party.origin() {
        return Err(Unfit::OtherOrigin { shown: client_data.origin, wanted: party.origin().to_owned() });
    }
    if client_data.cross_origin == Some(true) || client_data.top_origin.is_some() {
        return Err(Unfit::CrossOrigin);
    }
    match unbase64(&client_data.challenge).as_deref() == Some(challenge) {
        true => Ok(()),
        false => Err(Unfit::OtherChallenge),
    }
}

/// Returns the bytes of a part that came as base64url.
pub(super) fn part(text: &str, otherwise: &'static str) -> Result<Vec<u8>, Unfit> {
    if text.len() > MOST_BYTES {
        return Err(Unfit::Malformed("parts are too long"));
    }
    unbase64(text).ok_or(Unfit::Malformed(otherwise))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}
