//! A target wrapped by commands: what a deploy script did, half did, or left running is known and taken back.

use interlock::{
    model::{
        Epoch, InstanceId, Lease, ServiceSpec, Sha256,
        service::{CommandTarget, Health, HealthCheck, RouterKind, TargetKind},
    },
    targets::{InstanceSpec, LogCursor, Target, TargetError, command::CommandRunner},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A place where `deploy.sh` writes the version that runs, and keeps the one before it.
struct Place {
    folder: tempfile::TempDir,
    target: CommandRunner,
}

const DEPLOY: &str = r#"set -e
test "$1" = broken && { echo half > running; echo "cannot reach the cluster"; exit 3; }
test "$1" = slow && { echo half > running; sleep 60; }
test -f running && cp running before
echo "$1" > running
echo "deployed $1 with $TOKEN" >> log
"#;
const UNDO: &str = "if test -f before; then mv before running; else rm -f running; fi; echo undid $1 >> log";
const STATE: &str =
    r#"if test -f running; then printf '{"running": true, "version": "%s"}' "$(cat running)"; else echo '{"running": false}'; fi"#;

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let target = CommandRunner::new(root.join("records"), root.join("jobs"), root.to_owned());
        Place { target, folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn running(&self) -> Option<String> {
        fs::read_to_string(self.root().join("running")).ok().map(|text| text.trim().to_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root().join("log")).unwrap_or_default()
    }
}

fn script(text: &str, version: &str) -> Vec<String> {
    ["sh", "-c", text, "sh", version].map(str::to_owned).to_vec()
}

fn instance(deployment: u32, version: &str) -> InstanceSpec {
    let target = CommandTarget {
        apply: script(DEPLOY, "{version}"),
        observe: script(STATE, ""),
        undo: script(UNDO, "{version}"),
        logs: Some(script("cat log", "")),
        timeout_ms: 1_500,
    };
    let spec = ServiceSpec {
        service: "web".into(),
        environment: "staging".into(),
        owner: None,
        escalation: None,
        command: vec!["web".into()],
        health: Health { check: HealthCheck::Alive, interval_ms: 10, timeout_ms: 1000, successes: 1, deadline_ms: 1000 },
        version: None,
        smoke: vec![],
        drain_ms: 0,
        bake_ms: 0,
        keep: 5,
        instances: 1,
        env: [("TOKEN".to_owned(), "exec:echo hunter2hunter2".to_owned())].into(),
        dependencies: vec![],
        target: TargetKind::Command(target),
        router: RouterKind::External { address: "127.0.0.1:9".parse().unwrap(), switch: None },
        rollout: Default::default(),
        data: Default::default(),
        metrics: Default::default(),
        about: Default::default(),
        monitoring: Default::default(),
        hosts: Default::default(),
    };
    let id = InstanceId::of(&spec.environment, &spec.service, &format!("dep_{deployment}").as_str().into(), 1);
    InstanceSpec { id, version: version.into(), digest: Sha256::of(version.as_bytes()), release_dir: Path::new("/r").into(), spec }
}

fn lease(epoch: i64) -> Lease {
    Lease { environment: "staging".into(), holder: "test".into(), epoch: Epoch(epoch) }
}

const GRACE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_is_applied_runs_and_what_it_replaced_does_not() {
    let place = Place::new();
    let (old, new) = (instance(1, "1.0.0"), instance(2, "1.1.0"));
    assert!(place.target.start(&lease(1), &old).await.unwrap().running);
    let observed = place.target.start(&lease(2), &new).await.unwrap();
    assert_eq!((observed.running, observed.address.port(), observed.version.as_str()), (true, 9, "1.1.0"));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let replaced = place.target.observe(&old.id).await.unwrap().unwrap();
    assert_eq!((replaced.running, replaced.last_exit.as_deref()), (false, Some("version 1.1.0 runs there")));
    // Ending what was replaced undoes nothing: that would bring it back.
    place.target.stop(&lease(2), &old.id, GRACE).await.unwrap();
    assert_eq!(place.running().as_deref(), Some("1.1.0"));
    place.target.stop(&lease(2), &new.id, GRACE).await.unwrap();
    assert_eq!(place.running().as_deref(), Some("1.0.0"), "its undo brought back what it had replaced");
    assert!(place.log().contains("undid 1.1.0"), "{}", place.log());
}

#[tokio::test]
async fn a_log_is_what_stands_on_both_outputs_and_what_is_left_out_is_said() {
    let place = Place::new();
    let saying = |deployment: u32, says: &str| {
        let mut spec = instance(deployment, "1.0.0");
        let TargetKind::Command(target) = &mut spec.spec.target else { unreachable!("it is wrapped by commands") };
        (target.logs, target.timeout_ms) = (Some(script(says, "")), 60_000);
        spec
    };
    let small = saying(1, "echo well; echo \"ERROR $TOKEN\" >&2");
    place.target.start(&lease(1), &small).await.unwrap();
    let mut page = place.target.logs(&small.id, LogCursor::Offset(0)).await.unwrap();
    page.lines.sort();
    assert_eq!((page.lines, page.is_cut), (["ERROR [redacted]", "well"].map(str::to_owned).to_vec(), false));

    // Eleven megabytes: the first of them is what nobody can read.
    let large = saying(2, "echo ERROR first; yes 'nothing to be told' | head -c 11534336; echo; echo last");
    place.target.start(&lease(2), &large).await.unwrap();
    let page = place.target.logs(&large.id, LogCursor::Offset(0)).await.unwrap();
    assert!(page.is_cut && page.lines.last().is_some_and(|line| line == "last"), "{} lines", page.lines.len());
    assert!(page.lines.len() > 500_000 && !page.lines.iter().any(|line| line.contains("first") || line.contains("left out")));
    assert_eq!(place.target.logs(&large.id, LogCursor::Tail(1)).await.unwrap().lines, ["last"]);
}

#[tokio::test]
async fn a_slow_look_from_before_a_change_is_forgotten() {
    let place = Place::new();
    let mut spec = instance(1, "1.0.0");
    let TargetKind::Command(target) = &mut spec.spec.target else { unreachable!() };
    target.apply = script("until test -f go; do sleep 0.01; done; echo \"$1\" > running", "{version}");
    // The first look takes until somebody lets it end.
    target.observe = script(
        &format!(
            "if mkdir first 2>/dev/null; then until test -f end; do sleep 0.01; done; echo '{{\"running\": false}}'; exit; fi; {STATE}"
        ),
        "",
    );
    let write = |name: &str| fs::write(place.root().join(name), "").unwrap();
    let until = async |name: &str| {
        while !place.root().join(name).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let started = async { place.target.start(&lease(1), &spec).await.unwrap().running };
    let looked = async {
        until(&format!("records/{}/instance.json", spec.id.as_str())).await;
        place.target.list().await.unwrap()[0].running
    };
    let ordered = async {
        until("first").await;
        write("go");
        until("running").await;
        write("end");
    };
    let (started, looked, ()) = tokio::join!(started, looked, ordered);
    assert_eq!((started, looked), (true, false), "the look from before saw what was then");
    assert!(place.target.observe(&spec.id).await.unwrap().unwrap().running, "and is not what is seen now");
}

#[tokio::test]
async fn what_was_half_applied_is_undone() {
    let place = Place::new();
    place.target.start(&lease(1), &instance(1, "1.0.0")).await.unwrap();
    for (number, version, says) in [(2, "broken", "cannot reach the cluster"), (3, "slow", "was killed")] {
        let half = instance(number, version);
        fs::copy(place.root().join("running"), place.root().join("before")).unwrap();
        let failed = place.target.start(&lease(2), &half).await.unwrap_err().to_string();
        assert!(failed.contains(says), "{failed}");
        assert_eq!(place.running().as_deref(), Some("half"));
        assert!(!place.target.observe(&half.id).await.unwrap().unwrap().running, "half is not running");
        place.target.stop(&lease(2), &half.id, GRACE).await.unwrap();
        assert_eq!(place.running().as_deref(), Some("1.0.0"));
        place.target.stop(&lease(2), &half.id, GRACE).await.unwrap();
        assert_eq!(place.running().as_deref(), Some("1.0.0"), "a second undo of the same changes nothing");
    }
}

#[tokio::test]
async fn a_server_that_lost_its_lease_changes_nothing() {
    let place = Place::new();
    place.target.start(&lease(5), &instance(1, "1.0.0")).await.unwrap();
    let late = place.target.start(&lease(4), &instance(2, "0.9.0")).await.unwrap_err();
    assert!(matches!(late, TargetError::StaleEpoch { .. }), "{late}");
    let late = place.target.stop(&lease(4), &instance(1, "1.0.0").id, GRACE).await.unwrap_err();
    assert!(matches!(late, TargetError::StaleEpoch { .. }), "{late}");
    assert_eq!(place.running().as_deref(), Some("1.0.0"));
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_an_error_and_never_a_yes() {
    let place = Place::new();
    let mut spec = instance(1, "1.0.0");
    for answer in ["echo running", "exit 1", "true", "echo '{\"version\": \"1.0.0\"}'"] {
        let TargetKind::Command(target) = &mut spec.spec.target else { unreachable!() };
        target.observe = script(answer, "");
        assert!(place.target.start(&lease(1), &spec).await.is_err(), "{answer}");
    }
}

#[tokio::test]
async fn the_log_is_the_commands_and_holds_no_secret() {
    let place = Place::new();
    let spec = instance(1, "1.0.0");
    place.target.start(&lease(1), &spec).await.unwrap();
    let page = place.target.logs(&spec.id, LogCursor::Tail(1)).await.unwrap();
    assert_eq!(page.lines, ["deployed 1.0.0 with [redacted]"]);
    assert!(place.log().contains("hunter2hunter2"), "the script had the value");
}

#[tokio::test]
async fn what_a_deploy_script_left_running_is_the_service_and_no_sweep_ends_it() {
    let place = Place::new();
    let mut spec = instance(1, "1.0.0");
    let TargetKind::Command(target) = &mut spec.spec.target else { unreachable!() };
    target.apply = script("sleep 600 </dev/null >/dev/null 2>&1 & echo $! > pid; echo \"$1\" > running", "{version}");
    place.target.start(&lease(1), &spec).await.unwrap();
    let pid: u32 = fs::read_to_string(place.root().join("pid")).unwrap().trim().parse().unwrap();
    // What a server does when it starts.
    interlock::command::kill_marked(&place.root().join("jobs"));
    let is_alive = interlock::command::start_time(pid).is_some();
    let process = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    assert!(is_alive, "the service was ended");
}
