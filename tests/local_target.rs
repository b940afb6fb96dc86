//! The local target with real shims and real processes: what lives, what dies with what, and what is never written down.

use interlock::{
    model::{Epoch, InstanceId, Lease, ServiceSpec, Sha256, service::*},
    shim::{
        control::{self, Op, Reply},
        identity::Process,
        spec::{LogPolicy, RestartPolicy, Status},
    },
    targets::{InstanceSpec, LogCursor, Observed, Target, TargetError, local::*},
};
use rustix::process::{Resource, Rlimit, Signal};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    target: LocalTarget,
}

fn paths(folder: &Path, boot_id: Option<&str>) -> LocalPaths {
    LocalPaths {
        exe: env!("CARGO_BIN_EXE_interlock").into(),
        instances_dir: folder.join("instances"),
        run_dir: folder.join("run"),
        workspace: folder.to_owned(),
        boot_id: boot_id.map(str::to_owned),
    }
}

impl World {
    fn new() -> Self {
        World::with(LogPolicy::default(), RestartPolicy::default())
    }

    fn with(log: LogPolicy, restart: RestartPolicy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = LocalTarget::new(paths(folder.path(), None)).with_policies(log, restart);
        World { folder, target }
    }

    fn dir(&self, id: &InstanceId) -> PathBuf {
        self.folder.path().join("instances").join(id.as_str())
    }

    fn status(&self, id: &InstanceId) -> Status {
        Status::read(&self.dir(id)).unwrap().unwrap()
    }

    async fn seen(&self, id: &InstanceId) -> Observed {
        self.target.observe(id).await.unwrap().unwrap()
    }

    async fn log(&self, id: &InstanceId) -> String {
        self.target.logs(id, LogCursor::Tail(1_000_000)).await.unwrap().lines.join("\n")
    }

