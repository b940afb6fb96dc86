//! What a passkey signs counts for exactly one decision, at exactly one page; what comes from outside is read byte for byte.

mod support;

use ciborium::cbor;
use interlock::model::{
    Decision, DecisionKind, DecisionVerdict, Sha256, SignedDecision, Timestamp,
    decision::{ApproverKey, Signature},
    passkey::{Assertion, Passkey, Registration, RelyingParty, Unfit},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::authenticator::{Authenticator, Gesture, PRESENT, base64, bytes_of};

const ORIGIN: &str = "http://localhost:8420";

fn decision() -> Decision {
    Decision {
        kind: DecisionKind::Plan,
        subject_sha256: Sha256::of(b"plan"),
        environment: Some("production".into()),
        nonce: "00".repeat(16),
        expires_at: Timestamp(1),
        verdict: DecisionVerdict::Approve,
        reason: Some("looks right".into()),
        approver: "ada".into(),
        audit_head: Sha256::of(b"head"),
        origin: Some(ORIGIN.into()),
    }
}

fn assertion(answer: &Value) -> Assertion {
    let part = |name: &str| answer["response"][name].as_str().unwrap().to_owned();
    Assertion {
        credential_id: answer["id"].as_str().unwrap().into(),
        authenticator_data: part("authenticatorData"),
        client_data_json: part("clientDataJSON"),
        signature: part("signature"),
    }
}

fn registration(answer: &Value) -> Registration {
    let part = |name: &str| answer["response"][name].as_str().unwrap().to_owned();
    let credential_id = answer["id"].as_str().unwrap().into();
    Registration { credential_id, client_data_json: part("clientDataJSON"), attestation_object: part("attestationObject") }
}

fn asked(challenge: &[u8]) -> Value {
    json!({ "challenge": base64(challenge), "rpId": "localhost", "userVerification": "required" })
}

fn signed_with(authenticator: &mut Authenticator, decision: &Decision, otherwise: impl FnOnce(&mut Gesture)) -> SignedDecision {
    let answer = authenticator.get_with(&asked(&decision.challenge()), ORIGIN, otherwise);
    SignedDecision { decision: decision.clone(), signature: Signature::Passkey(assertion(&answer)) }
}

fn key_of(authenticator: &Authenticator) -> ApproverKey {
    ApproverKey::Passkey(authenticator.passkey("localhost"))
}

#[test]
fn an_assertion_counts_for_exactly_the_decision_it_was_made_for() {
    for mut authenticator in [Authenticator::es256(), Authenticator::eddsa()] {
        let key = key_of(&authenticator);
        let signed = signed_with(&mut authenticator, &decision(), |_| ());
        assert_eq!(signed.check(&key), Ok(()));
        // What is kept is what was signed.
        let kept: SignedDecision = serde_json::from_str(&serde_json::to_string(&signed).unwrap()).unwrap();
        assert_eq!(kept.check(&serde_json::from_value(json!(key)).unwrap()), Ok(()));

        let original = json!(signed.decision);
        let changes = [
            ("kind", json!("runbook")),
            ("subject_sha256", json!("00")),
            ("environment", json!("staging")),
            ("nonce", json!("11")),
            ("expires_at", json!(2)),
            ("verdict", json!("reject")),
            ("reason", json!("looks wrong")),
            ("reason", Value::Null),
            ("approver", json!("eve")),
            ("audit_head", json!("00")),
        ];
        for (field, value) in changes {
            let mut changed = original.clone();
            changed[field] = value;
            let forged = SignedDecision { decision: serde_json::from_value(changed).unwrap(), ..signed.clone() };
            assert_eq!(forged.check(&key), Err(Unfit::OtherChallenge), "{field}");
        }
        let elsewhere = |origin: Option<&str>| {
            let decision = Decision { origin: origin.map(str::to_owned), ..decision() };
            SignedDecision { decision, ..signed.clone() }.check(&key)
        };
        assert!(matches!(elsewhere(Some("http://localhost:8421")), Err(Unfit::OtherOrigin { .. })));
        for none in [None, Some(""), Some("http://127.0.0.1:8420")] {
            assert_eq!(elsewhere(none), Err(Unfit::NoPage));
        }
        // Neither kind of key takes the other's signature.
        let by_hand = SignedDecision { signature: Signature::Ed25519("00".repeat(64)), ..signed.clone() };
        assert_eq!(by_hand.check(&key), Err(Unfit::OtherCredential));
        let terminal: ApproverKey = serde_json::from_value(json!("00".repeat(32))).unwrap();
        assert_eq!(signed.check(&terminal), Err(Unfit::OtherCredential));
    }
}

#[test]
fn what_a_browser_or_authenticator_says_otherwise_is_refused_by_name() {
    let decision = decision();
    for mut authenticator in [Authenticator::es256(), Authenticator::eddsa()] {
        let key = key_of(&authenticator);
        let mut refused = |otherwise: &dyn Fn(&mut Gesture)| signed_with(&mut authenticator, &decision, otherwise).check(&key).unwrap_err();
        for origin in
            ["http://localhost:8421", "http://localhost", "https://localhost:8420", "http://localhost:8420/", "http://evil.test:8420"]
        {
            let other = refused(&|gesture| gesture.origin = origin.into());
            assert_eq!(other, Unfit::OtherOrigin { shown: origin.into(), wanted: ORIGIN.into() });
        }
        assert_eq!(refused(&|gesture| gesture.rp_id = "evil.test".into()), Unfit::OtherParty("localhost".into()));
        assert_eq!(refused(&|gesture| gesture.flags = PRESENT), Unfit::NotVerified);
        assert_eq!(refused(&|gesture| gesture.flags = 0x04), Unfit::NotPresent);
        assert_eq!(refused(&|gesture| gesture.cross_origin = true), Unfit::CrossOrigin);
        assert!(matches!(refused(&|gesture| gesture.kind = "webauthn.create".into()), Unfit::WrongType { .. }));
        assert_eq!(refused(&|gesture| gesture.challenge = base64(&[1; 32])), Unfit::OtherChallenge);
        assert!(matches!(refused(&|gesture| gesture.flags = 0x15), Unfit::Malformed(_)), "backed up, and cannot be");
        assert!(matches!(refused(&|gesture| gesture.extensions = vec![0x01]), Unfit::Malformed(_)), "no map");
        assert!(matches!(refused(&|gesture| gesture.extensions = vec![0xa0, 0x00]), Unfit::Malformed(_)), "more behind it");
        // The positive control: what may be so.
        for allowed in [|gesture: &mut Gesture| gesture.flags = 0x1d, |gesture: &mut Gesture| gesture.extensions = vec![0xa0]] {
            assert_eq!(signed_with(&mut authenticator, &decision, allowed).check(&key), Ok(()));
        }
        let foreign = key_of(&Authenticator::es256());
        assert_eq!(signed_with(&mut authenticator, &decision, |_| ()).check(&foreign), Err(Unfit::OtherCredential));
        let mut same_name = Authenticator::es256();
        same_name.id = authenticator.id.clone();
        assert_eq!(signed_with(&mut authenticator, &decision, |_| ()).check(&key_of(&same_name)), Err(Unfit::Signature));
    }
}

#[test]
fn one_changed_bit_anywhere_and_an_assertion_counts_no_longer() {
    for mut authenticator in [Authenticator::es256(), Authenticator::eddsa()] {
        let key = key_of(&authenticator);
        let signed = signed_with(&mut authenticator, &decision(), |_| ());
        let Signature::Passkey(whole) = &signed.signature else { panic!("it is a passkey's") };
        let mut looked_at = 0;
        for part in ["authenticator_data", "client_data_json", "signature"] {
            let bytes = bytes_of(json!(whole)[part].as_str().unwrap());
            for at in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[at / 8] ^= 1 << (at % 8);
                let mut assertion = json!(whole);
                assertion[part] = json!(base64(&changed));
                let signature = Signature::Passkey(serde_json::from_value(assertion).unwrap());
                assert!(!SignedDecision { signature, ..signed.clone() }.is_signed_by(&key), "{part}, bit {at}");
                looked_at += 1;
            }
        }
        assert!(looked_at > 1_500, "only {looked_at} bits were changed");
        assert!(signed.is_signed_by(&key), "unchanged it counts");
    }
}

