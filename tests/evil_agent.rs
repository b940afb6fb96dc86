//! An agent that means harm at every door of the real server: both sockets, `/mcp` and `/rpc` with its token, every page and every form,
//! with guessed cookies, forms and signatures of earlier decisions, keys of nobody. Nothing is decided but by the people who sign.

mod support;

use interlock::{
    decisions::Question,
    model::{DecisionKind, DecisionVerdict, SignedDecision, decision::Signature},
    operations,
};
use rand::{Rng, seq::SliceRandom};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use support::{
    authenticator::Authenticator,
    evil::{Chance, Pool, add, decided, differences, learn, words},
    on_both,
    pages::{Reader, send},
    passkeys::{Begun, Decider, admitted, begun, sign_in},
    shop::{APPROVAL, Approver, Database, Shop, line, text},
};

on_both!(no_door_of_the_server_decides_for_an_agent);

const SEQUENCES: usize = 200;

/// Two people must approve what goes to production.
fn two_of_them(shop: &Shop) -> String {
    shop.configuration(&APPROVAL.replace("on_approval", "signatures = 2, on_approval"))
}

/// Returns every source file of a folder, or the one of that name.
fn sources(of: &str) -> Vec<String> {
    fn read(path: &Path, found: &mut Vec<String>) {
        match path.is_dir() {
            true => fs::read_dir(path).unwrap().for_each(|entry| read(&entry.unwrap().path(), found)),
            false if path.extension().is_some_and(|kind| kind == "rs") => found.push(fs::read_to_string(path).unwrap()),
            false => {}
        }
    }
    let mut found = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(of), &mut found);
    found
}

/// Returns the literals that stand behind `before` in the sources.
fn literals(of: &str, before: &str) -> Vec<String> {
    let of_file = |file: &String| file.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>();
    sources(of).iter().flat_map(of_file).collect()
}

/// Returns every address that the server answers on, as its source names them.
fn routes() -> Vec<String> {
    let mut found = literals("src/web/mod.rs", "\n    (\"/");
    found.iter_mut().for_each(|address| address.insert(0, '/'));
    for folder in ["src/web", "src/server"] {
        found.extend(literals(folder, ".route(\""));
        found.extend(literals(folder, ".route_service(\""));
    }
    found.sort();
    found.dedup();
    found
}

/// Returns every method of `api.sock` beside the operations, as the source names them.
fn extras() -> Vec<String> {
    literals("src/server/people.rs", "Extra::new(\"")
}

#[test]
fn no_address_and_no_method_is_forgotten() {
    // The pages of the list, and nothing else, are routed by another name than a literal.
    let count = |of: &str, what: &str| sources(of).iter().map(|file| file.matches(what).count()).sum::<usize>();
    for (folder, by_name) in [("src/web", 1), ("src/server", 0)] {
        let others = count(folder, ".route(") - count(folder, ".route(\"") + count(folder, ".nest") + count(folder, ".fallback_service(");
        assert_eq!(others, by_name, "a route in {folder} that this test does not find");
    }
    let known = routes();
    for address in
        ["/", "/plans/{id}", "/decide/{id}", "/decide/{id}/answer", "/enrol/answer", "/sign-in", "/freezes", "/leave", "/mcp", "/rpc"]
    {
        assert!(known.iter().any(|route| route == address), "{address} is not among {known:?}");
    }
    assert!(known.len() >= 35, "{known:?}");
    let methods = extras();
    for method in ["decide", "apply", "enrol_first", "enrolment_link", "open", "down"] {
        assert!(methods.iter().any(|known| known == method), "{method} is not among {methods:?}");
    }
    assert_eq!(count("src/server", "Extra::new("), methods.len());
}

