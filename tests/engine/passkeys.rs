//! People decide with passkeys: enrolled by a link or by a decision, asked at one origin, used once, and checked again at execution.

use crate::{
    support::{
        authenticator::{Authenticator, PRESENT, base64},
        databases::databases,
    },
    world::{Shop, person},
};
use interlock::{
    decisions::{
        self, Question,
        passkeys::{AskedDecision, DecisionAsked, Enrolled, LinkAsked, Passkeys, link, waiting},
    },
    error::{Code, Error},
    model::{Caller, DecisionKind, DecisionVerdict, Sha256, SignedDecision, decision::Signature},
};
use serde_json::{Value, json};
use std::time::Duration;

const ORIGIN: &str = "http://localhost:8420";

type Otherwise = fn(&mut crate::support::authenticator::Gesture);

/// A page, and the shop behind it.
pub struct Page<'a> {
    shop: &'a Shop,
    passkeys: Passkeys,
}

impl<'a> Page<'a> {
    pub fn of(shop: &'a Shop) -> Self {
        Page { shop, passkeys: Passkeys::at(shop.engine.clone(), ORIGIN).unwrap() }
    }

    async fn link(&self, name: &str, role: &str) -> Result<String, Error> {
        let asked = LinkAsked { name: name.into(), role: role.into() };
        link(&self.shop.engine, &person(), &asked).await.map(|link| link.token)
    }

    /// Makes a passkey by a link.
    async fn enrol(&self, name: &str, role: &str, authenticator: &mut Authenticator) -> Enrolled {
        let token = self.link(name, role).await.unwrap();
        let asked = self.passkeys.begin_enrolment(&token).await.unwrap();
        assert_eq!((asked.name.as_str(), asked.role.as_str()), (name, role));
        let made = authenticator.create(&asked.options, ORIGIN);
        self.passkeys.finish_enrolment(&asked.handle, &made).await.unwrap()
    }

    /// Makes a passkey by a link, and has the chairman admit it.
    pub async fn admitted(&self, name: &str, role: &str, mut authenticator: Authenticator) -> Authenticator {
        let enrolled = self.enrol(name, role, &mut authenticator).await;
        assert!(enrolled.waits);
        self.shop.sign(DecisionKind::Approver, json!(enrolled.enrolment), DecisionVerdict::Approve).await;
        authenticator
    }

    async fn asked(&self, who: &str, question: &Question) -> Result<AskedDecision, Error> {
        let shown_sha256 = decisions::review(&self.shop.engine, question).await?.subject_sha256;
        let reason = (question.verdict == DecisionVerdict::Reject).then(|| "not on a Friday".to_owned());
        let asked = DecisionAsked { question: question.clone(), shown_sha256, reason, approver: who.into() };
        self.passkeys.begin_decision(&asked).await
    }

    async fn finish(&self, asked: &AskedDecision, answer: &Value) -> Result<Value, Error> {
        self.passkeys.finish_decision(&Caller::on_page(&asked.decision.approver), &asked.handle, answer).await
    }

    pub async fn decide(&self, who: &str, question: &Question, authenticator: &mut Authenticator) -> Result<Value, Error> {
        let asked = self.asked(who, question).await?;
        let answer = authenticator.get(&asked.options, ORIGIN);
        self.finish(&asked, &answer).await
    }
}

pub fn approves(plan: &Value) -> Question {
    Question { kind: DecisionKind::Plan, subject: plan.clone(), verdict: DecisionVerdict::Approve }
}

/// Returns what the record says of refused decisions, oldest first.
async fn recorded(shop: &Shop, action: &str) -> Vec<Value> {
    let entries = shop.engine.store.audit_entries(0, 10_000).await.unwrap();
    entries.into_iter().filter(|entry| entry.action == action).map(|entry| entry.detail).collect()
}

pub fn refusal(refused: Result<Value, Error>, says: &str) {
    let error = refused.expect_err(says);
    assert_eq!(error.code, Code::DecisionRefused, "{says}: {error:?}");
    assert!(error.message.contains(says), "`{}` does not say `{says}`", error.message);
}

