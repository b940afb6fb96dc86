//! SHA-256 and canonical JSON (RFC 8785): how plans, releases, evidence and decisions are named.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{fmt, io::Read};

/// A SHA-256 in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sha256(pub String);

impl Sha256 {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256(hex(&sha2::Sha256::digest(bytes)))
    }

    /// Returns the digest of a value's canonical JSON.
    pub fn of_canonical<T: Serialize>(value: &T) -> Self {
        Sha256::of(&canonical_json(value))
    }

    /// Returns the digest of everything `reader` yields, and how many bytes that was.
    pub fn of_reader(mut reader: impl Read) -> std::io::Result<(Self, u64)> {
        let (mut hasher, mut buffer, mut size_bytes) = (sha2::Sha256::new(), vec![0; 64 * 1024], 0);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok((Sha256(hex(&hasher.finalize())), size_bytes)),
                n => {
                    hasher.update(&buffer[..n]);
                    size_bytes += n as u64;
                }
            }
        }
    }

    /// Returns the first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns `bytes` in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the bytes that lower- or upper-case hex stands for; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// Returns the canonical JSON of a value (RFC 8785): the bytes that are hashed and signed.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_jcs::to_vec(value).expect("our own types have a canonical form")
}