/// A shop in which much waits for people, and what an agent has got hold of.
struct Ground {
    shop: Shop,
    connection: AnyConnection,
    pool: Pool,
    /// Every question that a person could be asked.
    questions: Vec<Question>,
    /// What people have really signed, with what they were asked.
    signed: Vec<(Question, SignedDecision)>,
    /// What a passkey has really answered.
    answered: String,
    /// A session that reads, which whoever is at this machine can open.
    reader: Reader,
    /// Cookies that were good once, or never.
    cookies: Vec<String>,
    form_token: String,
    /// What a person's browser has begun and not finished.
    begun: Begun,
    /// Where forms are sent, each once in a while.
    addresses: Vec<(&'static str, String)>,
}

/// What its requests came to, by door.
type Tally = BTreeMap<String, [usize; 2]>;

impl Ground {
    async fn prepared(shop: Shop, ada: &Approver) -> (Self, Authenticator) {
        let mut bob = admitted(&shop, ada, "bob").await;
        let first = shop.deploy("1.0.0", &shop.build("1.0.0")).await;
        let (deployment, staged) = (text(&first["deployment"]["id"]), text(&first["deployment"]["directive"]));
        let runbook = shop.must("write_runbook", json!({ "deployment": deployment })).await["runbook"].take();
        let freeze =
            shop.must("freeze", json!({ "environment": "production", "reason": "the fair", "from": "2199-01-01T00:00:00Z" })).await;
        let mut plans = Vec::new();
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            plans.push(shop.plan(&shop.directive("production", version).await).await);
        }
        let loose = shop.configuration(APPROVAL);
        let revision = shop.ask("apply", json!({ "text": loose })).await.unwrap()["revision"].clone();

        // One of two has approved the first; the second waits; the third was refused by a passkey.
        let mut signed = Vec::new();
        let half = question(DecisionKind::Plan, json!(plans[0]), DecisionVerdict::Approve);
        let review = shop.review(&half).await.unwrap();
        let document = ada.sign(ada.decision(&review, DecisionVerdict::Approve, None));
        shop.hand_in(&half, &document).await.unwrap();
        signed.push((half, document));
        let of_bob = sign_in(&shop, &mut bob, "/").await;
        let address = format!("/plans/{}", plans[2]);
        let decider = Decider::at(&of_bob, &address).await;
        let asked = begun(&decider.begin("reject", "not this week").await);
        let answered = bob.get(&asked.options, &of_bob.origin()).to_string();
        assert_eq!(decider.finish(&asked.handle, &answered).await.status, 303);
        let left_open = Decider::at(&of_bob, &format!("/plans/{}", plans[1])).await;
        let begun = begun(&left_open.begin("approve", "").await);
        let gone = sign_in(&shop, &mut bob, "/").await;
        let token = gone.form_token().await;
        assert_eq!(gone.post("/leave", &[("form_token", &token)]).await.status, 303);

        let approve = |kind, subject| question(kind, subject, DecisionVerdict::Approve);
        let eve = Approver::new("eve").enrolment("chairman");
        let reason = "because";
        let questions = vec![
            approve(DecisionKind::Plan, json!(plans[0])),
            approve(DecisionKind::Plan, json!(plans[1])),
            approve(DecisionKind::Plan, json!(plans[2])),
            approve(DecisionKind::Configuration, revision),
            approve(DecisionKind::Configuration, Value::Null),
            approve(DecisionKind::SignOff, json!({ "directive": staged, "fact": "uat" })),
            approve(DecisionKind::Runbook, runbook.clone()),
            approve(DecisionKind::Approver, eve),
            approve(DecisionKind::Unfreeze, json!({ "freeze": freeze["id"], "environment": null })),
            approve(DecisionKind::Resolve, json!({ "deployment": deployment, "choice": "mark_done", "reason": reason })),
            approve(DecisionKind::Restore, json!({ "deployment": deployment, "reason": reason })),
            approve(DecisionKind::Rollback, json!({ "to": deployment, "reason": reason })),
        ];
        let mut pool = words();
        add(&mut pool, "plan", plans.iter().map(|plan| json!(plan)));
        add(&mut pool, "runbook", [runbook]);
        add(&mut pool, "freeze", [freeze["id"].clone()]);
        add(&mut pool, "any", ["ada", "bob", "eve", "chairman"].map(|word| json!(word)));
        let reader = Reader::enter(&shop).await;
        let form_token = reader.form_token().await;
        let cookies = vec![gone.cookie.clone(), format!("{}=0000", gone.cookie.split('=').next().unwrap()), String::new()];
        sqlx::any::install_default_drivers();
        let connection = AnyConnection::connect(&shop.database.url(&shop)).await.unwrap();
        let ground =
            Ground { connection, pool, questions, signed, answered, reader, cookies, form_token, begun, addresses: Vec::new(), shop };
        (ground, bob)
    }

