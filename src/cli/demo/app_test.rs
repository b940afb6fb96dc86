//! `demo-test`: starts the service from the release it finds in the checkout, asks it the questions that matter, and writes JUnit XML.

use super::{
    app::{AppRelease, printed_address},
    request::{Answer, Connection, Echo, Failure, Socket},
};
use anyhow::Context;
use clap::Args;
use hyper::body::Bytes;
use quick_xml::{
    Writer,
    events::{BytesEnd, BytesStart, Event},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `interlock demo-test`.
#[derive(Debug, Clone, Args)]
pub struct AppTestArgs {
    /// Folder of the release in the checkout: its `app.json` says the version
    #[arg(long, default_value = "app")]
    pub release: PathBuf,
    /// A service that already runs, http://HOST:PORT; without it, one is started
    #[arg(long)]
    pub url: Option<String>,
    /// Where the report goes
    #[arg(long)]
    pub report: PathBuf,
}

/// One check and how it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What is wrong; `None` when nothing is.
    pub fault: Option<String>,
}

/// Runs the checks; exits with 1 when one fails.
pub async fn run(args: AppTestArgs) -> anyhow::Result<ExitCode> {
    let release = AppRelease::read(&args.release)?;
    let checks = match &args.url {
        Some(url) => {
            let address = url
                .strip_prefix("http://")
                .unwrap_or(url)
                .trim_end_matches('/')
                .parse()
                .with_context(|| format!("reading the URL `{url}`"))?;
            checks(address, &release.version).await
        }
        None => {
            let mut service = Service::start(&args.release).await?;
            let checks = checks(service.address, &release.version).await;
            service.end().await?;
            checks
        }
    };
    write_report(&args.report, junit(&checks)?.as_bytes())?;
    for check in &checks {
        println!("{} {}", if check.fault.is_none() { "ok  " } else { "FAIL" }, check.name);
    }
    Ok(if checks.iter().all(|check| check.fault.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks a running service everything it should be able to answer.
pub async fn checks(address: SocketAddr, version: &str) -> Vec<Check> {
    let is = |wanted: String| move |answer: &Answer| answer.status == 200 && answer.body == wanted.as_bytes();
    let order: Bytes = "0123456789abcdef".repeat(4096).into();
    vec![
        timed("is healthy", expect(get(address, "/healthz"), is("ok\n".into()))).await,
        timed("shows its version", expect(get(address, "/version"), is(format!("{{\"version\":\"{version}\"}}")))).await,
        timed("greets", expect(get(address, "/"), is(format!("hello from {version}\n")))).await,
        timed("says what it does not have", expect(get(address, "/nowhere"), |answer| answer.status == 404)).await,
        timed("streams back what it is sent", {
            let sent = order.clone();
            expect(async move { Connection::open(address, PATIENCE).await?.post("/echo", sent).await }, move |answer| answer.body == order)
        })
        .await,
        timed("streams events to the last one", {
            expect(get(address, "/events?n=3&ms=5"), |answer| String::from_utf8_lossy(&answer.body).ends_with("data: event 2\n\n"))
        })
        .await,
        timed("talks over a websocket", talk(address)).await,
    ]
}

async fn get(address: SocketAddr, path: &'static str) -> Result<Answer, Failure> {
    Connection::open(address, PATIENCE).await?.get(path).await
}

async fn expect(answer: impl Future<Output = Result<Answer, Failure>>, is_right: impl FnOnce(&Answer) -> bool) -> Result<(), String> {
    let answer = answer.await.map_err(|failure| failure.to_string())?;
    match is_right(&answer) {
        true => Ok(()),
        false => Err(format!("{}, {}", answer.status, crate::model::text::visible_line(&String::from_utf8_lossy(&answer.body), 200))),
    }
}

async fn talk(address: SocketAddr) -> Result<(), String> {
    let mut socket = Socket::open(address, "/ws", PATIENCE).await.map_err(|failure| failure.to_string())?;
    let echo = socket.echo("hello").await.map_err(|failure| failure.to_string())?;
    socket.close().await;
    match echo {
        Echo::Message(text) if text == "hello" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn timed(name: &'static str, check: impl Future<Output = Result<(), String>>) -> Check {
    let started = Instant::now();
    let fault = check.await.err();
    Check { name, took: started.elapsed(), fault }
}

/// Returns the checks as JUnit XML.
pub fn junit(checks: &[Check]) -> anyhow::Result<String> {
    let seconds = |took: Duration| format!("{:.3}", took.as_secs_f64());
    let count =
        [("tests", checks.len()), ("failures", checks.iter().filter(|check| check.fault.is_some()).count()), ("errors", 0), ("skipped", 0)];
    let count = count.map(|(name, number)| (name, number.to_string()));
    let total = seconds(checks.iter().map(|check| check.took).sum());
    let open = |name: &'static str| {
        let attributes = count.iter().map(|(name, number)| (*name, number.as_str())).chain([("name", "demo"), ("time", total.as_str())]);
        BytesStart::new(name).with_attributes(attributes)
    };
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(quick_xml::events::BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.write_event(Event::Start(open("testsuites")))?;
    writer.write_event(Event::Start(open("testsuite")))?;
    for check in checks {
        let time = seconds(check.took);
        let case =
            writer.create_element("testcase").with_attributes([("classname", "demo"), ("name", check.name), ("time", time.as_str())]);
        match &check.fault {
            None => case.write_empty()?,
            Some(fault) => case.write_inner_content(|writer| {
                writer.create_element("failure").with_attribute(("message", fault.as_str())).write_empty().map(drop)
            })?,
        };
    }
    writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    Ok(String::from_utf8(writer.into_inner())?)
}

/// Writes a report, with the folders above it.
pub(super) fn write_report(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder `{}`", folder.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("writing the report `{}`", path.display()))
}

/// A service of our own, ended with us.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    async fn start(release: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo-app", "--port", "0", "--release"])
            .arg(release)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the service")?;
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().context("the service has an output")?);
        tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await.context("waiting for the service to listen")??;
        let address = printed_address(&line).context("the service did not say where it listens")?;
        Ok(Service { child, address })
    }

    /// Ends it as a deployment does: SIGTERM, and time to finish.
    async fn end(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)).context("the service ended by itself")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("waiting for the service to end")??;
        anyhow::ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_a_failure_in_the_report() {
        let took = Duration::from_millis(12);
        let checks = [Check { name: "greets", took, fault: None }, Check { name: "echoes", took, fault: Some("<500> & \"no\"".into()) }];

        let xml = junit(&checks).unwrap();

        assert!(xml.contains(r#"<testsuite tests="2" failures="1" errors="0" skipped="0" name="demo" time="0.024">"#), "{xml}");
        assert!(xml.contains(r#"<testcase classname="demo" name="greets" time="0.012"/>"#), "{xml}");
        assert!(xml.contains(r#"<failure message="&lt;500&gt; &amp; &quot;no&quot;"/>"#), "{xml}");
    }
}