#[test]
fn a_key_of_rsa_counts_too() {
    // Made with OpenSSL: 2048 bits, e = 65537, over the challenge of 32 nines at this origin.
    let public_key = "a4010303390100205901009c71a266f012fd034a914f1a3499024bad4b48c5f0e6b1ffdb693f512b3279d29f0b0c0ae392f8be7a75308d3469295384e4f\
                      64b1f2725c0dcde60614b8d63c5542e2340d1ca997599c0e74e3de1cea5966001699702b2bc8c11296e5411a2ee55a4500423293cdfbf950bfe286252ed\
                      997bcaddec20be95b0621549be0bb9c0f27ff6b8fcd9d426d5b664afddc883fff1dfc8c12ea64ab0505d63a695744e662598c43145c3a86378e30e9ff5a\
                      993af14cf6ef6b7f19cec5549ba630114dc0f81e6a7361434b72091c6d93d36ce2fbb735157b459d40165238613df877397c88ad514278a1bb55b3bcc62\
                      77942549d6060885ef8f4c1bd0d0e06409242fe8152143010001";
    let passkey: Passkey =
        serde_json::from_value(json!({ "credential_id": "AA", "public_key": public_key, "rp_id": "localhost", "sign_count": 0 })).unwrap();
    assert_eq!(passkey.check(), Ok(()));
    let client_data = "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiQ1FrSkNRa0pDUWtKQ1FrSkNRa0pDUWtKQ1FrSkNRa0pDUWtKQ1FrSkNRayIsIm9yaWdpbiI6Imh0d\
                       HA6Ly9sb2NhbGhvc3Q6ODQyMCIsImNyb3NzT3JpZ2luIjpmYWxzZX0";
    let made = |signature: &str| Assertion {
        credential_id: "AA".into(),
        authenticator_data: "SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFAAAABw".into(),
        client_data_json: client_data.into(),
        signature: signature.into(),
    };
    let good = "jsPi47nJS6FVkgqwjMShRSySRLmuotUEAtrnVU83FaDk0YaOb-rtXEsnOttuDVHDXFiD51hlph0Ep9k2yGu69LTE-Ubh9s0Q2q79TQYFDbTLlKGQWRWKkpKw99tARpRqfd\
                gVb5Eb1vs3bPdY9FOrOZy0zsAcJE6IEjDZQvWYeq3Lva_VetrFDNgzGoIwhh-JTGnLjOnhTu_AnCP4P5gk4F33udJD-53YWDzlLTEOeO9c5nadFDGygliu1smN8dVaFa6vz_\
                _hzIkXnowVvRkm_jPsNJEZzvkjjkncIUSI3lrNJ5h52LYxVkXtB0ER1KVafjuITebX52g0cqldH3jXgg";
    let party = RelyingParty::at(ORIGIN).unwrap();
    assert_eq!(passkey.verify(&made(good), &[9; 32], &party), Ok(()));
    assert_eq!(made(good).sign_count(), Ok(7));
    assert_eq!(passkey.verify(&made(good), &[8; 32], &party), Err(Unfit::OtherChallenge));
    assert_eq!(passkey.verify(&made(&good.replacen('j', "k", 1)), &[9; 32], &party), Err(Unfit::Signature));
}