    /// Says what was decided, or got closer to it, that nobody with this agent's ways may decide. Whoever is at the machine may stop
    /// things, freeze, propose, and ask for a link to enrol by.
    async fn fault(&mut self, before: &[String]) -> Option<String> {
        let now = decided(&mut self.connection).await;
        let may =
            ["link ", "freeze ", "revision ", "pending in ", "in force in staging", "no more: pending in ", "no more: in force in staging"];
        let mut differs = differences(before, &now);
        differs.retain(|fact| !may.iter().any(|begin| fact.starts_with(begin)));
        (!differs.is_empty()).then(|| format!("{differs:?}"))
    }

    /// Returns a document that looks like a decision: one of earlier, bent, or signed by nobody who counts.
    async fn forged(&self, chance: &mut Chance) -> (Question, Value) {
        let (earlier, document) = chance.one(&self.signed).clone();
        let mut question = chance.one(&self.questions).clone();
        if chance.happens(15) {
            question.verdict = DecisionVerdict::Reject;
        }
        let review = self.shop.review(&question).await;
        let fresh = |name: &str| {
            let person = Approver::new(name);
            let decided = review.as_ref().map(|review| person.decision(review, question.verdict, Some("because")));
            decided.map_or_else(|_| document.clone(), |decision| person.sign(decision))
        };
        let passkey: Value = serde_json::from_str(&self.answered).unwrap();
        let response = &passkey["response"];
        let assertion = json!({ "credential_id": passkey["id"], "authenticator_data": response["authenticatorData"],
            "client_data_json": response["clientDataJSON"], "signature": response["signature"] });
        let signed = match chance.0.random_range(0..9) {
            0 => return (earlier, json!(document)),
            1 => json!(document),
            2 => json!(fresh("ada")),
            3 => json!(fresh("eve")),
            4 => json!(SignedDecision { signature: document.signature.clone(), ..fresh("ada") }),
            5 => json!(SignedDecision { signature: Signature::Ed25519(String::new()), ..fresh("ada") }),
            6 => json!({ "decision": fresh("bob").decision, "signature": assertion }),
            // What one person has signed, as if another had.
            7 => {
                let mut of_another = json!(document);
                of_another["decision"]["approver"] = json!("bob");
                of_another
            }
            _ => {
                let mut another = json!(document);
                let (field, value) =
                    *chance.one(&[("nonce", "0123456789abcdef0123456789abcdef"), ("verdict", "reject"), ("environment", "staging")]);
                another["decision"][field] = json!(value);
                another
            }
        };
        (question, signed)
    }

    /// Draws the arguments of a method for people.
    async fn for_people(&self, method: &str, chance: &mut Chance) -> Value {
        match method {
            "decide" => {
                let (question, signed) = self.forged(chance).await;
                json!({ "question": question, "signed": signed })
            }
            "review" => json!(chance.one(&self.questions)),
            "apply" => {
                let approval = if chance.happens(50) { APPROVAL } else { "{ role = \"intern\" }" };
                json!({ "text": self.shop.configuration(approval) })
            }
            "enrol_first" => Approver::new("eve").enrolment("chairman"),
            "enrolment_link" => json!({ "name": chance.one(&["eve", "ada", "bob"]), "role": "chairman" }),
            "freeze" => json!({ "environment": "staging", "reason": "because", "until": "2199-01-01T00:00:00Z" }),
            "measure" => json!({ "service": "web", "environment": "staging" }),
            "down" => json!({ "environment": chance.one(&["production", "nowhere"]) }),
            "open" => json!({ "to": chance.one(&["/", "/plans/x", "//evil.example"]) }),
            _ => json!({}),
        }
    }

