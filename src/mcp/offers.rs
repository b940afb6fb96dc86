//! Offers the page of a decision to clients that open addresses for their user: elicitation by URL, in an answer that asks for input (MRTR).
//!
//! What such a client answers decides nothing, and nothing here reads it: `accept` says that somebody agreed to open a page, and software may
//! have said it. The retry is the same call once more, over the record; it goes on when a person has signed meanwhile, and is answered with
//! the address otherwise. Clients that cannot open addresses find it in every answer, as those of revisions before 2026-07-28 do: asking
//! them back needs a session, and over HTTP there is none.

use crate::model::{Caller, Clock, Reading, Sha256, digest::hex, text};
use rmcp::{ErrorData, RoleServer, model::*, service::RequestContext};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a client may take to come back.
const LASTS: Duration = Duration::from_secs(3_600);
/// How long nobody is asked again to open the same page.
const AGAIN: Duration = Duration::from_secs(600);
/// Of more than so many offers the oldest is forgotten.
const MOST: usize = 256;

/// What was offered, and what tells that a `requestState` is one of ours. In memory: a restart forgets it, and costs one more call.
pub(super) struct Offers {
    codec: RequestStateCodec,
    clock: Arc<dyn Clock>,
    made: Mutex<VecDeque<Offer>>,
}

struct Offer {
    nonce: String,
    who: Sha256,
    page: String,
    at: Reading,
    is_used: bool,
}

/// What a `requestState` says: readable by whoever holds it, and no secret.
#[derive(Serialize, Deserialize)]
struct Sealed {
    nonce: String,
    who: Sha256,
    call: Sha256,
}

/// A call of a tool, as far as a retry must be the same.
pub(super) struct Call<'a> {
    pub caller: &'a Caller,
    pub tool: &'a str,
    pub arguments: &'a Value,
}

impl Call<'_> {
    fn who(&self) -> Sha256 {
        Sha256::of_canonical(&(&self.caller.principal, self.caller.via, &self.caller.client))
    }

    fn what(&self) -> Sha256 {
        Sha256::of_canonical(&(self.tool, self.arguments))
    }
}