#[test]
fn a_registration_gives_the_passkey_that_was_made() {
    let party = RelyingParty::at(ORIGIN).unwrap();
    let options =
        json!({ "challenge": base64(&[3; 32]), "rp": { "id": "localhost" }, "authenticatorSelection": { "userVerification": "required" } });
    for mut authenticator in [Authenticator::es256(), Authenticator::eddsa()] {
        let made = registration(&authenticator.create(&options, ORIGIN)).passkey(&[3; 32], &party).unwrap();
        let sign_count = authenticator.counter.unwrap_or(0);
        assert_eq!(made, Passkey { sign_count, ..authenticator.passkey("localhost") });
        assert_eq!(made.check(), Ok(()));
        assert_eq!(made.public_key.fingerprint().len(), 19, "as those of other keys");

        let mut refused = |otherwise: &dyn Fn(&mut Gesture)| {
            registration(&authenticator.create_with(&options, ORIGIN, otherwise)).passkey(&[3; 32], &party).unwrap_err()
        };
        assert!(matches!(refused(&|gesture| gesture.origin = "http://localhost:1".into()), Unfit::OtherOrigin { .. }));
        assert_eq!(refused(&|gesture| gesture.rp_id = "evil.test".into()), Unfit::OtherParty("localhost".into()));
        assert_eq!(refused(&|gesture| gesture.flags = PRESENT), Unfit::NotVerified);
        assert_eq!(refused(&|gesture| gesture.challenge = base64(&[4; 32])), Unfit::OtherChallenge);
        assert!(matches!(refused(&|gesture| gesture.kind = "webauthn.get".into()), Unfit::WrongType { .. }));
        let good = registration(&authenticator.create(&options, ORIGIN));
        assert_eq!(Registration { credential_id: "AAAA".into(), ..good.clone() }.passkey(&[3; 32], &party), Err(Unfit::OtherCredential));
        let mut longer = bytes_of(&good.attestation_object);
        longer.push(0);
        assert!(Registration { attestation_object: base64(&longer), ..good }.passkey(&[3; 32], &party).is_err());
    }
}