    /// Makes a call at one of the doors of agents or of people; returns the door, what was said, and the answer.
    async fn called(&mut self, chance: &mut Chance) -> (String, String, Value) {
        let entries = operations::all();
        let is_for_people = chance.happens(35);
        let (method, arguments) = match is_for_people {
            true => {
                let method = chance.one(&extras()).clone();
                let arguments = self.for_people(&method, chance).await;
                (method, arguments)
            }
            // Now and then what every door answers.
            false if chance.happens(25) => ("get_status".to_owned(), json!({})),
            false => chance.call(&entries, &self.pool, &[]),
        };
        let (address, token) = self.shop.listens();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": chance.one(&["ada", "operator", "x"]), "version": "1" },
            "principal": "operator", "kind": "operator", "approved": true,
        });
        let tool = json!({ "name": method, "arguments": arguments, "_meta": meta });
        let (door, answer) = match chance.0.random_range(0..5) {
            0 => ("agent.sock", line(&self.shop.agent_socket(), "tools/call", tool).await),
            1 => ("agent.sock, by its bare name", line(&self.shop.agent_socket(), &method, arguments.clone()).await),
            3 if is_for_people => ("api.sock", line(&self.shop.api_socket(), &method, arguments.clone()).await),
            2 => ("api.sock", line(&self.shop.api_socket(), &method, arguments.clone()).await),
            3 => {
                let headers = [
                    ("accept", "application/json, text/event-stream"),
                    ("mcp-protocol-version", "2026-07-28"),
                    ("mcp-method", "tools/call"),
                ];
                let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool });
                ("/mcp", self.over_http(address, &token, "/mcp", &[&headers[..], &[("mcp-name", method.as_str())]].concat(), &asked).await)
            }
            _ => {
                let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": arguments });
                ("/rpc", self.over_http(address, &token, "/rpc", &[], &asked).await)
            }
        };
        learn(&mut self.pool, &answer["result"]);
        (door.to_owned(), format!("{method} {arguments}"), answer)
    }

    async fn over_http(&self, address: std::net::SocketAddr, token: &str, path: &str, more: &[(&str, &str)], asked: &Value) -> Value {
        let (host, bearer) = (address.to_string(), format!("Bearer {token}"));
        let own = [("host", host.as_str()), ("authorization", &bearer), ("content-type", "application/json")];
        let answer = send(address, "POST", path, &[&own, more].concat(), &asked.to_string()).await;
        let body = answer.body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&answer.body);
        serde_json::from_str(body).unwrap_or_else(|_| json!({ "error": { "status": answer.status, "said": body } }))
    }

    /// Opens a page or sends a form; returns the request, and the status.
    async fn visited(&mut self, chance: &mut Chance) -> (&'static str, String, u16) {
        if self.addresses.is_empty() {
            self.addresses = routes().into_iter().flat_map(|route| [("GET", route.clone()), ("POST", route)]).collect();
            self.addresses.shuffle(&mut chance.0);
        }
        let (method, route) = self.addresses.pop().unwrap();
        let name = |chance: &mut Chance, pool: &Pool, of: &str| chance.text(pool, of).as_str().unwrap_or("x").to_owned();
        let of = match route.split('/').nth(1) {
            Some("plans") => "plan",
            Some("deployments") => "deployment",
            Some("directives") => "directive",
            Some("runbooks") => "runbook",
            _ => "any",
        };
        let words = ["plan", "configuration", "sign-off", "runbook", "approver", "unfreeze", "resolve", "restore", "rollback"];
        let id = if route.starts_with("/decide") { (*chance.one(&words)).to_owned() } else { name(chance, &self.pool, of) };
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let path = route.replace("{id}", &id).replace("{file}", "1.md").replace("{sha256}", &"0".repeat(64));

        // A page's own address, session and form, or something that is almost that.
        let (address, token) = self.shop.listens();
        let by_address = address.to_string();
        let origin = self.reader.origin();
        let bearer = format!("Bearer {token}");
        let guessed = format!("interlock_{}={:064x}", address.port(), chance.0.random::<u128>());
        let cookies = [&self.cookies[..], &[guessed]].concat();
        // With everything right what is asked is what refuses; else the place it comes from is.
        let bent = if chance.happens(60) { 0 } else { 40 };
        let host = if chance.happens(bent) { *chance.one(&["evil.example", "localhost:1", &by_address]) } else { &self.reader.host };
        let origin = if chance.happens(bent) { *chance.one(&["null", "https://evil.example", "http://localhost:1"]) } else { &origin };
        let cookie = if chance.happens(bent) { chance.one(&cookies) } else { &self.reader.cookie };
        let site = if chance.happens(bent) { *chance.one(&["same-site", "cross-site"]) } else { "same-origin" };
        let mut headers = vec![("host", host), ("origin", origin), ("cookie", cookie.as_str()), ("sec-fetch-site", site)];
        if chance.happens(20) {
            headers.push(("authorization", &bearer));
        }
        headers.push(("content-type", "application/x-www-form-urlencoded"));

        let form_token = if chance.happens(bent) { "0000".into() } else { self.form_token.clone() };
        let question = chance.one(&self.questions).clone();
        let sha256 = self.shop.review(&question).await.map_or_else(|_| "0".repeat(64), |review| review.subject_sha256.0);
        let forged = self.answer_of_nobody(chance);
        let plan = question.subject.as_str().unwrap_or("plan_1").to_owned();
        let fields = [
            ("form_token", form_token),
            ("plan", plan),
            ("sha256", sha256),
            ("verdict", (*chance.one(&["approve", "approve", "reject"])).to_owned()),
            ("reason", "because".to_owned()),
            ("handle", if chance.happens(70) { self.begun.handle.clone() } else { "0".repeat(32) }),
            ("answer", forged),
            ("directive", name(chance, &self.pool, "directive")),
            ("deployment", name(chance, &self.pool, "deployment")),
            ("fact", "uat".into()),
            ("runbook", name(chance, &self.pool, "runbook")),
            ("freeze", name(chance, &self.pool, "freeze")),
            ("fingerprint", "0000-0000-0000-0000".into()),
            ("choice", "mark-done".into()),
            ("environment", "staging".into()),
            ("to", "/".into()),
            ("link", "0".repeat(64)),
            ("comment", "approved".into()),
        ];
        let fields: Vec<_> = fields.iter().filter(|_| chance.happens(95)).collect();
        let form: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields.iter().map(|(name, value)| (name, value))).finish();
        let body = if method == "POST" { form.as_str() } else { "" };
        let sent = send(address, method, &path, &headers, body);
        let status = tokio::time::timeout(Duration::from_secs(10), sent).await.map_or(0, |answer| answer.status);
        let said = format!("{route} as {path} {headers:?} {body}");
        if self.reader.get("/").await.status == 401 {
            // It has signed itself out.
            self.reader = Reader::enter(&self.shop).await;
            self.form_token = self.reader.form_token().await;
        }
        (method, said, status)
    }

    /// Returns what a passkey answers that is not the person's: one of earlier, or made by another key under its name.
    fn answer_of_nobody(&self, chance: &mut Chance) -> String {
        let mut key = if chance.happens(50) { Authenticator::es256() } else { Authenticator::eddsa() };
        let earlier: Value = serde_json::from_str(&self.answered).unwrap();
        key.id = support::authenticator::bytes_of(earlier["id"].as_str().unwrap());
        match chance.0.random_range(0..4) {
            0 => self.answered.clone(),
            1 => "{}".into(),
            2 => {
                // The person's own signature, over what was begun.
                let mut mixed = key.get(&self.begun.options, &self.reader.origin());
                mixed["response"]["signature"] = earlier["response"]["signature"].clone();
                mixed.to_string()
            }
            _ => key.get(&self.begun.options, &self.reader.origin()).to_string(),
        }
    }

    /// Enrols a passkey of its own by a link, and tries to sign in and to decide with it.
    async fn enrols_itself(&self, chance: &mut Chance) {
        let name = *chance.one(&["eve", "ada", "bob"]);
        let mut own = Authenticator::es256();
        support::passkeys::enrol(&self.shop, name, &mut own).await;
        let stranger = Reader::stranger(&self.shop);
        let asked = begun(&stranger.post("/sign-in", &[]).await);
        let signed = own.get(&asked.options, &stranger.origin()).to_string();
        let refused = stranger.post("/sign-in/answer", &[("handle", &asked.handle), ("answer", &signed)]).await;
        assert!(refused.status == 403 && refused.header("set-cookie").is_none(), "{}", refused.body);
        let signed = own.get(&self.begun.options, &stranger.origin()).to_string();
        let fields = [("form_token", self.form_token.as_str()), ("handle", &self.begun.handle), ("answer", &signed)];
        assert_ne!(self.reader.post("/decide/plan/answer", &fields).await.status, 303);
    }
}

