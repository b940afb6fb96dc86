//! Figures from outside, against real sockets and real processes: one number, or a named reason why there is none.

use interlock::targets::metrics::{CommandSource, JsonSource, MetricsSource, NoData, Pointer, PrometheusSource};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// As printed in https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries, cut to one series where `series` is 1.
fn documented(series: usize) -> String {
    let node = r#",
         {
            "metric" : {
               "__name__" : "up",
               "job" : "node",
               "instance" : "localhost:9100"
            },
            "value" : [ 1435781451.781, "0" ]
         }"#;
    let answer = r#"{
   "status" : "success",
   "data" : {
      "resultType" : "vector",
      "result" : [
         {
            "metric" : {
               "__name__" : "up",
               "job" : "prometheus",
               "instance" : "localhost:9090"
            },
            "value": [ 1435781451.781, "1" ]
         }NODE
      ]
   }
}"#;
    answer.replace("NODE", if series == 2 { node } else { "" })
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Serves this raw answer to every connection, then keeps it open; remembers what was asked.
async fn served(answer: &str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let (answer, heard) = (answer.to_owned(), asked.clone());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 8192];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            heard.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
            open.push(stream);
        }
    });
    (address, asked)
}

async fn prometheus(answer: &str) -> Result<f64, NoData> {
    let (address, _) = served(answer).await;
    PrometheusSource::new(&format!("http://{address}"), "up", PATIENCE).unwrap().read(&[]).await
}

async fn json(answer: &str, pointer: &str) -> Result<f64, NoData> {
    let (address, _) = served(answer).await;
    JsonSource::new(&format!("http://{address}/stats"), pointer, PATIENCE).unwrap().read(&[]).await
}

#[tokio::test]
async fn prometheus_is_asked_for_one_number() {
    let (address, asked) = served(&answer(200, &documented(1))).await;
    let source = PrometheusSource::new(&format!("http://localhost:{}", address.port()), r#"sum(x{v="{version}"})"#, PATIENCE).unwrap();
    assert_eq!(source.read(&[("version", "1.4.0")]).await, Ok(1.0));
    let asked = asked.lock().unwrap()[0].to_lowercase();
    assert!(asked.starts_with("get /api/v1/query?query=sum%28x%7bv%3d%221.4.0%22%7d%29&timeout=20000ms http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: localhost:{}\r\n", address.port())), "{asked}");
}

#[tokio::test]
async fn what_prometheus_cannot_say_has_a_name() {
    assert_eq!(prometheus(&answer(200, &documented(2))).await, Err(NoData::Several { count: 2 }));
    assert_eq!(prometheus(&answer(200, &documented(1).replace("\"1\"", "\"NaN\""))).await, Err(NoData::NotANumber { found: "NaN".into() }));
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(prometheus(&answer(200, empty)).await, Err(NoData::Empty));
    let partial = documented(1).replacen('{', r#"{ "warnings" : ["1 of 2 stores did not answer"],"#, 1);
    assert_eq!(prometheus(&answer(200, &partial)).await, Err(NoData::Incomplete { warnings: "1 of 2 stores did not answer".into() }));
    let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:3: parse error"}"#;
    let refused = NoData::Refused { kind: "bad_data".into(), message: "invalid parameter \"query\": 1:3: parse error".into() };
    assert_eq!(prometheus(&answer(400, error)).await, Err(refused));
    assert_eq!(prometheus(&answer(503, "starting")).await, Err(NoData::BadStatus { status: 503, head: "starting".into() }));
    assert!(matches!(prometheus(&answer(200, "<html>login</html>")).await, Err(NoData::Malformed { .. })));
}

#[tokio::test]
async fn a_number_is_taken_out_of_a_json_document() {
    let document = r#"{"web":{"error rate":0.02,"p95":[12,13]}}"#;
    assert_eq!(json(&answer(200, document), "/web/error rate").await, Ok(0.02));
    assert_eq!(json(&answer(200, document), "/web/p95/1").await, Ok(13.0));
    assert_eq!(json(&answer(200, document), "/web/p99").await, Err(NoData::Missing { pointer: "/web/p99".into() }));
    assert_eq!(json(&answer(200, "7"), "").await, Ok(7.0));
    assert!(matches!(json(&answer(200, ""), "").await, Err(NoData::Malformed { .. })));
    assert!(matches!(json(&answer(500, document), "/web/error rate").await, Err(NoData::BadStatus { status: 500, .. })));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, asked) = served(&answer(200, "7")).await;
    let moved = format!("HTTP/1.1 302 x\r\nlocation: http://{elsewhere}/\r\ncontent-length: 1\r\n\r\n7");
    assert_eq!(json(&moved, "").await, Err(NoData::Redirected { status: 302, to: format!("http://{elsewhere}/") }));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn silence_endlessness_and_absence_have_names() {
    let (address, _) = served("HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n7").await;
    let slow = JsonSource::new(&format!("http://{address}/"), "", Duration::from_millis(200)).unwrap();
    assert_eq!(slow.read(&[]).await, Err(NoData::TimedOut { after_ms: 200 }));
    assert_eq!(json(&answer(200, &"7".repeat(2 << 20)), "").await, Err(NoData::TooLarge { limit: 1 << 20 }));
    assert!(matches!(json("no http\r\n\r\n", "").await, Err(NoData::Unreachable { .. })));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = JsonSource::new(&format!("http://{free}/"), "", PATIENCE).unwrap().read(&[]).await;
    assert!(matches!(&nobody, Err(NoData::Unreachable { message }) if message.contains("cannot connect")), "{nobody:?}");
}

struct Shell {
    folder: TempDir,
}

impl Shell {
    fn new() -> Self {
        Shell { folder: TempDir::new().unwrap() }
    }

    fn source(&self, script: &str, pointer: Option<&str>, timeout: Duration) -> CommandSource {
        let argv = ["sh", "-c", script, "sh", "{version}"].map(str::to_owned);
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap()), ("MEASURE".into(), "5".into())];
        let pointer = pointer.map(|pointer| Pointer::parse(pointer).unwrap());
        CommandSource::new(&argv, self.folder.path().to_owned(), environment, pointer, timeout).unwrap()
    }

    async fn read(&self, script: &str, pointer: Option<&str>) -> Result<f64, NoData> {
        self.source(script, pointer, PATIENCE).read(&[("version", "1.4.0")]).await
    }

    /// Waits until the process whose id stands in this file is gone.
    async fn is_gone(&self, file: &str) -> bool {
        let pid = std::fs::read_to_string(self.folder.path().join(file)).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + PATIENCE;
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while is_alive() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        !is_alive()
    }
}