#[test]
fn only_an_origin_that_browsers_give_passkeys_to_is_one() {
    for (origin, id) in [
        ("http://localhost:8420", "localhost"),
        ("http://localhost", "localhost"),
        ("https://interlock.example.com", "interlock.example.com"),
        ("https://interlock.example.com:8443", "interlock.example.com"),
    ] {
        let party = RelyingParty::at(origin).unwrap();
        assert_eq!((party.origin(), party.id()), (origin, id));
    }
    let refused = [
        "",
        "localhost",
        "http://",
        "http://127.0.0.1:8420",
        "http://[::1]:8420",
        "http://example.com",
        "HTTP://localhost",
        "http://Localhost",
    ];
    let also = ["http://localhost:", "http://localhost:80", "https://example.com:443", "http://localhost:08420", "http://localhost:99999"];
    let more = ["http://localhost:8420/", "http://ada@localhost", "https://exa mple.com", "null", "file://localhost", "https://127.0.0.1"];
    for origin in refused.iter().chain(&also).chain(&more) {
        assert_eq!(RelyingParty::at(origin), None, "{origin}");
    }
}

#[test]
fn keys_of_another_kind_or_shape_are_none() {
    let key = |public_key: &str| {
        let passkey = json!({ "credential_id": "AA", "public_key": public_key, "rp_id": "localhost", "sign_count": 0 });
        serde_json::from_value::<Passkey>(passkey).unwrap().check()
    };
    let (x, good) = ("00".repeat(32), support::authenticator::Authenticator::es256().cose());
    let good = interlock::model::digest::hex(&good);
    assert_eq!(key(&good), Ok(()));
    for (why, bytes) in [
        ("nothing", String::new()),
        ("no hex", "zz".into()),
        ("no CBOR", "ff".into()),
        ("no map", "01".into()),
        ("no fields", "a0".into()),
        ("ES384", format!("a501020338222002215820{x}225820{x}")),
        ("another curve", format!("a5010203262008215820{x}225820{x}")),
        ("a short coordinate", format!("a5010203262001214100225820{x}")),
        ("a field twice", format!("a601020102{}", &good[6..])),
        ("more behind it", format!("{good}00")),
        ("cut off", good[..good.len() - 2].to_owned()),
        ("Ed25519 that is no point", format!("a4010103272006215820{}", "02".to_owned() + &"00".repeat(31))),
        ("RSA of 8 bits", "a4010303390100204101214103".into()),
        ("40 levels deep", "81".repeat(40) + "00"),
    ] {
        assert!(key(&bytes).is_err(), "{why}");
    }
    let other = |field: &str, value: &str| {
        let mut passkey = json!(Authenticator::es256().passkey("localhost"));
        passkey[field] = json!(value);
        serde_json::from_value::<Passkey>(passkey).unwrap().check().is_err()
    };
    for (field, value) in [
        ("credential_id", ""),
        ("credential_id", "A"),
        ("credential_id", "A+/="),
        ("rp_id", ""),
        ("rp_id", "localhost:1"),
        ("rp_id", "10.0.0.1"),
    ] {
        assert!(other(field, value), "{field} {value}");
    }
    assert!(other("credential_id", &base64(&[7; 1_024])) && !other("credential_id", &base64(&[7; 1_023])));
}