impl Offers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let codec = RequestStateCodec::try_new(rand::random::<[u8; 32]>()).expect("the key has 32 bytes");
        Offers { codec, clock, made: Mutex::default() }
    }

    /// Returns the offer of the page where somebody decides what this answer waits for; none where it waits for nothing of that kind, or
    /// this client was asked to open that page a short while ago.
    pub(super) fn of(&self, call: &Call, answer: &Value) -> Option<InputRequiredResult> {
        let actions = answer["next_actions"].as_array()?;
        let is_persons = actions.iter().any(|action| action["recommended"] == true && action["who"] == "person");
        let next = actions.iter().find(|action| is_persons && action["page"].is_string())?;
        let (page, command) = (next["page"].as_str()?, next["command"].as_str()?);
        let (nonce, who, at) = (hex(&rand::random::<[u8; 16]>()), call.who(), self.clock.reading());
        let state = self.codec.seal_json(&Sealed { nonce: nonce.clone(), who: who.clone(), call: call.what() }).ok()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let asked_lately = |offer: &Offer| offer.who == who && offer.page == page && is_within(&at, &offer.at, AGAIN);
        if made.iter().any(asked_lately) {
            return None;
        }
        if made.len() >= MOST {
            made.pop_front();
        }
        made.push_back(Offer { nonce, who, page: page.to_owned(), at, is_used: false });
        let why = answer["summary"].as_str().or(answer["message"].as_str()).unwrap_or_default();
        let message = format!(
            "{}. To open the page decides nothing: it shows what is asked, and a person signs there, or with `{command}` at the terminal.",
            text::visible_line(why, 300)
        );
        let params = ElicitRequestParams::UrlElicitationParams { meta: None, message, url: page.to_owned(), elicitation_id: String::new() };
        let requests = InputRequests::from([("decision".to_owned(), InputRequest::Elicitation(ElicitRequest::new(params)))]);
        Some(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// Uses up the state of a retry; refused unless it was given for this very call of this client, lately, and never came back before.
    pub(super) fn redeem(&self, call: &Call, state: &str) -> Result<(), ErrorData> {
        let refused = |why: &str| {
            tracing::warn!(operation = call.tool, principal = %call.caller.principal, "refused a `requestState`: {why}");
            Err(ErrorData::invalid_params(
                format!("`requestState` {why}; nothing was done: call again without it and without `inputResponses`"),
                Some(json!({ "code": "invalid_arguments" })),
            ))
        };
        let Ok(sealed) = self.codec.open_json::<Sealed>(state) else {
            return refused("is not as this server gave it: it was altered, or the server was restarted since");
        };
        if sealed.who != call.who() {
            return refused("was given to another client");
        }
        if sealed.call != call.what() {
            return refused("was given for another call: another tool, or other arguments");
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.iter_mut().find(|offer| offer.nonce == sealed.nonce) {
            None => refused("is forgotten: many have been given since"),
            Some(offer) if offer.is_used => refused("has come back before; each is good once"),
            Some(offer) if !is_within(&self.clock.reading(), &offer.at, LASTS) => refused("is older than an hour"),
            Some(offer) => {
                offer.is_used = true;
                Ok(())
            }
        }
    }
}

/// Tells whether this request's client opens addresses for its user, and takes an answer that asks it to.
pub(super) fn opens_addresses(ctx: &RequestContext<RoleServer>) -> bool {
    ctx.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
        && ctx.client_capabilities().and_then(|can| can.elicitation).is_some_and(|elicitation| elicitation.url.is_some())
}

fn is_within(now: &Reading, since: &Reading, limit: Duration) -> bool {
    now.since(since).is_some_and(|passed| passed < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallerKind, ManualClock, Timestamp, Via};

    fn offers() -> (Offers, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        (Offers::new(clock.clone()), clock)
    }

    fn agent(via: Via, client: &str) -> Caller {
        Caller { principal: "agent".into(), kind: CallerKind::Agent, via, client: Some(client.into()) }
    }

    fn waits(plan: &str) -> Value {
        json!({ "summary": "plan_1 waits for a person", "next_actions": [
            { "who": "agent", "tool": "get_status", "why": "wait" },
            { "who": "person", "command": format!("interlock approve {plan}"), "page": format!("http://localhost:7/plans/{plan}"), "why": "a", "recommended": true },
        ] })
    }

    fn state(offers: &Offers, call: &Call, plan: &str) -> String {
        offers.of(call, &waits(plan)).expect("it is offered").request_state.expect("it has a state")
    }

    #[test]
    fn a_page_is_offered_where_a_person_is_next_and_not_twice_in_ten_minutes() {
        let (offers, clock) = offers();
        let (ada, bob, arguments) = (agent(Via::McpHttp, "ada 1"), agent(Via::McpHttp, "bob 1"), json!({ "plan": "plan_1" }));
        let call = Call { caller: &ada, tool: "execute_deployment", arguments: &arguments };
        let mut another_first = waits("plan_1");
        (another_first["next_actions"][0]["recommended"], another_first["next_actions"][1]["recommended"]) = (true.into(), false.into());
        let mut without_page = waits("plan_1");
        without_page["next_actions"][1].as_object_mut().unwrap().remove("page");
        for answer in [json!({}), json!({ "next_actions": [] }), another_first, without_page] {
            assert!(offers.of(&call, &answer).is_none(), "{answer}");
        }

        let offered = json!(offers.of(&call, &waits("plan_1")).unwrap());
        let asked = &offered["inputRequests"]["decision"];
        assert_eq!((&offered["resultType"], &asked["method"]), (&json!("input_required"), &json!("elicitation/create")));
        assert_eq!((&asked["params"]["mode"], &asked["params"]["url"]), (&json!("url"), &json!("http://localhost:7/plans/plan_1")));
        assert!(asked["params"]["message"].as_str().unwrap().contains("`interlock approve plan_1` at the terminal"), "{asked}");
        assert!(offers.of(&call, &waits("plan_1")).is_none());
        assert!(offers.of(&call, &waits("plan_2")).is_some(), "another page is");
        assert!(offers.of(&Call { caller: &bob, ..call }, &waits("plan_1")).is_some(), "and another client");
        let call = Call { caller: &ada, tool: "execute_deployment", arguments: &arguments };
        clock.advance(AGAIN);
        assert!(offers.of(&call, &waits("plan_1")).is_some());
    }

    #[test]
    fn a_state_is_good_once_for_one_call_of_one_client_and_for_an_hour() {
        let (offers, clock) = offers();
        let (ada, arguments) = (agent(Via::McpStdio, "ada 1"), json!({ "plan": "plan_1" }));
        let call = || Call { caller: &ada, tool: "execute_deployment", arguments: &arguments };
        let mut plan = 0;
        let mut given = || {
            plan += 1;
            state(&offers, &call(), &format!("plan_{plan}"))
        };
        let why = |call: &Call, state: &str| offers.redeem(call, state).map_err(|refused| refused.message.into_owned());
        let first = given();
        for (caller, tool, arguments, expected) in [
            (agent(Via::McpStdio, "bob 1"), "execute_deployment", arguments.clone(), "another client"),
            (agent(Via::McpHttp, "ada 1"), "execute_deployment", arguments.clone(), "another client"),
            (Caller { principal: "else".into(), ..ada.clone() }, "execute_deployment", arguments.clone(), "another client"),
            (ada.clone(), "rollback_deployment", arguments.clone(), "another call"),
            (ada.clone(), "execute_deployment", json!({ "plan": "plan_2" }), "another call"),
            (ada.clone(), "execute_deployment", Value::Null, "another call"),
        ] {
            let refused = why(&Call { caller: &caller, tool, arguments: &arguments }, &first).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        // None of these has used it up.
        assert_eq!(why(&call(), &first), Ok(()));
        assert!(why(&call(), &first).unwrap_err().contains("come back before"));

        let (late, in_time) = (given(), given());
        clock.advance(LASTS - Duration::from_millis(1));
        assert_eq!(why(&call(), &in_time), Ok(()));
        clock.advance(Duration::from_millis(1));
        assert!(why(&call(), &late).unwrap_err().contains("older than an hour"));

        let forgotten = given();
        (0..MOST).for_each(|_| drop(given()));
        assert!(why(&call(), &forgotten).unwrap_err().contains("is forgotten"));
        assert_eq!(offers.made.lock().unwrap().len(), MOST);
        let (restarted, _) = super::tests::offers();
        assert!(restarted.redeem(&call(), &given()).unwrap_err().message.contains("restarted"));
    }

    #[test]
    fn one_changed_bit_and_it_is_none_of_ours() {
        let (offers, _) = offers();
        let (ada, arguments) = (agent(Via::McpHttp, "ada 1"), json!({ "plan": "plan_1" }));
        let call = Call { caller: &ada, tool: "execute_deployment", arguments: &arguments };
        let state = state(&offers, &call, "plan_1");
        let mut tried = 0;
        for at in 0..state.len() {
            for bit in 0..8 {
                let mut bytes = state.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                // What is no text is refused before it comes here.
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                tried += 1;
                assert!(offers.redeem(&call, &changed).unwrap_err().message.contains("altered"), "{changed}");
            }
        }
        for changed in
            ["", ".", "null", &state[1..], &state[..state.len() - 1], &format!("{state}A"), &format!(" {state}"), &state.repeat(2)]
        {
            assert!(offers.redeem(&call, changed).unwrap_err().message.contains("altered"), "{changed}");
        }
        assert!(tried > 1_000, "{tried}");
        assert!(offers.redeem(&call, &state).is_ok(), "and unchanged it is one");
    }
}
