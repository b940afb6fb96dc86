//! A person's key: Ed25519, sealed under a passphrase (Argon2id, then ChaCha20-Poly1305). The agent may read the file; without
//! the passphrase it is of no use.

use crate::{
    error::{Code, Error, Result},
    model::{
        ApproverName,
        decision::PublicKey,
        digest::{hex, unhex},
    },
};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Memory of the key derivation in KiB (64 MiB; RFC 9106 §4, second recommended option).
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes of the key derivation (RFC 9106 §4).
const PASSES: u32 = 3;
/// The shortest passphrase (NIST SP 800-63B asks for at least 8).
const SHORTEST: usize = 8;

/// A sealed key as it lies on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    /// Whose it is.
    pub name: ApproverName,
    /// The public half.
    pub public_key: PublicKey,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

impl SealedKey {
    /// Makes a new key and seals it.
    pub fn create(name: &ApproverName, passphrase: &str) -> Result<(Self, SigningKey)> {
        if passphrase.chars().count() < SHORTEST {
            return Err(Error::invalid(format!("a passphrase has at least {SHORTEST} characters")));
        }
        let key = SigningKey::from_bytes(&rand::random());
        let (salt, nonce): ([u8; 16], [u8; 12]) = (rand::random(), rand::random());
        let cipher = cipher(passphrase, &salt, MEMORY_KIB, PASSES)?;
        let sealed = cipher.encrypt(&nonce.into(), key.to_bytes().as_slice()).map_err(|_| broken(name))?;
        let own = SealedKey {
            name: name.clone(),
            public_key: PublicKey::of(&key),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: hex(&salt),
            nonce: hex(&nonce),
            sealed: hex(&sealed),
        };
        Ok((own, key))
    }

    /// Opens the key; a wrong passphrase is refused.
    pub fn open(&self, passphrase: &str) -> Result<SigningKey> {
        // A file that asks for absurd work was tampered with.
        if self.memory_kib > 1024 * 1024 || self.passes > 64 {
            return Err(broken(&self.name));
        }
        let part = |text: &str| unhex(text).ok_or_else(|| broken(&self.name));
        let nonce: [u8; 12] = part(&self.nonce)?.try_into().map_err(|_| broken(&self.name))?;
        let cipher = cipher(passphrase, &part(&self.salt)?, self.memory_kib, self.passes)?;
        let opened = cipher.decrypt(&nonce.into(), part(&self.sealed)?.as_slice()).map_err(|_| {
            Error::new(Code::DeniedByPolicy, "the passphrase is wrong")
                .hint("try again; after a lost passphrase another approver enrols you anew")
        })?;
        let key = SigningKey::from_bytes(&opened.try_into().map_err(|_| broken(&self.name))?);
        match PublicKey::of(&key) == self.public_key {
            true => Ok(key),
            false => Err(broken(&self.name)),
        }
    }

    /// Writes the key to its file, which must not exist yet.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let path = path(folder, &self.name);
        let fault = |error: std::io::Error| Error::new(Code::TargetFailed, format!("writing `{}`: {error}", path.display()));
        fs::create_dir_all(folder).map_err(fault)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fault)?;
        file.write_all(&serde_json::to_vec_pretty(self).map_err(Error::internal)?).and_then(|()| file.sync_all()).map_err(fault)?;
        Ok(path)
    }

    /// Reads the key of this name; the only one there is, when no name is given.
    pub fn load(folder: &Path, name: Option<&str>) -> Result<Self> {
        let path = match name {
            Some(name) if name.contains(['/', '\0']) => return Err(Error::not_found("key of", name)),
            Some(name) => path(folder, &name.into()),
            None => only(folder)?,
        };
        let text = fs::read_to_string(&path)
            .map_err(|_| Error::not_found("key", path.display()).hint("`interlock approver add NAME --role ROLE` makes one"))?;
        serde_json::from_str(&text).map_err(|error| Error::invalid(format!("`{}` is no key: {error}", path.display())))
    }
}

fn only(folder: &Path) -> Result<PathBuf> {
    let keys: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    match keys.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(Error::not_found("approver's key in", folder.display()).hint("`interlock approver add NAME --role ROLE` makes one")),
        _ => Err(Error::invalid("there are several keys: say whose with --as NAME")),
    }
}

fn path(folder: &Path, name: &ApproverName) -> PathBuf {
    folder.join(format!("{name}.key"))
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<ChaCha20Poly1305> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|error| Error::invalid(error.to_string()))?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(|error| Error::invalid(error.to_string()))?;
    Ok(ChaCha20Poly1305::new(&key.into()))
}

fn broken(name: &ApproverName) -> Error {
    Error::new(Code::DecisionRefused, format!("the key of `{name}` is damaged"))
        .hint("restore the file, or let another approver enrol you anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let (sealed, key) = SealedKey::create(&"ada".into(), "correct horse").unwrap();
        sealed.save(folder.path()).unwrap();
        let loaded = SealedKey::load(folder.path(), None).unwrap();
        assert_eq!(loaded.open("correct horse").unwrap().to_bytes(), key.to_bytes());
        assert_eq!(loaded.open("wrong horse").unwrap_err().code, Code::DeniedByPolicy);
        assert!(sealed.save(folder.path()).is_err(), "a key is never overwritten");
        assert!(SealedKey::create(&"bob".into(), "short").is_err());
        let text = std::fs::read_to_string(folder.path().join("ada.key")).unwrap();
        assert!(!text.contains(&hex(&key.to_bytes())));
    }
}
