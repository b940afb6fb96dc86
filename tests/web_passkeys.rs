//! Passkeys on the pages, over real sockets and with a software authenticator: made by a link, signed in with, decided with; and everything
//! that is almost that, which decides nothing.

mod support;

use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};
use support::{
    authenticator::{Authenticator, PRESENT},
    on_both,
    pages::{Answer, Reader, send},
    shop::{APPROVAL, Approver, Database, Shop, text},
};

on_both! { a_person_enrols_signs_in_and_decides_on_the_pages }

/// What a form has begun.
struct Begun {
    handle: String,
    options: Value,
}

fn begun(answer: &Answer) -> Begun {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body);
    let mut begun: Value = serde_json::from_str(&answer.body).unwrap();
    Begun { handle: text(&begun["handle"]), options: begun["options"].take() }
}

/// Returns a link for somebody, as the command line asks for it.
async fn link(shop: &Shop, name: &str) -> String {
    text(&shop.must("enrolment_link", json!({ "name": name, "role": "chairman" })).await["token"])
}

/// Makes a passkey by a link; returns what the page then shows.
async fn enrol(shop: &Shop, name: &str, authenticator: &mut Authenticator) -> Answer {
    let (reader, token) = (Reader::stranger(shop), link(shop, name).await);
    let begun = begun(&reader.post("/enrol", &[("link", &token)]).await);
    let made = authenticator.create(&begun.options, &reader.origin()).to_string();
    reader.post("/enrol/answer", &[("link", &token), ("handle", &begun.handle), ("answer", &made)]).await
}

/// Makes a passkey by a link, and has it admitted by a key at the terminal.
async fn admitted(shop: &Shop, by: &Approver, name: &str) -> Authenticator {
    let mut authenticator = Authenticator::es256();
    let page = enrol(shop, name, &mut authenticator).await;
    assert!(page.status == 200 && page.body.contains("interlock approver admit "), "{}", page.body);
    let waiting = shop.must("approvers", json!({})).await["waiting"][0].take();
    shop.decides(by, DecisionKind::Approver, waiting, DecisionVerdict::Approve, None).await.unwrap();
    authenticator
}

/// Signs in with a passkey.
async fn sign_in(shop: &Shop, authenticator: &mut Authenticator, to: &str) -> Reader {
    let stranger = Reader::stranger(shop);
    let begun = begun(&stranger.post("/sign-in", &[("to", to)]).await);
    let signed = authenticator.get(&begun.options, &stranger.origin()).to_string();
    let entered = stranger.post("/sign-in/answer", &[("to", to), ("handle", &begun.handle), ("answer", &signed)]).await;
    assert_eq!(entered.status, 303, "{}", entered.body);
    let cookie = entered.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    Reader { cookie: cookie.split(';').next().unwrap().to_owned(), ..stranger }
}

/// Somebody signed in, before the page of a plan.
struct Decider<'a> {
    reader: &'a Reader,
    plan: String,
    form_token: String,
    sha256: String,
}

fn field(page: &str, name: &str) -> String {
    let value = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("no `{name}` in {page}"));
    value.split('"').next().unwrap().to_owned()
}

impl<'a> Decider<'a> {
    async fn at(reader: &'a Reader, plan: &str) -> Self {
        let page = reader.page(&format!("/plans/{plan}")).await;
        Decider { reader, plan: plan.to_owned(), form_token: field(&page, "form_token"), sha256: field(&page, "sha256") }
    }

    fn address(&self) -> String {
        format!("/plans/{}/decision", self.plan)
    }

    async fn begin(&self, verdict: &str, reason: &str) -> Answer {
        let fields = [("form_token", self.form_token.as_str()), ("sha256", &self.sha256), ("verdict", verdict), ("reason", reason)];
        self.reader.post(&self.address(), &fields).await
    }

    async fn finish(&self, handle: &str, signed: &str) -> Answer {
        let fields = [("form_token", self.form_token.as_str()), ("handle", handle), ("answer", signed)];
        self.reader.post(&format!("{}/answer", self.address()), &fields).await
    }

    async fn decide(&self, authenticator: &mut Authenticator, verdict: &str, reason: &str) -> Answer {
        let begun = begun(&self.begin(verdict, reason).await);
        let signed = authenticator.get(&begun.options, &self.reader.origin()).to_string();
        self.finish(&begun.handle, &signed).await
    }
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

    let decider = Decider::at(&reader, &plan).await;
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
    let approved = Decider::at(&reader, &next).await.decide(&mut passkey, "approve", "").await;
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
    for path in [format!("/plans/{plan}/decision"), format!("/plans/{plan}/decision/answer")] {
        for more in [&[][..], &[("authorization", bearer.as_str())]] {
            assert_eq!(stranger.post_from(&stranger.origin(), &path, &[("verdict", "approve")], more).await.status, 401, "{path} {more:?}");
        }
        let headers = [("host", stranger.host.as_str()), ("authorization", &bearer)];
        assert_eq!(send(stranger.address, "GET", &path, &headers, "").await.status, 401);
    }
    // A session that a link has opened reads.
    let reader = Reader::enter(&shop).await;
    let page = reader.page(&format!("/plans/{plan}")).await;
    assert!(page.contains("Sign in to decide here") && page.contains(&format!("interlock approve {plan}")), "{page}");
    let token = reader.form_token().await;
    let sha256 = { Decider::at(&sign_in(&shop, &mut ada, "/").await, &plan).await.sha256 };
    let fields = [("form_token", token.as_str()), ("sha256", &sha256), ("verdict", "approve")];
    let refused = reader.post(&format!("/plans/{plan}/decision"), &fields).await;
    assert!(refused.status == 403 && refused.body.contains("sign in with your passkey"), "{}", refused.body);

    let (of_ada, of_bob) = (sign_in(&shop, &mut ada, "/").await, sign_in(&shop, &mut bob, "/").await);
    let (decider, others) = (Decider::at(&of_ada, &plan).await, Decider::at(&of_bob, &plan).await);
    let elsewhere = Decider::at(&of_ada, &another).await;
    // The form: from its page, with its token, over the bytes that were shown, with a verdict.
    let good = [("form_token", decider.form_token.as_str()), ("sha256", &decider.sha256), ("verdict", "approve")];
    for (origin, more) in
        [("", &[][..]), ("null", &[]), ("http://localhost:1", &[]), (&of_ada.origin(), &[("sec-fetch-site", "same-site")])]
    {
        assert_eq!(of_ada.post_from(origin, &decider.address(), &good, more).await.status, 403, "{origin}");
    }
    for (wrong, status) in [
        ([("form_token", others.form_token.as_str()), good[1], good[2]], 403),
        ([("form_token", ""), good[1], good[2]], 403),
        ([good[0], ("sha256", &elsewhere.sha256), good[2]], 403),
        ([good[0], good[1], ("verdict", "publish")], 400),
        ([good[0], ("none", ""), good[2]], 400),
        ([good[0], good[1], ("reason", "yes")], 400),
    ] {
        assert_eq!(of_ada.post(&decider.address(), &wrong).await.status, status, "{wrong:?}");
    }
    // At the address instead of the name no passkey signs.
    let by_address = Reader { host: format!("127.0.0.1:{}", of_ada.address.port()), cookie: of_ada.cookie.clone(), ..of_ada };
    assert_eq!(by_address.post(&decider.address(), &good).await.status, 401);
    let of_ada = decider.reader;

    // What answers: nothing, no JSON, the form alone, what was signed for something else, elsewhere, by somebody else, without a person.
    assert_eq!(of_ada.post(&format!("{}/answer", decider.address()), &good[..1]).await.status, 400);
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
