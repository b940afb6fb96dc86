//! A software authenticator and the browser before it: makes passkeys and assertions byte for byte, also ones that must not count.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::{Value as Cbor, cbor};
use ed25519_dalek::{Signer as _, SigningKey};
use interlock::model::{digest::hex, passkey::Passkey};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A person was there, and was verified.
pub const VERIFIED: u8 = 0x05;
/// A person was there.
pub const PRESENT: u8 = 0x01;

/// A passkey in software.
pub struct Authenticator {
    /// The credential's id.
    pub id: Vec<u8>,
    /// How often it has signed; with `None` it counts nothing.
    pub counter: Option<u32>,
    key: Key,
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(SigningKey),
}

/// What browser and authenticator are about to say.
#[derive(Clone)]
pub struct Gesture {
    /// `webauthn.get` or `webauthn.create`.
    pub kind: String,
    /// base64url.
    pub challenge: String,
    /// Where the page is.
    pub origin: String,
    /// Whether another site has embedded it.
    pub cross_origin: bool,
    /// Whose passkey it is.
    pub rp_id: String,
    /// Who was there.
    pub flags: u8,
    /// What the authenticator has counted.
    pub counter: u32,
    /// What follows in the authenticator's data.
    pub extensions: Vec<u8>,
}

impl Authenticator {
    /// Returns a new passkey of P-256, which counts.
    pub fn es256() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Authenticator { id: rand::random::<[u8; 16]>().to_vec(), counter: Some(0), key: Key::Es256(key) }
    }

    /// Returns a new passkey of Ed25519, which counts nothing, as those that are synchronised do.
    pub fn eddsa() -> Self {
        let key = SigningKey::from_bytes(&rand::random());
        Authenticator { id: rand::random::<[u8; 20]>().to_vec(), counter: None, key: Key::EdDsa(key) }
    }

    /// Returns the credential's id as browsers write it.
    pub fn name(&self) -> String {
        base64(&self.id)
    }

    /// Returns what an interlock keeps of it.
    pub fn passkey(&self, rp_id: &str) -> Passkey {
        let public_key = serde_json::from_value(json!(hex(&self.cose()))).unwrap();
        Passkey { credential_id: self.name(), public_key, rp_id: rp_id.into(), sign_count: 0 }
    }

    /// Returns the public key as COSE.
    pub fn cose(&self) -> Vec<u8> {
        let key = match &self.key {
            Key::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                cbor!({ 1 => 2, 3 => -7, -1 => 1, -2 => Cbor::from(x), -3 => Cbor::from(y) })
            }
            Key::EdDsa(key) => cbor!({ 1 => 1, 3 => -8, -1 => 6, -2 => Cbor::from(&key.verifying_key().as_bytes()[..]) }),
        };
        encoded(&key.unwrap())
    }

    /// Answers `navigator.credentials.create`.
    pub fn create(&mut self, options: &Value, origin: &str) -> Value {
        self.create_with(options, origin, |_| ())
    }

    /// Answers it otherwise.
    pub fn create_with(&mut self, options: &Value, origin: &str, otherwise: impl FnOnce(&mut Gesture)) -> Value {
        assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
        let mut gesture = self.gesture("webauthn.create", options, &options["rp"]["id"], origin);
        otherwise(&mut gesture);
        let id = [&(self.id.len() as u16).to_be_bytes()[..], &self.id].concat();
        let credential = [&[0; 16][..], &id, &self.cose()].concat();
        let data = gesture.authenticator_data(0x40, &credential);
        let object = cbor!({ "fmt" => "none", "attStmt" => {}, "authData" => Cbor::from(&data[..]) }).unwrap();
        let response = json!({ "clientDataJSON": base64(&gesture.client_data()), "attestationObject": base64(&encoded(&object)) });
        json!({ "id": self.name(), "rawId": self.name(), "type": "public-key", "response": response, "clientExtensionResults": {} })
    }

    /// Answers `navigator.credentials.get`.
    pub fn get(&mut self, options: &Value, origin: &str) -> Value {
        self.get_with(options, origin, |_| ())
    }

    /// Answers it otherwise.
    pub fn get_with(&mut self, options: &Value, origin: &str, otherwise: impl FnOnce(&mut Gesture)) -> Value {
        assert_eq!(options["userVerification"], "required");
        let mut gesture = self.gesture("webauthn.get", options, &options["rpId"], origin);
        otherwise(&mut gesture);
        let (client_data, data) = (gesture.client_data(), gesture.authenticator_data(0, &[]));
        let signature = self.sign(&[&data[..], &Sha256::digest(&client_data)].concat());
        let response = json!({
            "clientDataJSON": base64(&client_data), "authenticatorData": base64(&data), "signature": base64(&signature), "userHandle": null,
        });
        json!({ "id": self.name(), "rawId": self.name(), "type": "public-key", "response": response, "clientExtensionResults": {} })
    }

    fn gesture(&mut self, kind: &str, options: &Value, rp_id: &Value, origin: &str) -> Gesture {
        self.counter = self.counter.map(|counter| counter + 1);
        Gesture {
            kind: kind.into(),
            challenge: options["challenge"].as_str().unwrap().into(),
            origin: origin.into(),
            cross_origin: false,
            rp_id: rp_id.as_str().unwrap().into(),
            flags: VERIFIED,
            counter: self.counter.unwrap_or(0),
            extensions: Vec::new(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).to_bytes().to_vec(),
        }
    }
}

impl Gesture {
    fn client_data(&self) -> Vec<u8> {
        let Gesture { kind, challenge, origin, cross_origin, .. } = self;
        json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": cross_origin }).to_string().into_bytes()
    }

    fn authenticator_data(&self, flags: u8, credential: &[u8]) -> Vec<u8> {
        let extensions = if self.extensions.is_empty() { 0 } else { 0x80 };
        let flags = [self.flags | flags | extensions];
        [&Sha256::digest(self.rp_id.as_bytes())[..], &flags, &self.counter.to_be_bytes(), credential, &self.extensions].concat()
    }
}

/// Returns bytes as browsers write them.
pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the bytes that browsers write so.
pub fn bytes_of(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn encoded(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}