fn question(kind: DecisionKind, subject: Value, verdict: DecisionVerdict) -> Question {
    Question { kind, subject, verdict }
}

async fn no_door_of_the_server_decides_for_an_agent(database: Database) {
    let seed: u64 = std::env::var("INTERLOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let mut chance = Chance::of(seed);
    let (shop, ada) = Shop::signed(database, two_of_them).await;
    let (mut ground, mut bob) = Ground::prepared(shop, &ada).await;
    let before = decided(&mut ground.connection).await;
    assert!(before.iter().filter(|fact| fact.starts_with("decision ")).count() >= 3, "{before:?}");

    let (mut doors, mut pages) = (Tally::new(), Tally::new());
    for number in 1..=SEQUENCES {
        let mut made = Vec::new();
        for _ in 0..chance.0.random_range(1..=6) {
            if chance.happens(50) {
                let (door, said, answer) = ground.called(&mut chance).await;
                let is_refused = answer.get("error").is_some() || answer["result"]["isError"] == true;
                doors.entry(door.clone()).or_default()[usize::from(is_refused)] += 1;
                made.push(format!("{door}: {said}"));
            } else {
                let (method, request, status) = ground.visited(&mut chance).await;
                let route = request.split(' ').next().unwrap();
                pages.entry(format!("{method} {route}")).or_default()[usize::from(status >= 400 || status == 0)] += 1;
                made.push(format!("{method} {request}: {status}"));
            }
        }
        if number % 20 == 0 {
            ground.enrols_itself(&mut chance).await;
        }
        if let Some(fault) = ground.fault(&before).await {
            panic!("INTERLOCK_SEED={seed}, sequence {number}: {fault}\n{}", made.join("\n"));
        }
    }
    let total = |of: &Tally, at: usize| of.values().map(|counts| counts[at]).sum::<usize>();
    println!(
        "figure: {SEQUENCES} sequences, {} calls accepted and {} refused, {} pages shown and {} refused, 0 decisions (INTERLOCK_SEED={seed})",
        total(&doors, 0),
        total(&doors, 1),
        total(&pages, 0),
        total(&pages, 1)
    );
    println!("figure: doors {doors:?}\nfigure: pages {pages:?}");
    // Every door was open and refused something; every address was asked for, and with a form.
    for door in ["agent.sock", "api.sock", "/mcp", "/rpc"] {
        assert!(doors.get(door).is_some_and(|[accepted, refused]| *accepted > 0 && *refused > 0), "{door}: {doors:?}");
    }
    for route in routes() {
        for method in ["GET", "POST"] {
            assert!(pages.contains_key(&format!("{method} {route}")), "{method} {route} was never tried");
        }
    }
    assert!(total(&pages, 0) > 50 && total(&pages, 1) > 50, "{pages:?}");

    // The positive control: the same look sees the real key over the people's socket, and the real passkey on the page.
    // Over a plan of its own: an agent may replace what it has planned, and give up what it was to do.
    let shop = &ground.shop;
    let plan = shop.plan(&shop.directive("production", "4.0.0").await).await;
    shop.approves(&ada, &plan).await.unwrap();
    let seen = ground.fault(&before).await.expect("a person's decision is seen");
    assert!(seen.contains("decision ") && !seen.contains("plan "), "one of two: {seen}");
    let of_bob = sign_in(&ground.shop, &mut bob, "/").await;
    let page = format!("/plans/{plan}");
    let approved = Decider::at(&of_bob, &page).await.decide(&mut bob, "approve", "").await;
    assert_eq!(approved.status, 303, "{}", approved.body);
    let seen = ground.fault(&before).await.expect("and the one that completes it");
    assert!(seen.contains(&format!("plan {plan} approved")), "{seen}");
    let verified = ground.shop.must("audit_verify", json!({})).await;
    assert_eq!(verified["decisions"], decided(&mut ground.connection).await.iter().filter(|fact| fact.starts_with("decision ")).count());
    ground.connection.close().await.unwrap();
}
