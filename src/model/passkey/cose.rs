//! Public keys as authenticators hand them out: COSE (RFC 9052) in CBOR, and the signatures they verify.

use super::Unfit;
use crate::{decision::PublicKey, digest::unhex};
use ciborium::Value;
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};

/// Deeper than anything an authenticator writes, and far from what a stack holds.
const DEEPEST: usize = 8;

/// A public key of one of the three algorithms.
pub(super) enum Key {
    /// ECDSA over P-256 with SHA-256: the point, uncompressed.
    Es256(Vec<u8>),
    /// Ed25519.
    EdDsa(VerifyingKey),
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
}

impl Key {
    /// Reads a key, in hex.
    pub fn of(key: &PublicKey) -> Result<Self, Unfit> {
        Key::read(&unhex(&key.0).ok_or(Unfit::Key)?)
    }

    /// Reads a key from exactly these bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        let (value, rest) = value(bytes)?;
        let fields = value.into_map().map_err(|_| Unfit::Key)?;
        let number = |label: i64| field(&fields, label)?.as_integer().map(i128::from).ok_or(Unfit::Key);
        let bytes = |label: i64| field(&fields, label)?.as_bytes().ok_or(Unfit::Key);
        if !rest.is_empty() {
            return Err(Unfit::Key);
        }
        // Labels 1 and 3 are key type and algorithm; what the negative ones are depends on the type.
        match (number(1)?, number(3)?) {
            (2, -7) if number(-1)? == 1 => {
                let (x, y) = (bytes(-2)?, bytes(-3)?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(Unfit::Key);
                }
                Ok(Key::Es256([&[4], x.as_slice(), y].concat()))
            }
            (1, -8) if number(-1)? == 6 => {
                let key: [u8; 32] = bytes(-2)?.as_slice().try_into().map_err(|_| Unfit::Key)?;
                VerifyingKey::from_bytes(&key).map(Key::EdDsa).map_err(|_| Unfit::Key)
            }
            (3, -257) => {
                let (n, e) = (bytes(-1)?.clone(), bytes(-2)?.clone());
                let is_usual = (256..=1_024).contains(&n.len()) && (1..=8).contains(&e.len());
                is_usual.then_some(Key::Rs256(RsaPublicKeyComponents { n, e })).ok_or(Unfit::Key)
            }
            _ => Err(Unfit::Key),
        }
    }

    /// Refuses a signature that is not this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Unfit> {
        let holds = match self {
            Key::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok(),
            Key::EdDsa(key) => Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Key::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        };
        holds.then_some(()).ok_or(Unfit::Signature)
    }
}

/// Returns the first CBOR value of `bytes`, and what stands behind it.
pub(super) fn value(bytes: &[u8]) -> Result<(Value, &[u8]), Unfit> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEEPEST).map_err(|_| Unfit::Malformed("CBOR cannot be read"))?;
    Ok((value, rest))
}

/// Returns a field of a COSE key; one that is there twice is none.
fn field(fields: &[(Value, Value)], label: i64) -> Result<&Value, Unfit> {
    let label = Value::from(label);
    let mut found = fields.iter().filter(|(name, _)| *name == label).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(Unfit::Key),
    }
}
