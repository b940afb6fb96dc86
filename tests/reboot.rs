//! After a reboot the last verified set serves again: every process is gone, the boot id is another, and only the record is left.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use support::{
    PATIENCE,
    configuration::{Times, demo_app, free_address, place, service},
    databases::Database,
    on_both,
    wire::{finish, served},
    workspace::Workspace,
};

on_both!(what_served_serves_again_after_a_reboot);

async fn what_served_serves_again_after_a_reboot(database: Database) {
    let listen = free_address();
    let mut workspace = Workspace::new(database, &(service(&demo_app(), Times::SHORT) + &place("staging", listen)));
    workspace.commit();
    must(&workspace, &["apply"]).await;
    let artifact = workspace.build("1.2.3");
    let words = ["create-directive", "--service", "web", "--environment", "staging", "--version", "1.2.3", "--artifact", &artifact];
    let directive = must(&workspace, &words).await["directive"]["id"].as_str().unwrap().to_owned();
    must(&workspace, &["run-predeploy-checks", &directive]).await;
    let plan = must(&workspace, &["plan-deployment", &directive]).await["plan"].as_str().unwrap().to_owned();
    let deployment = must(&workspace, &["execute-deployment", &plan]).await["deployment"].as_str().unwrap().to_owned();
    let settled = must(&workspace, &["get-deployment", &deployment, "--wait-seconds", "45", "--until", "settled"]).await;
    assert_eq!(settled["state"], "succeeded", "{settled}");
    assert_eq!(served(listen).await, "hello from 1.2.3\n");

    let killed = kill_everything(workspace.root());
    assert!(killed >= 5, "server, holder, worker, shim and instance, but only {killed} were found");
    let gone = Instant::now();
    while !served(listen).await.starts_with("error: ") {
        assert!(gone.elapsed() < PATIENCE, "something still answers on {listen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    workspace.serve(&[("INTERLOCK_BOOT_ID", "another-boot")]).await.unwrap();
    let started = Instant::now();
    while served(listen).await != "hello from 1.2.3\n" {
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