#[tokio::test]
async fn a_command_prints_the_number() {
    let shell = Shell::new();
    assert_eq!(shell.read("echo 0.25; echo noise >&2", None).await, Ok(0.25));
    assert_eq!(shell.read(r#"echo '{"a":{"b":3}}'"#, Some("/a/b")).await, Ok(3.0));
    // The folder, the environment and the places are the ones it was given, and no others.
    assert_eq!(
        shell.read("test \"$PWD\" = \"$(pwd -P)\" && test -z \"$HOME\" && test \"$1\" = 1.4.0 && echo $MEASURE", None).await,
        Ok(5.0)
    );
}

#[tokio::test]
async fn what_a_command_does_not_say_has_a_name() {
    let shell = Shell::new();
    assert_eq!(shell.read("true", None).await, Err(NoData::NotANumber { found: "".into() }));
    assert_eq!(shell.read("echo NaN", None).await, Err(NoData::NotANumber { found: "NaN ".into() }));
    assert_eq!(shell.read("echo 5 ms", None).await, Err(NoData::NotANumber { found: "5 ms ".into() }));
    assert_eq!(
        shell.read("echo 5; echo broken >&2; exit 3", None).await,
        Err(NoData::Failed { how: "exit 3".into(), stderr: "broken".into() })
    );
    assert!(matches!(shell.read("kill -9 $$", None).await, Err(NoData::Failed { how, .. }) if how == "signal 9"));
    assert!(matches!(shell.read("echo '{}'", Some("/a")).await, Err(NoData::Missing { .. })));
    assert_eq!(shell.read("exec yes", None).await, Err(NoData::TooLarge { limit: 1 << 20 }));
    let none = CommandSource::new(&["no-such-program".into()], shell.folder.path().into(), Vec::new(), None, PATIENCE).unwrap();
    assert!(matches!(none.read(&[]).await, Err(NoData::CannotRun { .. })));
    assert!(CommandSource::new(&[], shell.folder.path().into(), Vec::new(), None, PATIENCE).is_err());
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_with_all_it_started() {
    let shell = Shell::new();
    let script = "sleep 1000 & echo $! > child; echo $$ > leader; echo 5; wait";
    let slow = shell.source(script, None, Duration::from_millis(700)).read(&[]).await;
    assert_eq!(slow, Err(NoData::TimedOut { after_ms: 700 }));
    assert!(shell.is_gone("child").await && shell.is_gone("leader").await);
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_with_it() {
    let shell = Shell::new();
    assert_eq!(shell.read("sleep 1000 & echo $! > child; echo 5", None).await, Ok(5.0));
    assert!(shell.is_gone("child").await);
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_nothing_running() {
    let shell = Shell::new();
    let source = shell.source("sleep 1000 & echo $! > child.new; mv child.new child; wait", None, PATIENCE);
    let reading = tokio::spawn(async move { source.read(&[]).await });
    let deadline = Instant::now() + PATIENCE;
    while !shell.folder.path().join("child").exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reading.abort();
    assert!(shell.is_gone("child").await);
}