/// Returns good bytes with one piece of them cut out, changed or put in.
fn damaged(good: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let good = good.to_vec();
    (0..=good.len(), 0..=good.len(), proptest::collection::vec(any::<u8>(), 0..12)).prop_map(move |(one, other, new)| {
        let (from, to) = (one.min(other), one.max(other));
        [&good[..from], &new, &good[to..]].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_from_outside_is_taken_for_what_it_is_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let party = RelyingParty::at(ORIGIN).unwrap();
        let text = base64(&bytes);
        let passkey = Authenticator::eddsa().passkey("localhost");
        let assertion = Assertion {
            credential_id: passkey.credential_id.clone(), authenticator_data: text.clone(), client_data_json: text.clone(), signature: text.clone(),
        };
        prop_assert!(passkey.verify(&assertion, &[0; 32], &party).is_err());
        let _ = assertion.sign_count();
        let registration = Registration { credential_id: text.clone(), client_data_json: text.clone(), attestation_object: text };
        prop_assert!(registration.passkey(&[0; 32], &party).is_err());
    }

    #[test]
    fn a_damaged_registration_gives_the_same_passkey_or_none(
        object in damaged(&object()),
    ) {
        let party = RelyingParty::at(ORIGIN).unwrap();
        let (credential_id, client_data_json) = (base64(ID), client_data());
        let whole = object == self::object();
        let made = Registration { credential_id, client_data_json, attestation_object: base64(&object) }.passkey(&[3; 32], &party);
        if let Ok(made) = &made {
            // Only the key itself and the counter are anybody's guess: there is no signature over them.
            prop_assert_eq!((&made.credential_id, &made.rp_id), (&base64(ID), &"localhost".to_owned()));
            prop_assert!(made.check().is_ok());
        }
        prop_assert!(made.is_ok() || !whole);
    }
}

const ID: &[u8] = b"an-id-of-a-key";

fn client_data() -> String {
    base64(json!({ "type": "webauthn.create", "challenge": base64(&[3; 32]), "origin": ORIGIN }).to_string().as_bytes())
}

/// The same each time, so that a failure shrinks.
fn object() -> Vec<u8> {
    let mut cose = vec![0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];
    cose.extend(ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().as_bytes());
    let rp = <sha2::Sha256 as sha2::Digest>::digest(b"localhost");
    let data = [&rp[..], &[0x45, 0, 0, 0, 1], &[0; 16], &(ID.len() as u16).to_be_bytes(), ID, &cose].concat();
    let object = cbor!({ "fmt" => "none", "attStmt" => {}, "authData" => ciborium::Value::from(&data[..]) }).unwrap();
    let mut bytes = Vec::new();
    ciborium::into_writer(&object, &mut bytes).unwrap();
    bytes
}
