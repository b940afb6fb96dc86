//! A real browser: Chromium without a window, driven by chromedriver over WebDriver, with a virtual authenticator in it.

use super::{PATIENCE, required};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{env, fs, net::SocketAddr, path::PathBuf, process::Stdio, time::Instant};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Duration, sleep, timeout},
};

/// Where screenshots go, for who looks at them.
const SHOTS: &str = env!("CARGO_TARGET_TMPDIR");

/// How wide a picture of the book is.
const BOOK_WIDTH: u64 = 820;

/// A browser with a profile of its own. Ends with its driver.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens one; none where there is no Chromium with its driver.
    pub async fn open() -> Option<Self> {
        let binaries = ["chromium", "chromedriver"].map(|name| {
            let paths = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.is_file())
        });
        let [Some(chromium), Some(driver)] = &binaries else {
            return required::found("chromium", None, "chromium and chromedriver are not on the path; `apt install chromium-driver`");
        };
        let mut process =
            Command::new(driver).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = timeout(PATIENCE, async {
            while let Some(line) = said.next_line().await.unwrap() {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
            panic!("chromedriver ended")
        });
        let driver = SocketAddr::from(([127, 0, 0, 1], port.await.expect("chromedriver starts")));
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-gpu".into(),
            "--force-color-profile=srgb".into(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let mut browser = Browser { driver, session: String::new(), _process: process, _profile: profile };
        let begun = browser.ask("POST", "", wanted).await;
        browser.session = format!("/{}", begun["sessionId"].as_str().expect("a session"));
        let authenticator = json!({ "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true });
        browser.ask("POST", "/webauthn/authenticator", authenticator).await;
        Some(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let (path, body) = (format!("/session{}{path}", self.session), if method == "GET" { String::new() } else { body.to_string() });
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", self.driver, body.len());
        let asked = async {
            let mut stream = BufReader::new(TcpStream::connect(self.driver).await.unwrap());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).await.unwrap() > 2 {
                if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = said.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut answer = vec![0; length];
            stream.read_exact(&mut answer).await.unwrap();
            serde_json::from_slice::<Value>(&answer).unwrap()
        };
        let mut answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{method} {path}: no answer"));
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {}", answer["value"]);
        answer["value"].take()
    }

    /// Opens an address.
    pub async fn go(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    /// Returns what a script in the page gives back.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Clicks what the selector finds, as a person does: it must be seen.
    pub async fn click(&self, selector: &str) {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str).expect("an element").to_owned();
        self.ask("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into what the selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str).expect("an element").to_owned();
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Waits until the page says this.
    pub async fn until(&self, says: &str) -> String {
        let began = Instant::now();
        loop {
            let text = self.run("return document.body ? document.body.innerText : ''").await.as_str().unwrap_or_default().to_owned();
            if text.contains(says) {
                return text;
            }
            assert!(began.elapsed() < PATIENCE, "the page does not say `{says}`: {text}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks Chromium itself, by its DevTools protocol.
    pub async fn cdp(&self, cmd: &str, params: Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", json!({ "cmd": cmd, "params": params })).await
    }

    /// Makes the window so wide, and the theme light or dark.
    pub async fn look(&self, width: u64, theme: &str) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        self.cdp("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    /// Presses keys, one after the other; WebDriver names those without a letter by code points: `\u{e004}` is Tab, `\u{e007}` Enter.
    pub async fn press(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]);
        let keys: Vec<Value> = presses.collect();
        self.ask("POST", "/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] })).await;
    }

    /// Returns what axe-core finds wrong with the page, a line each: the rule, and where.
    pub async fn faults(&self, axe: &str) -> Vec<String> {
        self.cdp("Runtime.evaluate", json!({ "expression": axe })).await;
        let asked = "const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.flatMap((rule) =>
                rule.nodes.map((node) => `${rule.id} at ${node.target.join(' ')}: ${node.failureSummary}`))), (error) => done([`${error}`]));";
        let found = self.ask("POST", "/execute/async", json!({ "script": asked, "args": [] })).await;
        found.as_array().expect("a list").iter().map(|fault| fault.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Keeps a picture of the whole page at each width; nothing of it may be wider than that.
    pub async fn picture(&self, name: &str) -> Vec<PathBuf> {
        let mut pictures = Vec::new();
        for width in [1280, 390] {
            self.look(width, "light").await;
            let wide = self.run("return document.documentElement.scrollWidth").await.as_u64().unwrap();
            assert!(wide <= width, "{name} is {wide} pixels wide where {width} are there");
            let shot = self.cdp("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
            let path = PathBuf::from(SHOTS).join(format!("{name}-{width}.png"));
            fs::write(&path, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
            self.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
            pictures.push(path);
        }
        pictures
    }

    /// Prints the page on A4 and keeps it; returns how many sheets that takes.
    pub async fn printed(&self, name: &str) -> usize {
        let printed = self.cdp("Page.printToPDF", json!({ "paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true })).await;
        let pdf = STANDARD.decode(printed["data"].as_str().unwrap()).unwrap();
        fs::write(PathBuf::from(SHOTS).join(format!("{name}.pdf")), &pdf).unwrap();
        // Chromium writes a page's dictionary as plain text; that of all pages is `/Pages`.
        let text = String::from_utf8_lossy(&pdf);
        text.match_indices("/Type /Page").filter(|(at, found)| !text[at + found.len()..].starts_with('s')).count()
    }

    /// Keeps the upper part of what stands in a page, so high, as a picture of the book, where `INTERLOCK_WRITE_DOCS` asks for it.
    pub async fn for_the_book(&self, name: &str, height: u64) {
        if env::var("INTERLOCK_WRITE_DOCS").is_err() {
            return;
        }
        self.look(BOOK_WIDTH, "light").await;
        let top = self.run("return document.querySelector('main').getBoundingClientRect().top").await;
        let clip = json!({ "x": 0, "y": top, "width": BOOK_WIDTH, "height": height, "scale": 1 });
        let shot = self.cdp("Page.captureScreenshot", json!({ "clip": clip, "captureBeyondViewport": true })).await;
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("docs/images/{name}.png"));
        fs::write(&path, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Returns what the browser complained of since it was asked last: what the page's policy forbids, and scripts that failed.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Ends it.
    pub async fn close(self) {
        self.ask("DELETE", "", json!({})).await;
    }
}
