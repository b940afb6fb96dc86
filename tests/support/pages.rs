//! A browser before the pages, over real sockets, that sends exactly what a test says.

use super::shop::{PATIENCE, Shop, text};
use serde_json::json;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What the server has answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// Everything behind them.
    pub body: String,
}

impl Answer {
    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }
}

/// Sends one request with exactly these headers beside the length.
pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\n{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, asked).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Somebody at a browser, with a session.
pub struct Reader {
    /// Where the server listens.
    pub address: SocketAddr,
    /// What the browser calls it.
    pub host: String,
    /// The session's cookie, `name=value`.
    pub cookie: String,
}

impl Reader {
    /// Enters by a link from the terminal.
    pub async fn enter(shop: &Shop) -> Self {
        let (address, key) = link(shop).await;
        let host = format!("localhost:{}", address.port());
        let entered = send(address, "GET", &format!("/enter?key={key}"), &[("host", &host)], "").await;
        assert_eq!(entered.status, 200, "{}", entered.body);
        let cookie = entered.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned();
        Reader { address, host, cookie }
    }

    /// Opens a page.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &[("host", &self.host), ("cookie", &self.cookie)], "").await
    }

    /// Opens a page that is there; returns it.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Returns what every form of the session carries.
    pub async fn form_token(&self) -> String {
        let home = self.page("/").await;
        home.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form with its token").to_owned()
    }

    /// Returns a browser without a session.
    pub fn stranger(shop: &Shop) -> Self {
        let address = shop.listens().0;
        Reader { address, host: format!("localhost:{}", address.port()), cookie: String::new() }
    }

    /// Returns the origin of the pages.
    pub fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Sends a form as the page it stands on does.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(&self.origin(), path, fields, &[("sec-fetch-site", "same-origin")]).await
    }

    /// Sends it from elsewhere.
    pub async fn post_from(&self, origin: &str, path: &str, fields: &[(&str, &str)], more: &[(&str, &str)]) -> Answer {
        let form: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut headers = vec![("host", self.host.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        headers.extend([("cookie", self.cookie.as_str())].iter().filter(|(_, cookie)| !cookie.is_empty()));
        headers.extend([("origin", origin)].iter().filter(|(_, origin)| !origin.is_empty()));
        headers.extend(more);
        send(self.address, "POST", path, &headers, &form).await
    }
}

/// What pages of one thing are of.
pub struct Things {
    /// A deployment that has settled.
    pub deployment: String,
    /// Its directive.
    pub completed: String,
    /// Its plan.
    pub used: String,
    /// A directive whose plan waits for a signature.
    pub open: String,
    /// That plan.
    pub waiting: String,
    /// A runbook that is in review.
    pub runbook: String,
}

impl Things {
    /// Returns what is asked for where a page has this address; a page of one thing that is not known here is refused, not passed over.
    ///
    /// A venture of the id `shop` is there.
    pub fn behind(&self, address: &str) -> anyhow::Result<Vec<String>> {
        let Things { deployment, completed, used, open, waiting, runbook } = self;
        let asked = |queries: &[&str]| queries.iter().map(|query| format!("{address}{query}")).collect();
        let of = |ids: &[&str]| ids.iter().map(|id| address.replace("{id}", id)).collect();
        Ok(match address {
            "/history" => asked(&["", "?service=web&environment=staging", "?state=succeeded", "?state=stuck", "?before=150000"]),
            "/figures" => asked(&["", "?days=7", "?days=366"]),
            "/audit" => asked(&["", "?before=5000"]),
            "/plans/{id}" => of(&[waiting, used]),
            "/deployments/{id}" => of(&[deployment]),
            "/directives/{id}" => of(&[open, completed]),
            "/runbooks/{id}" => of(&[runbook, &format!("{runbook}?version=1")]),
            "/ventures/{id}" => of(&["shop"]),
            "/decide/{id}" => of(&[&format!("plan?plan={waiting}"), &format!("runbook?runbook={runbook}")]),
            one if one.contains('{') => anyhow::bail!("which `{one}` is to be asked for? `Things::behind` says it"),
            one => vec![one.to_owned()],
        })
    }

    /// Returns an address without what differs from run to run.
    pub fn shown(&self, page: &str) -> String {
        [
            (&self.waiting, "waiting"),
            (&self.used, "used"),
            (&self.open, "open"),
            (&self.completed, "completed"),
            (&self.deployment, "newest"),
        ]
        .iter()
        .fold(page.to_owned(), |page, (id, word)| page.replace(id.as_str(), &format!("({word})")))
    }
}

/// Returns where the server listens, and the key of a new link to its pages.
pub async fn link(shop: &Shop) -> (SocketAddr, String) {
    let address = shop.listens().0;
    let url = text(&shop.must("open", json!({})).await["url"]);
    let key = url.strip_prefix(&format!("http://localhost:{}/enter?key=", address.port())).unwrap_or_else(|| panic!("{url}"));
    (address, key.to_owned())
}

/// Markup that would do something, and text that would be read as something else.
pub const MARKUP: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</td></table><iframe src=javascript:alert(1)>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "</pre></code><style>*{display:none}</style>",
    "<!--<script>-->",
    "&lt;script&gt;&#60;b&#62;",
    "\" onmouseover=\"alert(1)",
    "<form action=/leave method=post><button>Approve</button></form>",
];

