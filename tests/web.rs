//! The pages over real sockets: who gets in, what no form does, and that nothing from outside is ever markup or invisible.

mod support;

use interlock::model::{DecisionKind, DecisionVerdict};
use serde_json::{Value, json};
use std::time::Instant;
use support::{
    PATIENCE,
    pages::{MARKUP, Reader, foreign, link, send},
    passkeys::{admitted, begun, sign_in},
    shop::{APPROVAL, Database, Shop, text},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    time::{sleep, timeout},
};

/// The most a page may have, bytes.
const MOST: usize = 100 * 1024;

/// Every page that needs nothing to be there.
const PAGES: &[&str] = &[
    "/",
    "/directives",
    "/history",
    "/runbooks",
    "/figures",
    "/ventures",
    "/freezes",
    "/incidents",
    "/configuration",
    "/people",
    "/audit",
    "/audit?verify=1",
];

fn standard(shop: &Shop) -> String {
    shop.configuration(APPROVAL)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_one_session_and_nothing_else_opens_a_page() {
    let shop = Shop::open(Database::Sqlite).await;
    let (address, token) = shop.listens();
    let (host, bearer) = (format!("localhost:{}", address.port()), format!("Bearer {token}"));
    for path in PAGES.iter().chain(&["/plans/plan_1", "/plans/plan_1/bytes", "/deployments/dep_1", "/evidence/00", "/leave"]) {
        for headers in [
            vec![("host", host.as_str())],
            vec![("host", &host), ("authorization", &bearer)],
            vec![("host", &host), ("cookie", "interlock=1")],
        ] {
            let answer = send(address, "GET", path, &headers, "").await;
            assert_eq!(answer.status, 401, "{path} {headers:?}");
            assert!(answer.header("set-cookie").is_none() && answer.body.contains("interlock open"), "{path}");
            assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none';"), "{path}");
        }
    }
    let (_, key) = link(&shop).await;
    let enter = format!("/enter?key={key}");
    // What fetches ahead, or asks for the head alone, uses no link up; nor does another key.
    assert_eq!(send(address, "GET", &enter, &[("host", &host), ("sec-purpose", "prefetch;prerender")], "").await.status, 400);
    assert_eq!(send(address, "HEAD", &enter, &[("host", &host)], "").await.status, 400);
    assert_eq!(send(address, "GET", "/enter?key=00", &[("host", &host)], "").await.status, 403);
    assert_eq!(send(address, "GET", "/enter", &[("host", &host)], "").await.status, 403);
    let entered = send(address, "GET", &enter, &[("host", &host)], "").await;
    let cookie = entered.header("set-cookie").expect("a cookie");
    assert_eq!(entered.status, 200);
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(&key) && !cookie.contains("Domain"), "{cookie}");
    let again = send(address, "GET", &enter, &[("host", &host)], "").await;
    assert_eq!((again.status, again.header("set-cookie")), (403, None), "a link is good once");

    let cookie = cookie.split(';').next().unwrap();
    let status = async |host: &str, cookie: &str, more: &[(&str, &str)]| {
        let headers = [&[("host", host), ("cookie", cookie)], more].concat();
        send(address, "GET", "/", &headers, "").await.status
    };
    assert_eq!(status(&host, cookie, &[]).await, 200);
    assert_eq!(status(&format!("127.0.0.1:{}", address.port()), cookie, &[]).await, 401, "a session holds at its own host");
    assert_eq!(status("evil.example", cookie, &[]).await, 403);
    assert_eq!(status(&host, &format!("{cookie}0"), &[]).await, 401);
    assert_eq!(status(&host, &format!("{cookie}; {cookie}"), &[]).await, 401, "which of two is meant?");
    let fetched = |site, mode, dest| [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
    assert_eq!(status(&host, cookie, &fetched("same-origin", "cors", "empty")).await, 200);
    assert_eq!(status(&host, cookie, &fetched("cross-site", "navigate", "document")).await, 200, "a link from elsewhere shows a page");
    assert_eq!(status(&host, cookie, &fetched("same-site", "no-cors", "script")).await, 403, "another port of this machine reads nothing");
    assert_eq!(status(&host, cookie, &fetched("cross-site", "navigate", "iframe")).await, 403);
    // The bearer token, which agents have, still opens no page beside a session of nobody.
    assert_eq!(status(&host, "interlock=1", &[("authorization", &bearer)]).await, 401);
    for to in ["//evil.example", "https://evil.example/", "plans", ""] {
        shop.refused("invalid_arguments", "open", json!({ "to": to })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_counts_from_its_own_page_and_session_only() {
    let shop = Shop::open(Database::Sqlite).await;
    let (reader, other) = (Reader::enter(&shop).await, Reader::enter(&shop).await);
    let (token, foreign) = (reader.form_token().await, other.form_token().await);
    let origin = format!("http://{}", reader.host);
    let by_address = format!("http://{}", reader.address);
    let post = async |origin: &str, token: &str, more: &[(&str, &str)]| {
        let mut headers =
            vec![("host", reader.host.as_str()), ("cookie", &reader.cookie), ("content-type", "application/x-www-form-urlencoded")];
        if !origin.is_empty() {
            headers.push(("origin", origin));
        }
        headers.extend(more);
        let body = if token.is_empty() { String::new() } else { format!("form_token={token}") };
        send(reader.address, "POST", "/leave", &headers, &body).await.status
    };
    for (origin, token, more) in [
        (origin.as_str(), "", &[][..]),
        (&origin, "0000", &[]),
        (&origin, &foreign, &[]),
        ("", &token, &[]),
        ("null", &token, &[]),
        ("https://evil.example", &token, &[]),
        ("http://localhost:1", &token, &[]),
        (&by_address, &token, &[]),
        (&origin, &token, &[("sec-fetch-site", "cross-site")]),
        (&origin, &token, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]),
    ] {
        assert_eq!(post(origin, token, more).await, 403, "{origin} {token} {more:?}");
        assert_eq!(reader.get("/").await.status, 200, "nothing has happened");
    }
    let deleted = send(reader.address, "DELETE", "/leave", &[("host", &reader.host), ("cookie", &reader.cookie)], "").await;
    assert_eq!(deleted.status, 405);
    // The same form with everything right signs out, this session alone.
    assert_eq!(post(&origin, &token, &[("sec-fetch-site", "same-origin")]).await, 303);
    assert_eq!((reader.get("/").await.status, other.get("/").await.status), (401, 200));
}

fn hostile(field: &str) -> String {
    MARKUP.iter().map(|markup| format!("{field}{markup} ")).collect()
}

/// As much of it as a field takes.
fn cut(field: &str, most: usize) -> String {
    hostile(field).chars().take(most).collect()
}

#[test]
fn a_page_that_does_not_escape_is_seen() {
    let ours = "<!DOCTYPE html><html lang=\"en\"><body><p class=\"lead\" title=\"a &lt; b\">x</p><a href=\"/plans/1\">y</a></body></html>";
    assert_eq!(foreign(ours), [""; 0]);
    for markup in MARKUP.iter().filter(|markup| !markup.starts_with('&')) {
        let planted = [ours.replace(">x<", &format!(">{markup}<")), ours.replace("a &lt; b", markup)];
        assert!(planted.iter().any(|page| !foreign(page).is_empty()), "{markup} is not seen");
    }
    assert_eq!(foreign("<a href=\"javascript:x\">"), ["a href=javascript:x"]);
    assert_eq!(foreign("<a href=\"//evil.example\">"), ["a href=//evil.example"]);
    assert_eq!(foreign("<a href=\"https://x.test/\">"), ["a href=https://x.test/"], "without saying that it leads away");
    assert_eq!(foreign("<a href=\"https://x.test/\" rel=\"external nofollow noopener noreferrer\">"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_whole_small_and_says_what_is_hidden() {
    let (shop, ada) = Shop::signed(Database::Sqlite, standard).await;
    let first = shop.deliver(&ada, "1.0.0").await;
    let second = shop.deliver(&ada, "2.0.0").await;
    let (first, second) = (text(&first["deployment"]["id"]), text(&second["deployment"]["id"]));
    let notes = format!("{} \u{202e}desrever\u{200b}", hostile("notes"));
    shop.must("write_runbook", json!({ "deployment": second, "notes": notes })).await;
    let back = shop.must("rollback_deployment", json!({ "deployment": second, "reason": hostile("reason") })).await;
    let back = text(&back["deployment"]);
    shop.settled(&back).await;

    // An order and its plan, every word of which an agent has chosen.
    let artifact = shop.build("3.0.0");
    let order = json!({
        "service": "web", "environment": "production", "version": "3.0.0", "artifact": artifact, "title": cut("title", 400),
        "rationale": hostile("why\u{202e}"), "description": hostile("what\u{200b}"), "scope": hostile("scope"),
    });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "<script>agent</script>", "version": "\u{202e}1" },
    });
    let tool = async |name: &str, arguments: Value| {
        let called = json!({ "name": name, "arguments": arguments, "_meta": meta });
        support::wire::line(&shop.agent_socket(), "tools/call", called).await["result"]["structuredContent"].take()
    };
    let directive = text(&tool("create_directive", order).await["directive"]["id"]);
    let assessment = json!({
        "classification": "internal", "threats": [cut("threat", 590), "p\u{430}yment \u{2066}isolated"], "mitigations": [cut("mitigation", 590)], "risk": "low",
        "rollback": cut("rollback", 590), "monitoring": cut("monitoring", 590), "recommendation": "proceed",
    });
    let plan = text(&tool("plan_deployment", json!({ "directive": directive, "assessment": assessment })).await["plan"]);
    shop.must("freeze", json!({ "environment": "staging", "reason": cut("freeze", 180) })).await;

    shop.must("create_venture", json!({ "name": cut("venture", 90), "venture": "shop" })).await;

    let reader = Reader::enter(&shop).await;
    let waits = reader.page(&format!("/plans/{plan}")).await;
    for said in ["What is not proven", &format!("interlock approve {plan}"), "3.0.0", "nothing here checked it", "unverified"] {
        assert!(waits.contains(said), "`{said}` is not on the plan's page");
    }
    for hidden in ["\\u{2066}", "\u{430}<small>\\u{430}</small>"] {
        assert!(waits.contains(hidden), "`{hidden}` is not shown on the plan's page");
    }
    // What is shown was read from the very bytes whose hash is signed.
    let bytes = reader.get(&format!("/plans/{plan}/bytes")).await;
    let sha256 = interlock::model::Sha256::of(bytes.body.as_bytes());
    assert!(waits.contains(&sha256.0) && plan.ends_with(&sha256.0[..16]), "the page shows another hash than that of its bytes");
    assert!(bytes.header("content-security-policy").unwrap().contains("sandbox"));

    let home = reader.page("/").await;
    for said in ["Approve or reject", "1 of 2 places", &format!("interlock approve {plan}"), "1 of 1 run"] {
        assert!(home.contains(said), "`{said}` is not on the home page: {home}");
    }
    let no = shop.decides(&ada, DecisionKind::Plan, json!(plan), DecisionVerdict::Reject, Some(cut("no", 400).as_str())).await;
    no.unwrap();

    let things = [
        format!("/plans/{plan}"),
        format!("/directives/{directive}"),
        format!("/deployments/{first}"),
        format!("/deployments/{second}"),
        format!("/deployments/{second}?source=production-web-{second}-1"),
        format!("/deployments/{back}?grep=%3Cscript%3E%22%27"),
        "/runbooks/rb_production_web".to_owned(),
        "/runbooks/rb_production_web?version=1".to_owned(),
        "/history?service=%3Cscript%3E&environment=%22%3E%3Cimg%20src=x%3E".to_owned(),
        "/figures?days=7".to_owned(),
        "/ventures/shop".to_owned(),
    ];
    let mut seen = String::new();
    for path in PAGES.iter().map(|path| (*path).to_owned()).chain(things) {
        let answer = reader.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(foreign(&answer.body), [""; 0], "{path}");
        assert!(answer.body.len() <= MOST, "{path} has {} bytes", answer.body.len());
        println!("figure: page {path} {} bytes", answer.body.len());
        assert!(!answer.body.contains(interlock::model::text::is_hidden), "{path} has characters that nobody sees");
        assert!(answer.body.matches("<script").count() == 1 && answer.body.contains("<title>") && answer.body.contains("<h1>"), "{path}");
        let security = answer.header("content-security-policy").unwrap();
        assert!(
            security.starts_with("default-src 'none';") && security.contains("frame-ancestors 'none'") && !security.contains("unsafe"),
            "{path}"
        );
        for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin"), ("cache-control", "no-store")] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        seen += &answer.body;
    }
    // Each of those words was there: an empty page would hide nothing either.
    for field in
        ["notes", "reason", "title", "why", "what", "scope", "threat", "mitigation", "rollback", "monitoring", "freeze", "no", "venture"]
    {
        assert!(
            seen.contains(&format!("{field}<b class=\"hid\">")) || seen.contains(&format!("{field}&lt;script&gt;")),
            "`{field}` is on no page"
        );
    }
    for hidden in ["\\u{202e}", "\\u{200b}"] {
        assert!(seen.contains(&format!("<b class=\"hid\">{hidden}</b>")), "`{hidden}` is nowhere shown");
    }
    for path in
        ["/plans/plan_0000", "/deployments/dep_999", "/directives/SD-DEPLOY-999", "/runbooks/rb_no_such", "/ventures/none", "/evidence/00"]
    {
        let answer = reader.get(path).await;
        assert_eq!((answer.status, foreign(&answer.body)), (404, Vec::new()), "{path}");
    }
    for path in ["/history?state=%3Cb%3E", "/history?before=x", "/audit?before=x", "/figures?days=0"] {
        let answer = reader.get(path).await;
        assert_eq!((answer.status, foreign(&answer.body)), (400, Vec::new()), "{path}");
    }
    for (path, media_type) in
        [("/style.css", "text/css; charset=utf-8"), ("/pages.js", "text/javascript; charset=utf-8"), ("/icon.svg", "image/svg+xml")]
    {
        let answer = reader.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_page_changes_nothing() {
    let (shop, ada) = Shop::signed(Database::Sqlite, standard).await;
    let delivered = shop.deliver(&ada, "1.0.0").await;
    let deployment = text(&delivered["deployment"]["id"]);
    let waiting = shop.plan(&shop.directive("production", "2.0.0").await).await;
    let reader = Reader::enter(&shop).await;
    let head = async || shop.must("audit_verify", json!({})).await["head"].clone();
    // What follows a deployment by itself comes to an end first.
    let mut before = head().await;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let now = head().await;
        if now == before {
            break;
        }
        before = now;
    }
    let things = [format!("/plans/{waiting}"), format!("/deployments/{deployment}"), "/directives/SD-DEPLOY-001".to_owned()];
    for path in PAGES.iter().map(|path| (*path).to_owned()).chain(things) {
        reader.page(&path).await;
    }
    assert_eq!(head().await, before);
    // The same look at the chain sees a change.
    shop.must("freeze", json!({ "environment": "staging", "reason": "a change" })).await;
    assert_ne!(head().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ventures_page_leads_through_its_stages() {
    let (shop, ada) = Shop::signed(Database::Sqlite, standard).await;
    let reader = Reader::enter(&shop).await;
    assert!(reader.page("/ventures").await.contains("interlock create-venture --name NAME"));
    shop.must("create_venture", json!({ "name": "Corner Shop", "lifecycle_stage": 22, "workflow_stage": 30 })).await;
    let delivered = shop.deliver(&ada, "1.0.0").await;
    let page = reader.page("/ventures/corner-shop").await;
    assert_eq!(page, reader.page("/ventures").await, "it is the active one");
    let (_, stages) = page.split_once("stage 22 of ").expect("where it stands");
    let (vision, workflow) = stages.split_once("stage 30 of ").expect("where it stands in the other lifecycle");
    for (lifecycle, number) in [(vision, 22), (workflow, 30)] {
        let count = |what: &str| lifecycle.matches(what).count();
        let stages: usize = lifecycle.split(',').next().and_then(|count| count.parse().ok()).expect("how many stages there are");
        let first: usize = lifecycle.split("start=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok()).expect("a first stage");
        let shown: usize = lifecycle.split("<ol").skip(1).map(|phase| phase.split("</ol>").next().unwrap().matches("<li>").count()).sum();
        assert_eq!((shown, count("</svg>here</span>")), (stages, 1), "{lifecycle}");
        assert_eq!(count("</svg>passed</span>"), number - first, "{lifecycle}");
        let open = lifecycle.split("<details").skip(1).filter(|phase| phase.starts_with(" open"));
        let open: Vec<&str> = open.map(|phase| phase.split("</details>").next().unwrap()).collect();
        assert!(open.len() == 1 && open[0].contains("</svg>here</span>"), "the phase it stands in is open: {open:?}");
    }
    // The stage's work, and what keeps it from the next one.
    let directive = text(&delivered["deployment"]["directive"]);
    assert!(vision.contains(&format!("href=\"/directives/{directive}\"")) && vision.contains("deployment_runbook"), "{vision}");
}

/// A page that is told what happens.
struct Followed {
    head: String,
    lines: Lines<BufReader<TcpStream>>,
}

impl Followed {
    async fn open(reader: &Reader, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(reader.address).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n{headers}\r\n", reader.host);
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut lines, mut head) = (BufReader::new(stream).lines(), String::new());
        while let Some(line) = timeout(PATIENCE, lines.next_line()).await.expect("a head in time").unwrap().filter(|line| !line.is_empty())
        {
            head += &format!("{line}\n");
        }
        Followed { head, lines }
    }

    async fn by(reader: &Reader, path: &str) -> Self {
        let followed = Followed::open(reader, path, &[("cookie", &reader.cookie)]).await;
        assert!(
            followed.head.starts_with("HTTP/1.1 200") && followed.head.contains("content-type: text/event-stream"),
            "{}",
            followed.head
        );
        assert!(followed.head.contains("content-security-policy: default-src 'none';"), "{}", followed.head);
        followed
    }

    /// Returns the name of the next event and what it says; none when the stream has ended.
    async fn hears(&mut self) -> Option<(String, String)> {
        let mut name = None;
        while let Some(line) = timeout(PATIENCE, self.lines.next_line()).await.expect("a word in time").ok()? {
            // The last chunk: the connection itself stays open.
            if line == "0" {
                return None;
            }
            match (line.strip_prefix("event: "), line.strip_prefix("data: "), &name) {
                (Some(event), _, _) => name = Some(event.to_owned()),
                (_, Some(data), Some(event)) => return Some((event.clone(), data.to_owned())),
                _ => {}
            }
        }
        None
    }

    /// Returns the next event that is no beat.
    async fn hears_news(&mut self) -> Option<(String, String)> {
        let began = Instant::now();
        loop {
            match self.hears().await {
                Some((event, _)) if event == "beat" => assert!(began.elapsed() < PATIENCE, "nothing but beats"),
                other => return other,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_follows_with_a_session_while_there_is_room_and_to_the_end_of_both() {
    let (mut shop, ada) = Shop::signed(Database::Sqlite, standard).await;
    let (reader, another, stranger) = (Reader::enter(&shop).await, Reader::enter(&shop).await, Reader::stranger(&shop));
    let bearer = format!("Bearer {}", shop.listens().1);
    for headers in [vec![], vec![("authorization", bearer.as_str())], vec![("cookie", "interlock=1")]] {
        let refused = Followed::open(&stranger, "/", &headers).await;
        assert!(refused.head.starts_with("HTTP/1.1 401"), "{}", refused.head);
    }
    let elsewhere = [("cookie", reader.cookie.as_str()), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")];
    assert!(Followed::open(&reader, "/", &elsewhere).await.head.starts_with("HTTP/1.1 403"));

    // What the page shows already is not said again; what changes is, and a page that stands says so and ends.
    let edition = |page: &str| page.split("data-edition=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let directive = shop.directive("production", "1.0.0").await;
    let plan = shop.plan(&directive).await;
    let decided = format!("/plans/{plan}");
    let mut plans = Followed::by(&reader, &format!("{decided}?seen={}", edition(&reader.page(&decided).await))).await;
    let mut stale = Followed::by(&reader, &format!("{decided}?seen=00")).await;
    assert_eq!(stale.hears_news().await.unwrap().0, "changed");
    assert!(stale.hears().await.is_none());
    let mut home = Followed::by(&reader, "/").await;
    let (event, html) = home.hears_news().await.unwrap();
    assert!(event == "page" && html.contains(&plan) && !html.contains("<nav"), "{event} {html}");
    let mut still = Followed::by(&reader, "/?still=1").await;
    assert_eq!(still.hears_news().await.unwrap().0, "end");
    assert!(still.hears().await.is_none());
    let began = Instant::now();
    assert_eq!(plans.hears().await.unwrap().0, "beat");
    assert!(began.elapsed().as_secs() < 30, "it beats while nothing happens");
    shop.must("freeze", json!({ "environment": "staging", "reason": "a look at the till" })).await;
    let began = Instant::now();
    while !home.hears_news().await.unwrap().1.contains("a look at the till") {
        assert!(began.elapsed() < PATIENCE, "home does not say what is frozen");
    }
    shop.approves(&ada, &plan).await.unwrap();
    assert_eq!(plans.hears_news().await.unwrap(), ("changed".to_owned(), "-".to_owned()), "by the approval, and by nothing before it");
    assert!(plans.hears().await.is_none(), "whoever decides loads it again");

    // Four of a session, and others beside them; a place is free again when a page is closed.
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(Followed::by(&reader, "/").await);
    }
    let mut fifth = Followed::by(&reader, "/").await;
    assert_eq!(fifth.hears_news().await.unwrap().0, "full");
    assert!(fifth.hears().await.is_none());
    let mut other = Followed::by(&another, "/").await;
    assert_eq!(other.hears_news().await.unwrap().0, "page");
    drop(more);
    let began = Instant::now();
    while Followed::by(&reader, "/").await.hears_news().await.unwrap().0 == "full" {
        assert!(began.elapsed() < PATIENCE, "a closed page keeps its place");
        sleep(std::time::Duration::from_millis(100)).await;
    }

    let token = reader.form_token().await;
    assert_eq!(reader.post("/leave", &[("form_token", &token)]).await.status, 303);
    while home.hears().await.is_some_and(|(event, _)| event != "over") {}
    assert!(home.hears().await.is_none(), "it ends with the session");
    let began = Instant::now();
    shop.stop().await;
    assert!(began.elapsed().as_secs() < 4, "the server waits for no page: {:?}", began.elapsed());
    assert!(other.hears_news().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_follows_is_over_when_a_passkey_of_its_person_was_cloned() {
    let (shop, key) = Shop::signed(Database::Sqlite, standard).await;
    let (mut passkey, mut bobs) = (admitted(&shop, &key, "ada").await, admitted(&shop, &key, "bob").await);
    let (ada, bob) = (sign_in(&shop, &mut passkey, "/").await, sign_in(&shop, &mut bobs, "/").await);
    let (mut of_ada, mut of_bob) = (Followed::by(&ada, "/").await, Followed::by(&bob, "/").await);
    assert_eq!((of_ada.hears_news().await.unwrap().0, of_bob.hears_news().await.unwrap().0), ("page".into(), "page".into()));
    let stranger = Reader::stranger(&shop);
    let asked = begun(&stranger.post("/sign-in", &[]).await);
    passkey.counter = Some(0);
    let signed = passkey.get(&asked.options, &stranger.origin()).to_string();
    assert_eq!(stranger.post("/sign-in/answer", &[("handle", &asked.handle), ("answer", &signed)]).await.status, 403);
    assert_eq!(of_ada.hears_news().await.unwrap().0, "over");
    assert!(of_ada.hears().await.is_none());
    shop.must("freeze", json!({ "environment": "staging", "reason": "a look at the till" })).await;
    assert_eq!(of_bob.hears_news().await.unwrap().0, "page", "the positive control: another person's page goes on");
}
