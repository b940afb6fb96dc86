//! Passkeys on the pages, over real sockets and with a software authenticator: made by a link, signed in with, decided with; and everything
//! that is almost that, which decides nothing.

mod support;

use serde_json::json;
use support::{
    authenticator::{Authenticator, PRESENT},
    on_both,
    pages::{Reader, send},
    passkeys::{Begun, Decider, admitted, begun, enrol, field, link, sign_in},
    shop::{APPROVAL, Database, Shop, text},
};

on_both! {
    a_person_enrols_signs_in_and_decides_on_the_pages,
    a_cloned_passkey_ends_every_session_of_its_person_and_opens_none_again,
}

async fn a_person_enrols_signs_in_and_decides_on_the_pages(database: Database) {
    let (shop, ada) = Shop::signed(database, |shop| shop.configuration(APPROVAL)).await;
    let mut passkey = admitted(&shop, &ada, "ada").await;
    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    let address = format!("/plans/{plan}");

    let stranger = Reader::stranger(&shop);
    let asked = send(stranger.address, "GET", &address, &[("host", &stranger.host)], "").await;
    assert!(asked.status == 401 && field(&asked.body, "to") == address, "{}", asked.body);
    let reader = sign_in(&shop, &mut passkey, &address).await;
    assert!(reader.page("/").await.contains("signed in as <strong>ada</strong>"));

    let decider = Decider::at(&reader, &address).await;
    let no_reason = decider.begin("reject", " ").await;
    assert!(no_reason.status == 403 && no_reason.body.contains("a refusal needs a reason"), "{}", no_reason.body);
    let rejected = decider.decide(&mut passkey, "reject", "not on a <b>Friday</b>").await;
    assert_eq!((rejected.status, rejected.header("location")), (303, Some(address.as_str())), "{}", rejected.body);
    let page = reader.page(&address).await;
    assert!(
        page.contains("Rejected by <strong>ada</strong>: not on a &lt;b&gt;Friday&lt;/b&gt;") && page.contains("verified now"),
        "{page}"
    );
    shop.refused("approval_rejected", "execute_deployment", json!({ "plan": plan })).await;

    let next = shop.plan(&shop.directive("production", "2.0.0").await).await;
    let approved = Decider::at(&reader, &format!("/plans/{next}")).await.decide(&mut passkey, "approve", "").await;
    assert_eq!(approved.status, 303, "{}", approved.body);
    let page = reader.page(&format!("/plans/{next}")).await;
    assert!(page.contains("Approved by <strong>ada</strong>") && page.contains("verified now"), "{page}");
    assert_eq!(shop.execute(&next).await["deployment"]["state"], "succeeded");
    let verified = shop.must("audit_verify", json!({})).await;
    assert!(verified["decisions"].is_object() || verified["decisions"].is_number(), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_makes_one_passkey_and_says_whether_it_counts() {
    let shop = Shop::open(Database::Sqlite).await;
    let (reader, token) = (Reader::stranger(&shop), link(&shop, "ada").await);
    let enrol_at = format!("/enrol?link={token}");
    for path in ["/enrol", "/enrol?link=", "/enrol?link=00", "/enrol?link=%3Cscript%3E"] {
        let refused = reader.get(path).await;
        assert!(refused.status == 403 && refused.body.contains("used, expired, or was never made"), "{path}: {}", refused.body);
    }
    // To look uses nothing up, and says for whom it is; also how a terminal does it.
    for _ in 0..2 {
        let page = reader.page(&enrol_at).await;
        for said in ["<strong>ada</strong>", "chairman", "the first approver", "<noscript>", "interlock approver add ada --role chairman<"]
        {
            assert!(page.contains(said), "`{said}` is not in {page}");
        }
    }
    let by_address = format!("127.0.0.1:{}", reader.address.port());
    let at_address = send(reader.address, "GET", &enrol_at, &[("host", &by_address)], "").await;
    assert!(at_address.body.contains(&format!("href=\"http://{}{enrol_at}\"", reader.host)), "{}", at_address.body);

    // From elsewhere, without the link or with another answer it makes nothing.
    let fields = [("link", token.as_str())];
    for (origin, more) in [
        ("", &[][..]),
        ("null", &[]),
        ("https://evil.example", &[]),
        ("http://localhost:1", &[]),
        (&format!("http://{by_address}"), &[]),
        (&reader.origin(), &[("sec-fetch-site", "same-site")]),
        (&reader.origin(), &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]),
    ] {
        assert_eq!(reader.post_from(origin, "/enrol", &fields, more).await.status, 403, "{origin} {more:?}");
        assert_eq!(reader.post_from(origin, "/enrol/answer", &fields, more).await.status, 403, "{origin} {more:?}");
    }
    assert_eq!(reader.post("/enrol", &[]).await.status, 400);
    assert_eq!(reader.post("/enrol", &[("link", "00")]).await.status, 403);
    assert_eq!(reader.post("/enrol/answer", &[("link", &token)]).await.status, 400);
    let mut passkey = Authenticator::es256();
    let asked = begun(&reader.post("/enrol", &fields).await);
    let elsewhere = passkey.create(&asked.options, "http://localhost:1").to_string();
    let refused = reader.post("/enrol/answer", &[("handle", &asked.handle), ("answer", &elsewhere)]).await;
    assert!(refused.status == 403 && refused.body.contains("made at `http://localhost:1`"), "{}", refused.body);

    let asked = begun(&reader.post("/enrol", &fields).await);
    let made = passkey.create(&asked.options, &reader.origin()).to_string();
    let page = reader.post("/enrol/answer", &[("handle", &asked.handle), ("answer", &made)]).await;
    let known = shop.must("approvers", json!({})).await;
    let fingerprint = text(&known["approvers"][0]["keys"][0]["fingerprint"]);
    assert!(page.status == 200 && page.body.contains(&fingerprint) && page.body.contains("It counts now"), "{}", page.body);
    let again = reader.get(&enrol_at).await;
    assert!(again.status == 403 && again.body.contains("interlock approver link NAME"), "{}", again.body);
    assert_eq!(reader.post("/enrol", &fields).await.status, 403);

    // Nobody after the first counts by a link alone: neither decides nor signs in.
    let mut bob = Authenticator::eddsa();
    let page = enrol(&shop, "bob", &mut bob).await;
    assert!(page.body.contains("does not count yet") && page.body.contains("interlock approver admit "), "{}", page.body);
    let asked = begun(&reader.post("/sign-in", &[]).await);
    let signed = bob.get(&asked.options, &reader.origin()).to_string();
    let refused = reader.post("/sign-in/answer", &[("handle", &asked.handle), ("answer", &signed)]).await;
    assert!(refused.status == 403 && refused.header("set-cookie").is_none(), "{}", refused.body);
    let ada = sign_in(&shop, &mut passkey, "//evil.example/").await;
    assert_eq!(ada.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_fresh_signature_over_what_the_page_shows_decides() {
    let (shop, key) = Shop::signed(Database::Sqlite, |shop| shop.configuration(APPROVAL)).await;
    let (mut ada, mut bob) = (admitted(&shop, &key, "ada").await, admitted(&shop, &key, "bob").await);
    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    let another = shop.plan(&shop.directive("production", "2.0.0").await).await;
    let waits = async || shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;

    // No session, and the token of an agent.
    let stranger = Reader::stranger(&shop);
    let bearer = format!("Bearer {}", shop.listens().1);
    for path in ["/decide/plan", "/decide/plan/answer"] {
        for more in [&[][..], &[("authorization", bearer.as_str())]] {
            assert_eq!(stranger.post_from(&stranger.origin(), path, &[("verdict", "approve")], more).await.status, 401, "{path} {more:?}");
        }
        let headers = [("host", stranger.host.as_str()), ("authorization", &bearer)];
        assert_eq!(send(stranger.address, "GET", path, &headers, "").await.status, 401);
    }
    // A session that a link has opened reads.
    let reader = Reader::enter(&shop).await;
    let page = reader.page(&format!("/plans/{plan}")).await;
    assert!(page.contains("Sign in to decide here") && page.contains(&format!("interlock approve {plan}")), "{page}");
    let token = reader.form_token().await;
    let (of_plan, of_another) = (format!("/plans/{plan}"), format!("/plans/{another}"));
    let sha256 = { Decider::at(&sign_in(&shop, &mut ada, "/").await, &of_plan).await.hidden("sha256").to_owned() };
    let fields = [("form_token", token.as_str()), ("plan", &plan), ("sha256", &sha256), ("verdict", "approve")];
    let refused = reader.post("/decide/plan", &fields).await;
    assert!(refused.status == 403 && refused.body.contains("sign in with your passkey"), "{}", refused.body);

    let (of_ada, of_bob) = (sign_in(&shop, &mut ada, "/").await, sign_in(&shop, &mut bob, "/").await);
    let (decider, others) = (Decider::at(&of_ada, &of_plan).await, Decider::at(&of_bob, &of_plan).await);
    let elsewhere = Decider::at(&of_ada, &of_another).await;
    // The form: from its page, with its token, over the bytes that were shown, with a verdict.
    let good = decider.fields(&[("verdict", "approve")]);
    for (origin, more) in
        [("", &[][..]), ("null", &[]), ("http://localhost:1", &[]), (&of_ada.origin(), &[("sec-fetch-site", "same-site")])]
    {
        assert_eq!(of_ada.post_from(origin, &decider.address, &good, more).await.status, 403, "{origin}");
    }
    for (wrong, status) in [
        (("form_token", others.hidden("form_token")), 403),
        (("form_token", ""), 403),
        (("sha256", elsewhere.hidden("sha256")), 403),
        (("plan", another.as_str()), 403),
        (("plan", "plan_1"), 404),
        (("plan", ""), 400),
        (("verdict", "publish"), 400),
    ] {
        let typed = if wrong.0 == "verdict" { vec![wrong] } else { vec![wrong, ("verdict", "approve")] };
        assert_eq!(of_ada.post(&decider.address, &decider.fields(&typed)).await.status, status, "{wrong:?}");
    }
    for missing in ["form_token", "plan", "sha256", "verdict"] {
        let rest: Vec<_> = good.iter().copied().filter(|(name, _)| *name != missing).collect();
        let status = if missing == "form_token" { 403 } else { 400 };
        assert_eq!(of_ada.post(&decider.address, &rest).await.status, status, "{missing}");
    }
    assert_eq!(of_ada.post("/decide/everything", &good).await.status, 404);
    // At the address instead of the name no passkey signs.
    let by_address = Reader { host: format!("127.0.0.1:{}", of_ada.address.port()), cookie: of_ada.cookie.clone(), ..of_ada };
    assert_eq!(by_address.post(&decider.address, &good).await.status, 401);
    let of_ada = decider.reader;

    // What answers: nothing, no JSON, the form alone, what was signed for something else, elsewhere, by somebody else, without a person.
    assert_eq!(of_ada.post(&format!("{}/answer", decider.address), &decider.fields(&[])).await.status, 400);
    for nothing in ["", "null", "{}", "approve"] {
        let asked = begun(&decider.begin("approve", "").await);
        assert_eq!(decider.finish(&asked.handle, nothing).await.status, 400, "{nothing}");
    }
    let asked = begun(&decider.begin("approve", "").await);
    let signed = ada.get(&asked.options, &of_ada.origin()).to_string();
    assert_eq!(decider.finish("no handle", &signed).await.status, 403);
    let mut refused = async |says: &str, over: Begun, otherwise: &dyn Fn(&mut support::authenticator::Gesture)| {
        let asked = begun(&decider.begin("approve", "").await);
        let signed = ada.get_with(&over.options, &of_ada.origin(), otherwise).to_string();
        let answer = decider.finish(&asked.handle, &signed).await;
        assert!(answer.status == 403 && answer.body.contains(says), "`{says}`: {}", answer.body);
        waits().await;
        (asked, signed)
    };
    refused("another challenge", begun(&elsewhere.begin("approve", "").await), &|_| ()).await;
    refused("another challenge", begun(&decider.begin("reject", "no").await), &|_| ()).await;
    refused("another challenge", begun(&stranger.post("/sign-in", &[]).await), &|_| ()).await;
    let own = async || begun(&decider.begin("approve", "").await);
    refused("another challenge", own().await, &|_| ()).await;
    for (says, otherwise) in [
        (
            "made at `http://localhost:1`",
            (|gesture| gesture.origin = "http://localhost:1".into()) as fn(&mut support::authenticator::Gesture),
        ),
        ("was not verified", |gesture| gesture.flags = PRESENT),
    ] {
        let asked = own().await;
        let signed = ada.get_with(&asked.options, &of_ada.origin(), otherwise).to_string();
        let answer = decider.finish(&asked.handle, &signed).await;
        assert!(answer.status == 403 && answer.body.contains(says), "`{says}`: {}", answer.body);
        // It has ended: not even the right signature counts any more.
        let late = ada.get(&asked.options, &of_ada.origin()).to_string();
        assert_eq!(decider.finish(&asked.handle, &late).await.status, 403);
        waits().await;
    }
    let asked = own().await;
    let answer = decider.finish(&asked.handle, &bob.get(&asked.options, &of_ada.origin()).to_string()).await;
    assert!(answer.status == 403 && answer.body.contains("another passkey"), "{}", answer.body);
    let asked = own().await;
    let signed = ada.get(&asked.options, &of_ada.origin()).to_string();
    let answer = others.finish(&asked.handle, &signed).await;
    assert!(answer.status == 403 && answer.body.contains("`ada` is to sign this"), "{}", answer.body);
    waits().await;

    // The positive control: everything right, once.
    let asked = own().await;
    let signed = ada.get(&asked.options, &of_ada.origin()).to_string();
    assert_eq!(decider.finish(&asked.handle, &signed).await.status, 303);
    assert_eq!(decider.finish(&asked.handle, &signed).await.status, 403, "it is replayed");
    assert_eq!(shop.execute(&plan).await["deployment"]["state"], "succeeded");
}

async fn a_cloned_passkey_ends_every_session_of_its_person_and_opens_none_again(database: Database) {
    let (shop, key) = Shop::signed(database, |shop| shop.configuration(APPROVAL)).await;
    let (mut ada, mut bob) = (admitted(&shop, &key, "ada").await, admitted(&shop, &key, "bob").await);
    let plan = shop.plan(&shop.directive("production", "1.0.0").await).await;
    let (desk, phone) = (sign_in(&shop, &mut ada, "/").await, sign_in(&shop, &mut ada, "/").await);
    let of_bob = sign_in(&shop, &mut bob, "/").await;
    let recorded = async |action: &str| of_bob.page("/audit").await.matches(&format!("<code>{action}</code>")).count();

    // At another host than its own a session is none, and the one it is stays.
    let port = desk.address.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 401),
        (format!("[::1]:{port}"), 401),
        ("localhost".into(), 403),
        (format!("localhost:{}", port ^ 1), 403),
        (format!("evil.example:{port}"), 403),
        ("evil.example".into(), 403),
        (format!("localhost.evil.example:{port}"), 403),
    ] {
        let elsewhere = Reader { host: host.clone(), cookie: desk.cookie.clone(), ..desk };
        assert_eq!(elsewhere.get(&format!("/plans/{plan}")).await.status, status, "{host}");
        let origin = format!("http://localhost:{port}");
        let fields = [("form_token", desk.form_token().await), ("reason", "why".into()), ("environment", String::new())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(elsewhere.post_from(&origin, "/freezes", &fields, &[]).await.status, status, "{host}");
    }
    assert!(desk.page("/freezes").await.contains("nothing is frozen"));

    // Whoever has the other of the two decides with it: its counter is behind.
    let decider = Decider::at(&desk, &format!("/plans/{plan}")).await;
    let asked = begun(&decider.begin("approve", "").await);
    ada.counter = Some(1);
    let signed = ada.get(&asked.options, &desk.origin()).to_string();
    assert_eq!(recorded("note_cloned").await, 0);
    let refused = decider.finish(&asked.handle, &signed).await;
    assert!(refused.status == 403 && refused.body.contains("counter went back"), "{}", refused.body);
    for session in [&desk, &phone] {
        assert_eq!(session.get("/").await.status, 401);
        assert_eq!(session.get(&format!("/plans/{plan}")).await.status, 401);
    }
    assert_eq!(decider.begin("approve", "").await.status, 401);
    assert_eq!((recorded("note_cloned").await, recorded("refuse_decision").await), (1, 1));

    // Neither of the two opens a session again, however far it counts; and that it was tried stands in the record.
    for counter in [0, 100] {
        ada.counter = Some(counter);
        let stranger = Reader::stranger(&shop);
        let asked = begun(&stranger.post("/sign-in", &[]).await);
        let signed = ada.get(&asked.options, &stranger.origin()).to_string();
        let refused = stranger.post("/sign-in/answer", &[("handle", &asked.handle), ("answer", &signed)]).await;
        assert!(refused.status == 403 && refused.body.contains("was cloned, and counts no longer"), "{}", refused.body);
        assert!(refused.header("set-cookie").is_none());
    }
    assert_eq!(recorded("refuse_sign_in").await, 2);
    shop.refused("approval_required", "execute_deployment", json!({ "plan": plan })).await;

    // The positive control: another passkey of hers opens a session that lasts, until it is cloned in its turn: seen while signing in.
    let mut further = admitted(&shop, &key, "ada").await;
    let again = sign_in(&shop, &mut further, "/").await;
    let held = Decider::at(&again, &format!("/plans/{plan}")).await;
    let stranger = Reader::stranger(&shop);
    let asked = begun(&stranger.post("/sign-in", &[]).await);
    assert_eq!(again.get("/").await.status, 200);
    further.counter = Some(0);
    let signed = further.get(&asked.options, &stranger.origin()).to_string();
    let refused = stranger.post("/sign-in/answer", &[("handle", &asked.handle), ("answer", &signed)]).await;
    assert!(refused.status == 403 && refused.body.contains("counter went back"), "{}", refused.body);
    assert_eq!((again.get("/").await.status, held.begin("approve", "").await.status, recorded("note_cloned").await), (401, 401, 2));
    assert_eq!(Decider::at(&of_bob, &format!("/plans/{plan}")).await.decide(&mut bob, "approve", "").await.status, 303);
    assert_eq!(shop.execute(&plan).await["deployment"]["state"], "succeeded");
}