    /// Waits until a line of the log holds this text.
    async fn logged(&self, id: &InstanceId, text: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.log(id).await;
            if log.contains(text) {
                return log;
            }
            assert!(began.elapsed() < PATIENCE, "no `{text}` in {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Nothing a test started outlives it, also when it fails.
impl Drop for World {
    fn drop(&mut self) {
        for folder in fs::read_dir(self.folder.path().join("instances")).into_iter().flatten().flatten() {
            if let Ok(Some(status)) = Status::read(&folder.path()) {
                status.shim.signal(Signal::KILL);
                status.instance.iter().flat_map(Process::session).for_each(|process| process.signal(Signal::KILL));
            }
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lease(epoch: i64) -> Lease {
    Lease { environment: "staging".into(), holder: "test".into(), epoch: Epoch(epoch) }
}

fn instance(id: &str, script: &str, env: &[(&str, &str)]) -> InstanceSpec {
    let spec = ServiceSpec {
        service: "web".into(),
        environment: "staging".into(),
        owner: None,
        escalation: None,
        command: ["sh", "-c", script, "app", "{port}", "{version}", "{release}"].map(str::to_owned).into(),
        health: Health { check: HealthCheck::Alive, interval_ms: 100, timeout_ms: 2000, successes: 1, deadline_ms: 30_000 },
        version: None,
        smoke: vec![],
        drain_ms: 1000,
        bake_ms: 1000,
        keep: 5,
        instances: 1,
        env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<BTreeMap<_, _>>(),
        dependencies: vec![],
        target: TargetKind::Local,
        router: RouterKind::Proxy { listen: "127.0.0.1:1".parse().unwrap() },
        rollout: Default::default(),
        data: Default::default(),
        metrics: Default::default(),
        about: Default::default(),
        monitoring: Default::default(),
        hosts: Default::default(),
    };
    InstanceSpec { id: id.into(), version: "1.2.3".into(), digest: Sha256::of(b"release"), release_dir: "/releases/a".into(), spec }
}

#[tokio::test]
async fn start_and_stop_are_safe_twice() {
    let world = World::new();
    let spec = instance("a", "echo args $1 $2 $3 PORT=$PORT MODE=$MODE SECRET=$INTERLOCK_TEST_LEAK; exec sleep 1000", &[("MODE", "test")]);
    assert!(world.target.observe(&spec.id).await.unwrap().is_none());

    let first = world.target.start(&lease(3), &spec).await.unwrap();
    assert!(first.running && first.restarts == 0 && first.epoch == Epoch(3));
    assert_eq!(first.argv[4..], [first.address.port().to_string(), "1.2.3".into(), "/releases/a".into()]);
    assert_eq!(world.target.start(&lease(4), &spec).await.unwrap().pid, first.pid, "one that runs as said is left alone");
    let port = first.address.port();
    world.logged(&spec.id, &format!("args {port} 1.2.3 /releases/a PORT={port} MODE=test SECRET=")).await;
    assert_eq!(world.target.list().await.unwrap().len(), 1);

    let process = Process::of(first.pid.unwrap()).unwrap();
    assert!(world.target.stop(&lease(4), &spec.id, PATIENCE).await.unwrap().graceful);
    assert!(!process.is_alive() && !world.status(&spec.id).shim.is_alive());
    assert!(world.target.stop(&lease(4), &spec.id, PATIENCE).await.unwrap().graceful);
    assert!(world.target.stop(&lease(4), &"never".into(), PATIENCE).await.unwrap().graceful);
    let stopped = world.seen(&spec.id).await;
    assert_eq!((stopped.running, stopped.pid, stopped.last_exit.as_deref()), (false, None, Some("signal 15")));
    assert!(fs::read_dir(world.folder.path().join("run")).unwrap().next().is_none(), "the socket is removed");

    assert!(world.target.start(&lease(4), &spec).await.unwrap().running, "a stopped one starts again");
    let other = instance("a", "exec sleep 1001", &[]);
    assert_eq!(world.target.start(&lease(4), &other).await.unwrap().argv[2], "exec sleep 1001", "one that runs otherwise is replaced");
    assert!(world.target.remove(&spec.id).is_err(), "one that runs is not removed");
    world.target.stop(&lease(4), &spec.id, PATIENCE).await.unwrap();
    world.target.remove(&spec.id).unwrap();
    assert!(world.target.observe(&spec.id).await.unwrap().is_none());
}

#[tokio::test]
async fn the_environment_is_an_allow_list() {
    let world = World::new();
    let spec = instance("a", "env | sed 's/=.*//' | sort | tr '\\n' ' '; echo; exec sleep 1000", &[("MODE", "test")]);
    world.target.start(&lease(1), &spec).await.unwrap();
    let log = world.logged(&spec.id, "PORT").await;
    // The shell adds some of its own.
    let allowed = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "PORT", "MODE", "PWD", "SHLVL", "_", "OLDPWD"];
    assert!(log.split_whitespace().all(|name| allowed.contains(&name)), "{log}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there was something to keep out");
}

#[tokio::test]
async fn a_killed_shim_takes_its_instance_along_and_starts_again_on_the_same_port() {
    let world = World::new();
    let spec = instance("a", "sleep 1000 & echo up; wait", &[]);
    let first = world.target.start(&lease(1), &spec).await.unwrap();
    world.logged(&spec.id, "up").await;
    let (process, shim) = (Process::of(first.pid.unwrap()).unwrap(), world.status(&spec.id).shim);
    let child = process.session().into_iter().find(|other| other.pid != process.pid).expect("the shell has a child");

    shim.signal(Signal::KILL);
    until("the instance dies with its shim", async || !process.is_alive()).await;
    assert!(!world.seen(&spec.id).await.running);

    let second = world.target.start(&lease(2), &spec).await.unwrap();
    assert!(second.running && second.pid != first.pid && second.address == first.address);
    assert!(!child.is_alive(), "what the killed one left behind is gone");
}

#[tokio::test]
async fn a_crash_is_counted_and_the_wait_grows() {
    let restart = RestartPolicy { first_ms: 20, max_ms: 40, reset_ms: 600_000 };
    let world = World::with(LogPolicy::default(), restart);
    let spec = instance("a", "echo begin; exit 3", &[]);
    world.target.start(&lease(1), &spec).await.unwrap();
    until("three restarts", async || world.seen(&spec.id).await.restarts >= 3).await;
    let seen = world.seen(&spec.id).await;
    assert_eq!(seen.last_exit.as_deref(), Some("exit 3"));
    let log = world.logged(&spec.id, "ended: exit 3; starting again in 40 ms").await;
    assert!(log.contains("ended: exit 3; starting again in 20 ms"), "{log}");

    let killed = instance("b", "echo $$; exec sleep 1000", &[]);
    let first = world.target.start(&lease(1), &killed).await.unwrap();
    Process::of(first.pid.unwrap()).unwrap().signal(Signal::KILL);
    until("it is started again", async || {
        let seen = world.seen(&killed.id).await;
        seen.running && seen.restarts == 1 && seen.last_exit.as_deref() == Some("signal 9") && seen.pid != first.pid
    })
    .await;
}

#[tokio::test]
async fn a_program_that_cannot_run_says_so() {
    let world = World::new();
    let mut spec = instance("a", "", &[]);
    spec.spec.command = vec!["{release}/no-such-program".into()];
    let seen = world.target.start(&lease(1), &spec).await.unwrap();
    until("its end is known", async || world.seen(&spec.id).await.last_exit.as_deref() == Some("exit 127")).await;
    assert!(!world.seen(&spec.id).await.running, "{seen:?}");
    world.logged(&spec.id, "cannot run `/releases/a/no-such-program`").await;
}

#[tokio::test]
async fn a_lower_epoch_is_refused_by_shim_and_target() {
    let world = World::new();
    let spec = instance("a", "exec sleep 1000", &[]);
    world.target.start(&lease(5), &spec).await.unwrap();
    let refused = |err: TargetError| assert!(matches!(err, TargetError::StaleEpoch { given: Epoch(4), seen: Epoch(7) }), "{err}");
    world.target.start(&lease(7), &spec).await.unwrap();
    refused(world.target.stop(&lease(4), &spec.id, PATIENCE).await.unwrap_err());
    refused(world.target.start(&lease(4), &spec).await.unwrap_err());

    let socket = fs::read_dir(world.folder.path().join("run")).unwrap().next().unwrap().unwrap().path();
    let reply = control::call(&socket, Op::Stop { epoch: Epoch(4), grace_ms: 0 }, PATIENCE).await.unwrap();
    assert_eq!(reply, Reply::StaleEpoch { given: Epoch(4), seen: Epoch(7) });
    assert!(matches!(control::call(&socket, Op::Version, PATIENCE).await.unwrap(), Reply::Version { .. }));

    // The epoch survives the shim.
    world.status(&spec.id).shim.signal(Signal::KILL);
    until("the shim is gone", async || !world.status(&spec.id).shim.is_alive()).await;
    refused(world.target.start(&lease(4), &spec).await.unwrap_err());
    refused(world.target.stop(&lease(4), &spec.id, PATIENCE).await.unwrap_err());
    assert!(world.target.start(&lease(7), &spec).await.unwrap().running);
}

#[tokio::test]
async fn a_reboot_is_told_by_its_id() {
    let world = World::new();
    let spec = instance("a", "exec sleep 1000", &[]);
    let first = world.target.start(&lease(1), &spec).await.unwrap();
    let status = world.status(&spec.id);
    status.shim.signal(Signal::KILL);
    until("everything is gone", async || !status.shim.is_alive() && !status.instance.unwrap().is_alive()).await;
    // The numbers of the old boot now belong to somebody else: this test.
    let stolen = Status { shim: Process::me(), instance: Some(Process::me()), ..status };
    stolen.write(&world.dir(&spec.id)).unwrap();
    assert!(world.seen(&spec.id).await.running, "the positive control: in the same boot they would be believed");

    let after = LocalTarget::new(paths(world.folder.path(), Some("another-boot")));
    assert!(!after.observe(&spec.id).await.unwrap().unwrap().running);
    let second = after.start(&lease(1), &spec).await.unwrap();
    assert!(second.running && second.address == first.address);
    assert!(after.stop(&lease(1), &spec.id, PATIENCE).await.unwrap().graceful);
}

#[tokio::test]
async fn a_stop_reaches_grandchildren_wherever_they_went() {
    let world = World::new();
    // One child in the group, one that ignores SIGTERM, and one in a session of its own whose parent is gone.
    let script = "sleep 1000 & sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 1000; done' & (setsid sleep 1000 & echo $! > far) ; echo up; exec sleep 1000";
    let spec = instance("a", script, &[]);
    let seen = world.target.start(&lease(1), &spec).await.unwrap();
    let log = world.logged(&spec.id, "up").await;
    if !log.contains("deaf") {
        world.logged(&spec.id, "deaf").await;
    }
    let mut all = Process::of(seen.pid.unwrap()).unwrap().session();
    assert!(all.len() >= 3, "{all:?}");
    let far: i32 = fs::read_to_string(world.folder.path().join("far")).unwrap().trim().parse().unwrap();
    all.extend(Process::of(far).filter(Process::is_alive));
    assert!(!world.target.stop(&lease(1), &spec.id, Duration::from_millis(300)).await.unwrap().graceful);
    assert!(all.iter().all(|process| !process.is_alive()), "{all:?}");
}

#[tokio::test]
async fn an_instance_that_ignores_sigterm_is_killed_after_the_grace() {
    let world = World::new();
    let spec = instance("a", "trap '' TERM; echo up; while :; do sleep 0.1; done", &[]);
    let seen = world.target.start(&lease(1), &spec).await.unwrap();
    world.logged(&spec.id, "up").await;
    assert!(!world.target.stop(&lease(1), &spec.id, Duration::from_millis(300)).await.unwrap().graceful);
    assert!(Process::of(seen.pid.unwrap()).is_none_or(|process| !process.is_alive()));
    assert_eq!(world.seen(&spec.id).await.last_exit.as_deref(), Some("signal 9"));

    let polite = instance("b", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done", &[]);
    world.target.start(&lease(1), &polite).await.unwrap();
    world.logged(&polite.id, "up").await;
    assert!(world.target.stop(&lease(1), &polite.id, PATIENCE).await.unwrap().graceful);
    assert_eq!(world.seen(&polite.id).await.last_exit.as_deref(), Some("exit 0"));
    assert!(world.log(&polite.id).await.contains("bye"));
}

#[tokio::test]
async fn a_shim_told_to_end_ends_its_instance_and_hangups_are_ignored() {
    let world = World::new();
    let spec = instance("a", "exec sleep 1000", &[]);
    let seen = world.target.start(&lease(1), &spec).await.unwrap();
    let shim = world.status(&spec.id).shim;
    shim.signal(Signal::HUP);
    assert_eq!(world.target.start(&lease(1), &spec).await.unwrap().pid, seen.pid);
    assert!(shim.session().len() == 1, "the shim leads a session of its own");
    shim.signal(Signal::TERM);
    until("both are gone", async || !shim.is_alive() && Process::of(seen.pid.unwrap()).is_none_or(|process| !process.is_alive())).await;
    assert!(world.status(&spec.id).stopped);
}

#[tokio::test]
async fn secrets_reach_the_instance_and_nothing_else() {
    let world = World::new();
    let canary = "canary-7f3a91c2";
    fs::write(world.folder.path().join("key"), format!("{canary}\n")).unwrap();
    let file = world.folder.path().join("key").display().to_string();
    let command = format!("exec:cat {file}");
    // Written in two halves, in one line, on both outputs, and its length to show that it was there.
    let script =
        "printf 'halves=canary-7f'; sleep 0.3; echo 3a91c2; echo \"whole=$A\"; echo \"error=$B\" >&2; echo length=${#A}; exec sleep 1000";
    let spec = instance("a", script, &[("A", &format!("file:{file}")), ("B", &command)]);
    let seen = world.target.start(&lease(1), &spec).await.unwrap();
    let log = world.logged(&spec.id, "length=15").await;
    let log = if log.contains("error=") { log } else { world.logged(&spec.id, "error=").await };
    assert!(log.contains("halves=[redacted]") && log.contains("whole=[redacted]") && log.contains("error=[redacted]"), "{log}");

    let mut looked_at = 0;
    for file in fs::read_dir(world.dir(&spec.id)).unwrap() {
        let text = String::from_utf8_lossy(&fs::read(file.as_ref().unwrap().path()).unwrap()).into_owned();
        assert!(!text.contains(canary), "{:?}", file.unwrap().path());
        looked_at += 1;
    }
    assert!(looked_at >= 4);
    let shim = world.status(&spec.id).shim.pid;
    for process in [shim, seen.pid.unwrap()] {
        let argv = fs::read(format!("/proc/{process}/cmdline")).unwrap();
        assert!(!String::from_utf8_lossy(&argv).contains(canary));
    }
    let given = fs::read(format!("/proc/{}/environ", seen.pid.unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&given).contains(canary), "the positive control: it has the value");
}

#[tokio::test]
async fn a_missing_secret_is_named_and_nothing_stays_behind() {
    let world = World::new();
    let spec = instance("a", "exec sleep 1000", &[("KEY", "file:/nowhere/at/all")]);
    let err = world.target.start(&lease(1), &spec).await.unwrap_err();
    assert!(matches!(&err, TargetError::Secret(message) if message.contains("file:/nowhere/at/all")), "{err}");
    let status = world.status(&spec.id);
    assert!(!status.shim.is_alive() && status.instance.is_none());
}

#[tokio::test]
async fn the_log_turns_and_is_read_on_without_a_gap() {
    let world = World::with(LogPolicy { max_bytes: 4000, keep: 3, max_line: 100 }, RestartPolicy::default());
    let script = "i=0; while [ $i -lt 8000 ]; do echo \"line $i\"; i=$((i+1)); done; head -c 5000 /dev/zero | tr '\\0' x; echo; echo done; exec sleep 1000";
    let spec = instance("a", script, &[]);
    world.target.start(&lease(1), &spec).await.unwrap();
    // Read along from the start: the writer turns its files meanwhile. What was turned away before it was read shows as a gap in the numbers only.
    let (mut next, mut all) = (0, Vec::new());
    until("the last line", async || {
        let page = world.target.logs(&spec.id, LogCursor::Offset(next)).await.unwrap();
        next = page.next;
        all.extend(page.lines);
        all.last().is_some_and(|line| line == "done")
    })
    .await;
    let numbers: Vec<u32> = all.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "no line is read twice");
    assert_eq!(numbers.last(), Some(&7999));
    assert!(all.iter().any(|line| line.starts_with("xxxx") && line.len() < 120 && line.ends_with("[cut]")));

    let files: Vec<u64> = ["log", "log.1", "log.2", "log.3"].map(|name| fs::metadata(world.dir(&spec.id).join(name)).unwrap().len()).into();
    assert!(files.iter().all(|size| *size <= 12_000), "{files:?}");
    assert!(!world.dir(&spec.id).join("log.4").exists());
    let tail = world.target.logs(&spec.id, LogCursor::Tail(2)).await.unwrap();
    assert_eq!((tail.lines.len(), tail.lines[1].as_str(), tail.next), (2, "done", next));
    assert_eq!(world.target.logs(&spec.id, LogCursor::Offset(next)).await.unwrap().lines, Vec::<String>::new());
    let oldest = world.target.logs(&spec.id, LogCursor::Offset(0)).await.unwrap();
    let kept: Vec<u32> = oldest.lines.iter().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(kept[0] > 0 && kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "what is kept has no gap");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_nobody() {
    let world = World::new();
    let spec = instance("full", "while :; do echo line; sleep 0.02; done", &[]);
    world.target.start(&lease(1), &spec).await.unwrap();
    world.logged(&spec.id, "line").await;
    let before = world.status(&spec.id);
    let limit = |bytes| {
        let shim = rustix::process::Pid::from_raw(before.shim.pid);
        rustix::process::prlimit(shim, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    limit(Some(1));
    let log = world.dir(&spec.id).join("log");
    let size = || fs::metadata(&log).unwrap().len();
    let mut last = size();
    // What was under way when the limit came may still have arrived.
    until("nothing is written any more", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::mem::replace(&mut last, size()) == size()
    })
    .await;
    let seen = world.seen(&spec.id).await;
    assert!(seen.running && seen.restarts == 0, "{seen:?}");
    limit(None);
    until("it is written again", async || size() > last).await;
    assert_eq!(world.status(&spec.id).shim, before.shim, "the same shim throughout");
    world.target.stop(&lease(1), &spec.id, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_idle_shim_is_small() {
    let world = World::new();
    let spec = instance("a", "echo up; exec sleep 1000", &[]);
    world.target.start(&lease(1), &spec).await.unwrap();
    world.logged(&spec.id, "up").await;
    let status = fs::read_to_string(format!("/proc/{}/status", world.status(&spec.id).shim.pid)).unwrap();
    let rss = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    println!("{rss}");
    let kib: u64 = rss.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The bar is 5 MB; pages of the binary itself are shared with every other process of it, and are many in a debug build.
    assert!(kib < 5 << 10, "{rss}");
}

#[tokio::test]
async fn an_instance_whose_port_another_process_took_is_started_anew_on_another() {
    let world = World::with(LogPolicy::default(), RestartPolicy { first_ms: 20, max_ms: 20, reset_ms: 600_000 });
    let gate = world.folder.path().join("gate");
    let spec = instance("a", &format!("test -e {} && exec sleep 1000; exit 1", gate.display()), &[]);
    let first = world.target.start(&lease(1), &spec).await.unwrap();
    until("it ends by itself", async || world.seen(&spec.id).await.restarts >= 1).await;
    assert!(!world.seen(&spec.id).await.port_taken, "its port is nobody's");
    let again = world.target.start(&lease(1), &spec).await.unwrap();
    assert_eq!(again.address, first.address, "one that ends by itself is left to its shim");

    let _other = std::net::TcpListener::bind(first.address).unwrap();
    until("somebody has its port", async || world.seen(&spec.id).await.port_taken).await;
    world.target.stop(&lease(1), &spec.id, Duration::ZERO).await.unwrap();
    fs::write(&gate, "").unwrap();
    let moved = world.target.start(&lease(1), &spec).await.unwrap();
    assert_ne!(moved.address, first.address);
    until("it runs", async || world.seen(&spec.id).await.running).await;
    let seen = world.seen(&spec.id).await;
    assert!(!seen.port_taken && seen.address == moved.address, "{seen:?}");
}