/// Says what of a page is not ours: an element, an attribute or an address that no page of ours has.
pub fn foreign(page: &str) -> Vec<String> {
    const ELEMENTS: &str = "!DOCTYPE html head meta title link script noscript body a header svg path rect span nav form input button main footer \
         section aside h1 h2 h3 p ul ol li dl dt dd div table thead tbody tr th td code pre strong b i small kbd time progress details summary \
         select option label figure figcaption del ins textarea em s hr blockquote h4 h5";
    const ATTRIBUTES: &str = "lang charset name content rel href type src defer class id tabindex aria-label aria-labelledby aria-hidden \
         aria-current role data-key data-label data-live data-edition method action value scope colspan viewBox width height d x y preserveAspectRatio \
         datetime title open start max maxlength placeholder selected http-equiv data-passkey hidden for rows type min required";
    const AWAY: &str = " rel=\"external nofollow noopener noreferrer\"";
    let mut found = Vec::new();
    for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with('/')) {
        let mut rest = tag;
        let end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
        let element = &rest[..end];
        if !ELEMENTS.split_whitespace().any(|known| known == element) {
            found.push(format!("<{element}"));
            continue;
        }
        if element.starts_with('!') {
            continue;
        }
        rest = rest[end..].trim_start();
        if element == "script" && !rest.starts_with("src=\"/") {
            found.push("a script that is no file of ours".to_owned());
        }
        while !rest.starts_with('>') && !rest.is_empty() {
            let end = rest.find(|c: char| c == '=' || c == '>' || c.is_whitespace()).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if !ATTRIBUTES.split_whitespace().any(|known| known == name) {
                found.push(format!("{element} {name}"));
            }
            rest = match after.strip_prefix("=\"") {
                Some(value) => {
                    let (value, after) = value.split_once('"').unwrap_or((value, ""));
                    // What leads away says so, and tells nobody where from.
                    let leads_away = element == "a" && value.starts_with("http") && after.starts_with(AWAY);
                    if matches!(name, "href" | "src" | "action") && !(value.starts_with('/') || value.starts_with('#') || leads_away)
                        || value.starts_with("//")
                    {
                        found.push(format!("{element} {name}={value}"));
                    }
                    after
                }
                None => after.strip_prefix('=').map_or(after, |unquoted| {
                    found.push(format!("{element} {name} without quotes"));
                    unquoted
                }),
            }
            .trim_start();
        }
    }
    found
}