#[tokio::test]
async fn the_first_approver_enrols_by_a_link_and_decides_by_passkey_alone() {
    for database in databases().await {
        let shop = Shop::bare(&database.url, "").await;
        let page = Page::of(&shop);
        let mut passkey = Authenticator::es256();
        let enrolled = page.enrol("ada", "chairman", &mut passkey).await;
        assert!(!enrolled.waits, "trusted on first use");
        let applied = shop.engine.apply(&person(), &shop.text).await.unwrap();
        let configuration =
            Question { kind: DecisionKind::Configuration, subject: json!(applied.revision), verdict: DecisionVerdict::Approve };
        page.decide("ada", &configuration, &mut passkey).await.unwrap();
        shop.deploy("1.0.0").await;
        let directive = shop.order("production", "1.0.0").await;
        let fact = json!({ "directive": directive, "fact": "uat" });
        page.decide("ada", &Question { kind: DecisionKind::SignOff, subject: fact, verdict: DecisionVerdict::Approve }, &mut passkey)
            .await
            .unwrap();
        shop.must("run_predeploy_checks", json!({ "directive": directive })).await;
        let plan = shop.must("plan_deployment", json!({ "directive": directive })).await["plan"].take();
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_required");

        // A no needs a reason and tells it; a yes after all reopens.
        let no = Question { verdict: DecisionVerdict::Reject, ..approves(&plan) };
        page.decide("ada", &no, &mut passkey).await.unwrap();
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_rejected");
        page.decide("ada", &approves(&plan), &mut passkey).await.unwrap();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded", "{}", database.name);

        // What is kept can be checked by anybody who has the record, and not after one byte of it has changed.
        let subject = shop.engine.store.plan(&plan.as_str().unwrap().into()).await.unwrap().unwrap().plan.sha256();
        let kept = shop.engine.store.decisions_over(&subject).await.unwrap();
        let ada = shop.engine.store.approver(&"ada".into()).await.unwrap().unwrap();
        assert_eq!(kept.len(), 2);
        for signed in &kept {
            assert!(ada.has_signed(signed) && signed.decision.origin.as_deref() == Some(ORIGIN));
            let Signature::Passkey(assertion) = &signed.signature else { panic!("{signed:?}") };
            for part in ["authenticator_data", "client_data_json", "signature"] {
                let mut changed = json!(assertion);
                let text = changed[part].as_str().unwrap().to_owned();
                let other = if text.as_bytes()[9] == b'A' { "B" } else { "A" };
                changed[part] = json!(format!("{}{other}{}", &text[..9], &text[10..]));
                let signature = Signature::Passkey(serde_json::from_value(changed).unwrap());
                assert!(!ada.has_signed(&SignedDecision { signature, ..signed.clone() }), "{part}");
            }
        }
        assert_eq!(shop.engine.store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn what_a_passkey_must_not_do_is_refused_by_name_and_recorded() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let page = Page::of(&shop);
        let mut passkey = page.admitted("ada", "chairman", Authenticator::es256()).await;
        let mut other = page.admitted("bob", "chairman", Authenticator::eddsa()).await;
        let mut intern = page.admitted("ian", "intern", Authenticator::eddsa()).await;
        shop.deploy("1.0.0").await;
        shop.deploy("2.0.0").await;
        let (plan, another) = (shop.plan_in_production("1.0.0").await, shop.plan_in_production("2.0.0").await);
        let question = approves(&plan);
        let begin = async || page.asked("ada", &question).await.unwrap();

        let gestures: [(&str, Otherwise); 6] = [
            ("not at `http://localhost:8420`", |gesture| gesture.origin = "http://evil.test:8420".into()),
            ("made at `http://localhost:8421`", |gesture| gesture.origin = "http://localhost:8421".into()),
            ("another site than `localhost`", |gesture| gesture.rp_id = "evil.test".into()),
            ("the person was not verified", |gesture| gesture.flags = PRESENT),
            ("another site has embedded", |gesture| gesture.cross_origin = true),
            ("not a `webauthn.get`", |gesture| gesture.kind = "webauthn.create".into()),
        ];
        for (says, otherwise) in gestures {
            let asked = begin().await;
            let answer = passkey.get_with(&asked.options, ORIGIN, otherwise);
            refusal(page.finish(&asked, &answer).await, says);
            // It has ended: not even the right answer counts any more.
            let late = passkey.get(&asked.options, ORIGIN);
            refusal(page.finish(&asked, &late).await, "given before");
        }
        let (asked, of_another) = (begin().await, page.asked("ada", &approves(&another)).await.unwrap());
        let answer = passkey.get(&of_another.options, ORIGIN);
        refusal(page.finish(&asked, &answer).await, "another challenge");
        let asked = begin().await;
        refusal(page.finish(&asked, &other.get(&asked.options, ORIGIN)).await, "another passkey");
        // In the session of somebody else not even her own passkey decides.
        let (asked, bob) = (begin().await, Caller::on_page(&"bob".into()));
        let answer = passkey.get(&asked.options, ORIGIN);
        refusal(page.passkeys.finish_decision(&bob, &asked.handle, &answer).await, "`ada` is to sign this, and `bob` answers");
        let mut stolen_name = Authenticator::es256();
        stolen_name.id = passkey.id.clone();
        let asked = begin().await;
        refusal(page.finish(&asked, &stolen_name.get(&asked.options, ORIGIN)).await, "not that key's over these bytes");
        let asked = begin().await;
        let answer = passkey.get(&asked.options, ORIGIN);
        shop.clock.advance(Duration::from_secs(301));
        refusal(page.finish(&asked, &answer).await, "too late");

        // Who may not, or does not exist, is told before any gesture.
        refusal(page.asked("ian", &question).await.map(|_| json!(0)), "does not have the role");
        refusal(page.asked("eve", &question).await.map(|_| json!(0)), "nobody of that name");
        let no = Question { verdict: DecisionVerdict::Reject, ..question.clone() };
        let shown_sha256 = decisions::review(&shop.engine, &no).await.unwrap().subject_sha256;
        for reason in [None, Some(" ".to_owned())] {
            let asked = DecisionAsked { question: no.clone(), shown_sha256: shown_sha256.clone(), reason, approver: "ada".into() };
            refusal(page.passkeys.begin_decision(&asked).await.map(|_| json!(0)), "needs a reason");
        }
        let stale =
            DecisionAsked { question: question.clone(), shown_sha256: Sha256::of(b"another page"), reason: None, approver: "ada".into() };
        refusal(page.passkeys.begin_decision(&stale).await.map(|_| json!(0)), "not what the page has shown");
        let nobody = intern.get(&json!({ "challenge": base64(&[0; 32]), "rpId": "localhost", "userVerification": "required" }), ORIGIN);
        refusal(page.passkeys.finish_decision(&person(), "no handle", &nobody).await, "given before");
        for answer in
            [json!(null), json!({}), json!({ "id": 1 }), json!({ "id": "a", "response": {} }), json!({ "id": "a", "response": [] })]
        {
            let asked = begin().await;
            assert_eq!(page.finish(&asked, &answer).await.unwrap_err().code, Code::InvalidArguments, "{answer}");
        }

        // A socket is no page: there an assertion never counts, not even one that would here.
        let asked = begin().await;
        let answer = passkey.get(&asked.options, ORIGIN);
        let part = |name: &str| answer["response"][name].as_str().unwrap().to_owned();
        let assertion = json!({ "credential_id": answer["id"], "authenticator_data": part("authenticatorData"),
            "client_data_json": part("clientDataJSON"), "signature": part("signature") });
        let signature = Signature::Passkey(serde_json::from_value(assertion).unwrap());
        let signed = SignedDecision { decision: asked.decision.clone(), signature };
        refusal(decisions::decide(&shop.engine, &person(), &question, &signed).await, "on the page");

        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_required");
        let refused = recorded(&shop, "refuse_decision").await;
        assert_eq!(refused.len(), 10, "{refused:#?}");
        assert!(refused.iter().all(|entry| entry["subject_sha256"].is_string() && entry["why"].is_string()));

        // The positive control: the same person, the same plan, once.
        let asked = begin().await;
        let answer = passkey.get(&asked.options, ORIGIN);
        page.finish(&asked, &answer).await.unwrap();
        refusal(page.finish(&asked, &answer).await, "given before");
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded", "{}", database.name);
        assert_eq!(shop.engine.store.audit_verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn a_passkey_whose_counter_goes_back_was_cloned_and_counts_no_longer() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let page = Page::of(&shop);
        let mut passkey = page.admitted("ada", "chairman", Authenticator::es256()).await;
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        passkey.counter = Some(40);
        page.decide("ada", &approves(&plan), &mut passkey).await.unwrap();
        let no = Question { verdict: DecisionVerdict::Reject, ..approves(&plan) };
        // The same number again is no step on.
        passkey.counter = Some(40);
        refusal(page.decide("ada", &no, &mut passkey).await, "counter went back");
        let cloned = recorded(&shop, "note_cloned").await;
        assert_eq!((cloned.len(), &cloned[0]["counter"], &cloned[0]["counter_before"]), (1, &json!(41), &json!(41)));
        // Nobody knows which of the two it is: none counts, also what it has approved, and what was recorded once stays.
        passkey.counter = Some(100);
        refusal(page.decide("ada", &no, &mut passkey).await, "has no passkey");
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_required");
        let keys = shop.engine.store.approver(&"ada".into()).await.unwrap().unwrap().keys;
        assert_eq!(keys.iter().map(|held| held.cloned_at.is_some()).collect::<Vec<_>>(), [false, true]);
        // The positive control: her other key counts as ever. One that counts nothing is never behind.
        shop.sign(DecisionKind::Plan, plan.clone(), DecisionVerdict::Reject).await;
        let mut synchronised = page.admitted("ada", "chairman", Authenticator::eddsa()).await;
        page.decide("ada", &approves(&plan), &mut synchronised).await.unwrap();
        page.decide("ada", &no, &mut synchronised).await.unwrap();
        page.decide("ada", &approves(&plan), &mut synchronised).await.unwrap();
        let deployment = shop.must("execute_deployment", json!({ "plan": plan })).await["deployment"].take();
        assert_eq!(shop.settled(&deployment).await["state"], "succeeded", "{}", database.name);
    }
}

#[tokio::test]
async fn of_two_who_decide_at_once_one_does_and_what_is_void_is_decided_by_nobody() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let page = Page::of(&shop);
        let mut ada = page.admitted("ada", "chairman", Authenticator::es256()).await;
        let mut bob = page.admitted("bob", "chairman", Authenticator::eddsa()).await;
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        let (first, second) = (page.asked("ada", &approves(&plan)).await.unwrap(), page.asked("bob", &approves(&plan)).await.unwrap());
        let (one, other) = (ada.get(&first.options, ORIGIN), bob.get(&second.options, ORIGIN));
        let (one, other) = tokio::join!(page.finish(&first, &one), page.finish(&second, &other));
        let lost: Vec<Error> = [one, other].into_iter().filter_map(Result::err).collect();
        assert_eq!(lost.iter().map(|error| error.code).collect::<Vec<_>>(), [Code::WrongState], "{}", database.name);

        // Between the question and the answer the configuration changes: the plan is void, and the gesture decides nothing.
        let no = Question { verdict: DecisionVerdict::Reject, ..approves(&plan) };
        let asked = page.asked("ada", &no).await.unwrap();
        shop.configure(&shop.text.replace("keep  = 5", "keep  = 4")).await;
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_void");
        let answer = ada.get(&asked.options, ORIGIN);
        assert_eq!(page.finish(&asked, &answer).await.unwrap_err().code, Code::WrongState);
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_void");
    }
}

