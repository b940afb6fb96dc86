//! After a reboot the last verified set serves again: every process is gone, the boot id is another, and only the record is left.

#[allow(dead_code, reason = "each test file uses what it needs of the shared workspace")]
mod clients;

use clients::{Workspace, finish, free_address};
use interlock::cli::demo::app::{AppRelease, Fault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_served_serves_again_after_a_reboot() {
    let listen = free_address();
    let workspace = Workspace::new(listen).await;
    must(&workspace, &["apply"]).await;
    AppRelease { version: "1.2.3".into(), fault: Fault::None }.write(&workspace.path().join("build")).unwrap();
    let words = ["create-directive", "--service", "web", "--environment", "staging", "--version", "1.2.3", "--artifact", "build"];
    let directive = must(&workspace, &words).await["directive"]["id"].as_str().unwrap().to_owned();
    must(&workspace, &["run-predeploy-checks", &directive]).await;
    let plan = must(&workspace, &["plan-deployment", &directive]).await["plan"].as_str().unwrap().to_owned();
    let deployment = must(&workspace, &["execute-deployment", &plan]).await["deployment"].as_str().unwrap().to_owned();
    let settled = must(&workspace, &["get-deployment", &deployment, "--wait-seconds", "45", "--until", "settled"]).await;
    assert_eq!(settled["state"], "succeeded", "{settled}");
    assert_eq!(answer(listen).await.as_deref(), Some("hello from 1.2.3\n"));

    let killed = kill_everything(workspace.path());
    assert!(killed >= 5, "server, holder, worker, shim and instance, but only {killed} were found");
    let gone = Instant::now();
    while answer(listen).await.is_some() {
        assert!(gone.elapsed() < PATIENCE, "something still answers on {listen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let mut command = workspace.interlock(&["serve", "--detached"]);
    command.env("INTERLOCK_BOOT_ID", "another-boot").kill_on_drop(true);
    let _server = command.spawn().unwrap();
    let started = Instant::now();
    while answer(listen).await.as_deref() != Some("hello from 1.2.3\n") {
        assert!(started.elapsed() < PATIENCE, "what served before the reboot does not serve again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = must(&workspace, &["get-status"]).await;
    assert_eq!(status["places"][0]["serves"], "1.2.3", "{status}");
}

async fn must(workspace: &Workspace, words: &[&str]) -> Value {
    let mut words = words.to_vec();
    words.push("--json");
    let output = finish(&mut workspace.interlock(&words)).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Kills every process of the workspace by the ids it recorded, as a power cut would, and returns how many there were.
fn kill_everything(root: &Path) -> usize {
    let state = root.join(".interlock");
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap_or_default()).unwrap_or_default();
    let mut pids = vec![read(&state.join("server.json"))["pid"].as_i64()];
    for proxy in std::fs::read_dir(state.join("proxies")).unwrap() {
        let holder = read(&proxy.unwrap().path().join("proxy.json"))["pid"].as_i64();
        pids.push(holder);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.unwrap())).unwrap();
        pids.extend(children.split_whitespace().map(|pid| pid.parse().ok()));
    }
    for instance in std::fs::read_dir(state.join("instances")).unwrap() {
        let status = read(&instance.unwrap().path().join("status.json"));
        pids.extend([status["shim"]["pid"].as_i64(), status["instance"]["pid"].as_i64()]);
    }
    let pids: Vec<Pid> = pids.into_iter().flatten().filter_map(|pid| Pid::from_raw(pid as i32)).collect();
    pids.iter().filter(|pid| kill_process(**pid, Signal::KILL).is_ok()).count()
}

async fn answer(listen: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(listen).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}
