//! People with passkeys before the pages: they enrol by a link, sign in, and decide with the very form that a page has.

use super::{
    authenticator::Authenticator,
    pages::{Answer, Reader},
    shop::{Approver, Shop, text},
};
use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};

/// What a form has begun.
pub struct Begun {
    /// What the answer names.
    pub handle: String,
    /// What the authenticator is asked.
    pub options: Value,
}

/// Reads what a form has begun.
pub fn begun(answer: &Answer) -> Begun {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body);
    let mut begun: Value = serde_json::from_str(&answer.body).unwrap();
    Begun { handle: text(&begun["handle"]), options: begun["options"].take() }
}

/// Returns a link for somebody, as the command line asks for it.
pub async fn link(shop: &Shop, name: &str) -> String {
    text(&shop.must("enrolment_link", json!({ "name": name, "role": "chairman" })).await["token"])
}

/// Makes a passkey by a link; returns what the page then shows.
pub async fn enrol(shop: &Shop, name: &str, authenticator: &mut Authenticator) -> Answer {
    let (reader, token) = (Reader::stranger(shop), link(shop, name).await);
    let begun = begun(&reader.post("/enrol", &[("link", &token)]).await);
    let made = authenticator.create(&begun.options, &reader.origin()).to_string();
    reader.post("/enrol/answer", &[("link", &token), ("handle", &begun.handle), ("answer", &made)]).await
}

/// Makes a passkey by a link, and has it admitted by a key at the terminal.
pub async fn admitted(shop: &Shop, by: &Approver, name: &str) -> Authenticator {
    let mut authenticator = Authenticator::es256();
    let page = enrol(shop, name, &mut authenticator).await;
    assert!(page.status == 200 && page.body.contains("interlock approver admit "), "{}", page.body);
    let waiting = shop.must("approvers", json!({})).await["waiting"][0].take();
    shop.decides(by, DecisionKind::Approver, waiting, DecisionVerdict::Approve, None).await.unwrap();
    authenticator
}

/// Signs in with a passkey.
pub async fn sign_in(shop: &Shop, authenticator: &mut Authenticator, to: &str) -> Reader {
    let stranger = Reader::stranger(shop);
    let begun = begun(&stranger.post("/sign-in", &[("to", to)]).await);
    let signed = authenticator.get(&begun.options, &stranger.origin()).to_string();
    let entered = stranger.post("/sign-in/answer", &[("to", to), ("handle", &begun.handle), ("answer", &signed)]).await;
    assert_eq!(entered.status, 303, "{}", entered.body);
    let cookie = entered.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    Reader { cookie: cookie.split(';').next().unwrap().to_owned(), ..stranger }
}

/// Somebody signed in, before a page with the form of a decision.
pub struct Decider<'a> {
    /// Their browser.
    pub reader: &'a Reader,
    /// Where the form is sent to.
    pub address: String,
    /// What it holds without being typed.
    pub hidden: Vec<(String, String)>,
}

/// Returns the value of a field in a page.
pub fn field(page: &str, name: &str) -> String {
    let value = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("no `{name}` in {page}"));
    value.split('"').next().unwrap().to_owned()
}

impl<'a> Decider<'a> {
    /// Opens a page and takes its form.
    pub async fn at(reader: &'a Reader, page: &str) -> Self {
        let page = reader.page(page).await;
        let form = page.split("<form class=\"passkey\"").nth(1).and_then(|rest| rest.split("</form>").next());
        let form = form.unwrap_or_else(|| panic!("no form to decide with in {page}"));
        let quoted = |text: &str, before: &str| text.split(before).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        let hidden = form.split("<input type=\"hidden\"").skip(1);
        let hidden = hidden.map(|input| (quoted(input, "name=\"").unwrap(), quoted(input, "value=\"").unwrap()));
        Decider { reader, address: quoted(form, "action=\"").unwrap(), hidden: hidden.collect() }
    }

    /// Returns a hidden field.
    pub fn hidden(&self, name: &str) -> &str {
        self.hidden.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no `{name}`"))
    }

    /// Returns what the form sends with these in the place of, or beside, what it holds.
    pub fn fields<'f>(&'f self, typed: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
        let own = self.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.filter(|(name, _)| !typed.iter().any(|(other, _)| other == name)).chain(typed.iter().copied()).collect()
    }

    /// Presses a button.
    pub async fn begin(&self, verdict: &str, reason: &str) -> Answer {
        let typed = [("verdict", verdict), ("reason", reason)];
        let typed = if self.hidden.iter().any(|(name, _)| name == "reason") { &typed[..1] } else { &typed };
        self.reader.post(&self.address, &self.fields(typed)).await
    }

    /// Hands in what the authenticator has signed.
    pub async fn finish(&self, handle: &str, signed: &str) -> Answer {
        self.reader.post(&format!("{}/answer", self.address), &self.fields(&[("handle", handle), ("answer", signed)])).await
    }

    /// Presses a button, and signs.
    pub async fn decide(&self, authenticator: &mut Authenticator, verdict: &str, reason: &str) -> Answer {
        let begun = begun(&self.begin(verdict, reason).await);
        let signed = authenticator.get(&begun.options, &self.reader.origin()).to_string();
        self.finish(&begun.handle, &signed).await
    }
}