#[tokio::test]
async fn a_link_makes_one_passkey_and_an_approver_says_whether_it_counts() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let page = Page::of(&shop);
        let denied = async |token: &str| page.passkeys.begin_enrolment(token).await.unwrap_err().code;
        for none in ["", "00", &"0".repeat(64)] {
            assert_eq!(denied(none).await, Code::DeniedByPolicy);
        }
        for (name, role) in [("Ada", "chairman"), ("bob", ""), ("ada", "intern")] {
            assert_eq!(page.link(name, role).await.unwrap_err().code, Code::InvalidArguments, "{name} {role}");
        }
        // Ten minutes, and not a second more.
        let expired = page.link("bob", "chairman").await.unwrap();
        let asked = page.passkeys.begin_enrolment(&expired).await.unwrap();
        shop.clock.advance(Duration::from_secs(601));
        assert_eq!(denied(&expired).await, Code::DeniedByPolicy);
        let made = Authenticator::es256().create(&asked.options, ORIGIN);
        assert!(page.passkeys.finish_enrolment(&asked.handle, &made).await.is_err());

        // A wrong answer does not use it up; the right one does, once.
        let (token, mut bob) = (page.link("bob", "chairman").await.unwrap(), Authenticator::es256());
        let asked = page.passkeys.begin_enrolment(&token).await.unwrap();
        let wrong = bob.create(&asked.options, "http://localhost:1");
        let refused = page.passkeys.finish_enrolment(&asked.handle, &wrong).await.unwrap_err();
        assert!(refused.message.contains("not at `http://localhost:8420`"), "{refused:?}");
        let (asked, again) = (page.passkeys.begin_enrolment(&token).await.unwrap(), page.passkeys.begin_enrolment(&token).await.unwrap());
        let made = bob.create(&asked.options, ORIGIN);
        let enrolled = page.passkeys.finish_enrolment(&asked.handle, &made).await.unwrap();
        let made = bob.create(&again.options, ORIGIN);
        let twice = page.passkeys.finish_enrolment(&again.handle, &made).await.unwrap_err();
        assert_eq!((twice.code, denied(&token).await), (Code::DeniedByPolicy, Code::DeniedByPolicy));
        let links: String =
            shop.engine.store.audit_entries(0, 10_000).await.unwrap().iter().map(|entry| entry.detail.to_string()).collect();
        assert!(!links.contains(&token), "the record does not know the link");

        // It counts when an approver has signed exactly it.
        assert!(enrolled.waits);
        assert_eq!(waiting(&shop.engine).await.unwrap(), std::slice::from_ref(&enrolled.enrolment));
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        refusal(page.decide("bob", &approves(&plan), &mut bob).await, "nobody of that name");
        let admits = |enrolment: &interlock::decisions::Enrolment| Question {
            kind: DecisionKind::Approver,
            subject: json!(enrolment),
            verdict: DecisionVerdict::Approve,
        };
        shop.sign(DecisionKind::Approver, json!(enrolled.enrolment), DecisionVerdict::Approve).await;
        assert_eq!(waiting(&shop.engine).await.unwrap(), []);
        page.decide("bob", &approves(&plan), &mut bob).await.unwrap();

        // A further key is admitted in its owner's role only; one of bob's own keys may.
        let mut ian = page.admitted("ian", "intern", Authenticator::eddsa()).await;
        let second = page.enrol("bob", "chairman", &mut Authenticator::eddsa()).await;
        assert!(second.waits && second.enrolment.further);
        refusal(page.decide("ian", &admits(&second.enrolment), &mut ian).await, "does not have the role");
        page.decide("bob", &admits(&second.enrolment), &mut bob).await.unwrap();
        let again = page.decide("bob", &admits(&second.enrolment), &mut bob).await.unwrap_err();
        assert_eq!(again.code, Code::WrongState, "a key counts once: {again:?}");
        assert_eq!(shop.engine.store.approver(&"bob".into()).await.unwrap().unwrap().keys.len(), 2, "{}", database.name);
        let options = page.asked("bob", &Question { verdict: DecisionVerdict::Reject, ..approves(&plan) }).await.unwrap().options;
        assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn who_signs_in_is_told_and_a_sign_in_decides_nothing() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let page = Page::of(&shop);
        let mut passkey = page.admitted("ada", "chairman", Authenticator::es256()).await;
        shop.deploy("1.0.0").await;
        let plan = shop.plan_in_production("1.0.0").await;
        let signs_in = async |answer: &Value, handle: &str| page.passkeys.finish_sign_in(handle, answer).await;
        let asked = page.passkeys.begin_sign_in();
        let answer = passkey.get(&asked.options, ORIGIN);
        let signed_in = signs_in(&answer, &asked.handle).await.unwrap();
        assert_eq!((signed_in.name.as_str(), signed_in.role.as_str()), ("ada", "chairman"));
        refusal(signs_in(&answer, &asked.handle).await.map(|_| json!(0)), "given before");

        // What answers a sign-in decides nothing, and what answers a decision signs nobody in.
        let (decision, sign_in) = (page.asked("ada", &approves(&plan)).await.unwrap(), page.passkeys.begin_sign_in());
        refusal(page.finish(&decision, &passkey.get(&sign_in.options, ORIGIN)).await, "another challenge");
        let decision = page.asked("ada", &approves(&plan)).await.unwrap();
        refusal(signs_in(&passkey.get(&decision.options, ORIGIN), &sign_in.handle).await.map(|_| json!(0)), "another challenge");
        let gestures: [(&str, Otherwise); 2] = [
            ("not at `http://localhost:8420`", |gesture| gesture.origin = "http://localhost:1".into()),
            ("was not verified", |gesture| gesture.flags = PRESENT),
        ];
        for (says, otherwise) in gestures {
            let asked = page.passkeys.begin_sign_in();
            let answer = passkey.get_with(&asked.options, ORIGIN, otherwise);
            refusal(signs_in(&answer, &asked.handle).await.map(|_| json!(0)), says);
        }
        let asked = page.passkeys.begin_sign_in();
        refusal(signs_in(&Authenticator::es256().get(&asked.options, ORIGIN), &asked.handle).await.map(|_| json!(0)), "another passkey");
        let asked = page.passkeys.begin_sign_in();
        passkey.counter = Some(0);
        refusal(signs_in(&passkey.get(&asked.options, ORIGIN), &asked.handle).await.map(|_| json!(0)), "counter went back");
        let asked = page.passkeys.begin_sign_in();
        passkey.counter = Some(90);
        refusal(signs_in(&passkey.get(&asked.options, ORIGIN), &asked.handle).await.map(|_| json!(0)), "was cloned");
        assert_eq!(shop.refused("execute_deployment", json!({ "plan": plan })).await, "approval_required", "{}", database.name);
    }
}
