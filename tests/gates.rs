//! Reports as tools write them, and commands observed in real git repositories.

#[path = "gates/outdated.rs"]
mod outdated;
#[path = "gates/repository.rs"]
mod repository;
#[path = "support/required.rs"]
mod required;

use interlock::{
    command,
    gates::{EvidenceView, Format, GateRule, Measures, evaluate, formats::read_from, observe, read_report},
    model::{Origin, Sha256, Timestamp, Verdict},
};
use observe::{Observation, ObserveError, ObservedRun};
use repository::{PATIENCE, Repository};
use std::{
    ffi::OsString,
    fs,
    future::Future,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reports").join(name)).unwrap()
}

/// The formats that are JSON.
const JSON: [Format; 6] = [Format::Sarif, Format::CargoAudit, Format::K6, Format::Oha, Format::Renovate, Format::Outdated];

#[test]
fn reports_as_tools_write_them_are_read() {
    let says = |format, name: &str, expected: &[(&str, f64)]| {
        let measures = read_report(format, &fixture(name)).unwrap();
        for (measure, value) in expected {
            let actual = measures.get(measure).unwrap_or_else(|| panic!("{name}: no {measure}"));
            assert!((actual - value).abs() < 1e-9, "{name}: {measure} is {actual}, not {value}");
        }
        assert!(measures.values.keys().all(|name| format.measures().contains(&name.as_str())));
    };
    says(Format::Junit, "junit.xml", &[("run", 4.0), ("failed", 0.0), ("skipped", 1.0), ("flaky", 1.0)]);
    says(Format::Junit, "junit-failing.xml", &[("run", 2.0), ("failed", 1.0)]);
    says(Format::Lcov, "lcov.info", &[("lines", 8.0), ("lines_hit", 6.0), ("lines_percent", 75.0)]);
    says(Format::Sarif, "sarif.json", &[("critical", 2.0), ("medium", 1.0), ("total", 3.0), ("scanned", 1.0)]);
    says(Format::CargoAudit, "cargo-audit.json", &[("critical", 1.0), ("low", 1.0), ("total", 2.0), ("scanned", 212.0)]);
    for name in ["k6-summary-export.json", "k6-handle-summary.json"] {
        says(Format::K6, name, &[("p95_ms", 121.4), ("error_percent", 0.2), ("requests", 3000.0)]);
    }
    says(Format::Oha, "oha.json", &[("p95_ms", 45.5), ("error_percent", 1.0), ("requests", 1000.0)]);
    let packages = |examined, outdated, behind| [("examined", examined), ("outdated", outdated), ("majors_behind", behind)];
    says(Format::Renovate, "renovate.json", &packages(6.0, 4.0, 1.0));
    says(Format::Renovate, "renovate-behind.json", &packages(6.0, 4.0, 6.0));
    // It ended with exit code 0 each time: what it could not look up, and that it met an error, stands in the report alone.
    says(Format::Renovate, "renovate-failed-lookup.json", &packages(0.0, 4.0, 6.0));
    says(Format::Renovate, "renovate-error.json", &packages(0.0, 0.0, 0.0));
}

#[test]
fn hostile_reports_are_refused_in_bounded_memory() {
    assert!(read_report(Format::Junit, &fixture("entity-bomb.xml")).unwrap_err().to_string().contains("DOCTYPE"));
    let folder = TempDir::new().unwrap();
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(100 * 1024 * 1024).unwrap();
    for format in [Format::Junit, Format::Lcov].into_iter().chain(JSON) {
        let err = read_from(format, fs::File::open(&huge).unwrap()).unwrap_err();
        assert!(matches!(err.code(), "too_large" | "malformed"), "{format}: {err}");
    }
    for format in JSON {
        assert_eq!(read_from(format, fs::File::open(&huge).unwrap()).unwrap_err().code(), "too_large");
        for deep in ["[".repeat(10_000), "{\"a\":".repeat(10_000)] {
            assert_eq!(read_report(format, deep.as_bytes()).unwrap_err().code(), "too_deep", "{format}");
        }
    }
}

/// Judges an observation as the gate `tests`, `failed <= 0`.
fn verdict(observation: &Observation) -> (Verdict, String) {
    let thresholds = [("failed".to_owned(), ("<= 0".parse().unwrap(), "server".to_owned()))].into();
    let rule = GateRule {
        gate: "tests".into(),
        directive: "SD-DEPLOY-001".into(),
        thresholds,
        allowed_exit: vec![],
        max_age_ms: 1000,
        accepted: [Origin::Observed].into(),
        has_command: true,
        can_claim: false,
    };
    let digest = Sha256::of(b"artifact");
    let report = observation.report.clone().unwrap_or_default();
    let read: Result<Measures, String> = read_report(Format::Junit, &report).map_err(|err| err.to_string());
    let view = EvidenceView {
        origin: Origin::Observed,
        sha256: &Sha256::of(&report),
        measures: read.as_ref().ok(),
        fault: observation.fault.as_deref().or(read.as_ref().err().map(String::as_str)),
        exit_code: observation.exit_code,
        commit: None,
        digest: &digest,
        recorded_at: Timestamp(0),
    };
    let result = evaluate(&rule, &[view], None, &digest, Timestamp(0));
    (result.verdict, result.reason)
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A script that starts three stubborn processes, one of them in a session of its own, and tells their ids in `file`.
fn stubborn(file: &Path) -> String {
    let child = "trap '' TERM; while :; do sleep 1; done";
    let file = file.display();
    format!(
        "trap '' TERM; sh -c \"{child}\" & one=$!; setsid sh -c \"echo \\$\\$ > {file}.own; {child}\" & \
         while [ ! -s {file}.own ]; do sleep 0.1; done; echo $$ $one $(cat {file}.own) > {file}.tmp; mv {file}.tmp {file}; wait; wait"
    )
}

fn pids_in(file: &Path) -> Option<Vec<u32>> {
    Some(fs::read_to_string(file).ok()?.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
}

#[tokio::test]
async fn a_passing_and_a_failing_command_are_told_by_their_report() {
    let repository = Repository::with(&[("good.xml", &fixture("junit.xml")), ("bad.xml", &fixture("junit-failing.xml"))]);
    let good = repository.observed("mkdir -p target && cp good.xml target/junit.xml; echo out; echo err >&2", "target/junit.xml").await;
    assert_eq!((good.exit_code, good.signal, &good.fault), (Some(0), None, &None));
    assert!(good.output_tail.contains("out\n") && good.output_tail.contains("err\n"));
    assert_eq!(good.report.as_deref(), Some(&fixture("junit.xml")[..]));
    assert_eq!(verdict(&good).0, Verdict::Pass);

    let bad = repository.observed("cp bad.xml junit.xml; exit 100", "junit.xml").await;
    assert_eq!((bad.exit_code, verdict(&bad).0), (Some(100), Verdict::Fail));

    let contradictory = repository.observed("cp good.xml junit.xml; exit 3", "junit.xml").await;
    assert_eq!(verdict(&contradictory).0, Verdict::Inconclusive);
    assert!(verdict(&contradictory).1.contains("exited with 3"));

    let killed = repository.observed("cp good.xml junit.xml; kill -9 $$", "junit.xml").await;
    assert_eq!((killed.exit_code, killed.signal, verdict(&killed).0), (None, Some(9), Verdict::Inconclusive));
}

#[tokio::test]
async fn a_report_on_standard_output_is_read_without_standard_error() {
    let repository = Repository::with(&[("good.xml", &fixture("junit.xml"))]);
    let observation = repository.observed("echo noise >&2; cat good.xml", "-").await;
    assert_eq!(verdict(&observation).0, Verdict::Pass);
    let silent = repository.observed("true", "-").await;
    assert!(silent.fault.unwrap().contains("nothing to standard output"));
}

#[tokio::test]
async fn the_checkout_is_the_commit_and_nothing_of_the_workspace() {
    let mut repository = Repository::with(&[("file", b"committed\n"), ("sub/inner", b"inner\n"), ("keep/one", b"1")]);
    let clean = repository.commit.clone();
    let traces = TempDir::new().unwrap();
    let trace = traces.path().join("trace");
    let hook = repository.path().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\necho hook >> {}\n", trace.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let smudge = format!("sh -c 'echo smudge >> {}; echo altered'", trace.display());
    repository.git(&["config", "filter.planted.smudge", &smudge]);
    fs::write(repository.path().join(".git/info/attributes"), "file filter=planted\n").unwrap();
    // The control: git itself would run both.
    let control = traces.path().join("control").display().to_string();
    repository.git(&["worktree", "add", "--quiet", "--detach", &control, &clean]);
    repository.git(&["worktree", "remove", "--force", &control]);
    assert!(fs::read_to_string(&trace).unwrap().contains("hook") && fs::read_to_string(&trace).unwrap().contains("smudge"));
    fs::remove_file(&trace).unwrap();

    fs::write(repository.path().join("file"), "uncommitted\n").unwrap();
    fs::write(repository.path().join("untracked"), "x").unwrap();
    repository.git(&["config", "core.sparseCheckout", "true"]);
    fs::write(repository.path().join(".git/info/sparse-checkout"), "/file\n").unwrap();
    let seen = repository.observed("cat file; ls; cat sub/inner; git rev-parse HEAD; git status --porcelain", "-").await;
    assert_eq!(String::from_utf8(seen.report.unwrap()).unwrap(), format!("committed\nfile\nkeep\nsub\ninner\n{clean}\n"));

    // A replacement makes git itself show another commit under the same name.
    repository.git(&["config", "core.sparseCheckout", "false"]);
    repository.commit();
    repository.git(&["replace", &clean, &repository.commit]);
    assert_eq!(repository.git(&["show", &format!("{clean}:untracked")]), "x");
    let run = ObservedRun { commit: clean, ..repository.script("cat file; ls", "-") };
    let seen = observe::observe(run, |_, _| {}).await.unwrap();
    assert_eq!(String::from_utf8(seen.report.unwrap()).unwrap(), "committed\nfile\nkeep\nsub\n");
    assert!(!trace.exists(), "{}", fs::read_to_string(&trace).unwrap());
}

#[tokio::test]
async fn an_altered_object_is_noticed() {
    let repository = Repository::with(&[("file", b"committed\n")]);
    let blob = repository.git(&["rev-parse", "HEAD:file"]);
    fs::write(repository.path().join("other"), "altered\n").unwrap();
    let other = repository.git(&["hash-object", "-w", "other"]);
    let object = |name: &str| repository.path().join(".git/objects").join(&name[..2]).join(&name[2..]);
    fs::set_permissions(object(&blob), fs::Permissions::from_mode(0o644)).unwrap();
    fs::copy(object(&other), object(&blob)).unwrap();
    // The control: git itself shows the altered text under the old name.
    assert_eq!(repository.git(&["cat-file", "blob", &blob]), "altered");
    let err = observe::observe(repository.script("cat file", "-"), |_, _| {}).await.unwrap_err();
    assert!(matches!(err, ObserveError::Git { .. }), "{err}");
    repository.assert_nothing_is_left();
}

#[tokio::test]
async fn a_workspace_may_be_a_folder_of_the_repository() {
    let repository = Repository::with(&[("top", b"top"), ("services/web/file", b"web")]);
    let workspace = repository.path().join("services/web");
    let run = ObservedRun { workspace, ..repository.script("cat file ../../top > report", "report") };
    assert_eq!(observe::observe(run, |_, _| {}).await.unwrap().report.unwrap(), b"webtop");
    fs::create_dir(repository.path().join("new")).unwrap();
    let run = ObservedRun { workspace: repository.path().join("new"), ..repository.script("true", "-") };
    assert!(observe::observe(run, |_, _| {}).await.unwrap_err().to_string().contains("no folder `new/`"));
}

#[tokio::test]
async fn an_old_report_and_one_out_of_the_checkout_do_not_count() {
    let outside = TempDir::new().unwrap();
    let planted = outside.path().join("junit.xml");
    fs::write(&planted, fixture("junit.xml")).unwrap();
    let mut repository = Repository::with(&[("junit.xml", &fixture("junit.xml")), ("out/kept", b"")]);
    symlink(outside.path(), repository.path().join("away")).unwrap();
    repository.commit();

    let stale = repository.observed("true", "junit.xml").await;
    assert_eq!((stale.report, stale.fault.unwrap().as_str()), (None, "the command wrote no report at `junit.xml`"));
    let linked = repository.observed(&format!("ln -s {} out/junit.xml", planted.display()), "out/junit.xml").await;
    assert!(linked.report.is_none() && linked.fault.unwrap().contains("leads out"));
    let beyond = observe::observe(repository.script("true", "away/junit.xml"), |_, _| {}).await.unwrap_err();
    assert!(beyond.to_string().contains("leads out"), "{beyond}");
    assert!(planted.exists());
    let pipe = repository.observed("rm -f p; mkfifo p", "p").await;
    assert!(pipe.fault.unwrap().contains("is no file"));
    let inside = repository.observed("echo fine > real; ln -s real link", "link").await;
    assert_eq!(inside.report.unwrap(), b"fine\n");
}

#[tokio::test]
async fn oversized_reports_are_not_kept() {
    let repository = Repository::with(&[]);
    let file = repository.observed("truncate -s 100M report", "report").await;
    assert!(file.report.is_none() && file.fault.unwrap().contains("larger than 32 MiB"));
    let stdout = repository.observed("head -c 41943040 /dev/zero", "-").await;
    assert!(stdout.report.is_none() && stdout.fault.unwrap().contains("larger than 32 MiB"));
    assert!(stdout.output_tail.len() < 11 * 1024 * 1024);
}

#[tokio::test]
async fn what_cannot_be_observed_says_why() {
    let repository = Repository::with(&[]);
    let fault = async |change: &dyn Fn(&mut ObservedRun)| {
        let mut run = repository.script("true", "-");
        change(&mut run);
        observe::observe(run, |_, _| panic!("nothing is started")).await.unwrap_err()
    };
    let bare = TempDir::new().unwrap();
    assert!(matches!(fault(&|run| run.workspace = bare.path().to_owned()).await, ObserveError::NoRepository));
    assert!(matches!(fault(&|run| run.commit = "0".repeat(40)).await, ObserveError::UnknownCommit(_)));
    for named in ["HEAD", "--help", "", "main"] {
        assert!(matches!(fault(&|run| run.commit = named.into()).await, ObserveError::UnknownCommit(_)), "{named}");
    }
    let no_git = vec![(OsString::from("PATH"), OsString::from(bare.path()))];
    assert!(matches!(fault(&|run| run.environment = no_git.clone()).await, ObserveError::NoGit));
    assert!(matches!(fault(&|run| run.scratch = run.workspace.join(".interlock/runs")).await, ObserveError::ScratchInside));
    assert!(matches!(fault(&|run| run.report = "../report".into()).await, ObserveError::Invalid(_)));
    assert!(matches!(fault(&|run| run.command.clear()).await, ObserveError::Invalid(_)));
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(matches!(fault(&|run| run.cancel = cancelled.clone()).await, ObserveError::Cancelled));
    repository.assert_nothing_is_left();

    let run = ObservedRun { command: vec!["no-such-program".into()], ..repository.script("", "-") };
    let observation = observe::observe(run, |_, _| {}).await.unwrap();
    assert!(observation.exit_code.is_none() && observation.fault.unwrap().starts_with("cannot start `no-such-program`"));
}

#[tokio::test]
async fn the_command_sees_the_allowed_environment_alone() {
    let is_hidden = |name: &OsString| !command::ALLOWED_ENVIRONMENT.iter().any(|allowed| name == allowed);
    assert!(std::env::vars_os().any(|(name, _)| is_hidden(&name)), "the control: there is something to hide");
    let repository = Repository::with(&[]);
    let seen = repository.observed("env; touch \"$TMPDIR/x\"; read line || echo END=of_input", "-").await;
    let text = String::from_utf8(seen.report.unwrap()).unwrap();
    let own = ["TMPDIR", command::MARKER, "PWD", "OLDPWD", "SHLVL", "_", "END"];
    for name in text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name) {
        assert!(command::ALLOWED_ENVIRONMENT.contains(&name) || own.contains(&name), "{name}");
    }
    assert!(text.contains("PATH=") && text.contains("END=of_input"));
}

/// Observes [`stubborn`], calls `end` once it runs, and returns what `observe` said; its processes are gone by then.
async fn ended<F: Future<Output = ()>>(end: impl FnOnce(tokio::task::AbortHandle, CancellationToken) -> F) -> Option<Observation> {
    let (repository, traces) = (Repository::with(&[]), TempDir::new().unwrap());
    let file = traces.path().join("pids");
    let run = repository.script(&stubborn(&file), "-");
    let cancel = run.cancel.clone();
    let (told, started) = std::sync::mpsc::channel();
    let task = tokio::spawn(observe::observe(run, move |pid, start_time| told.send((pid, start_time)).unwrap()));
    let pids = eventually("the processes run", || pids_in(&file)).await;
    let (leader, start_time) = started.recv().unwrap();
    assert_eq!((pids[0], Some(start_time)), (leader, command::start_time(leader)));
    assert!(pids.len() == 3 && pids.iter().all(|pid| is_alive(*pid)), "the control: they live");
    end(task.abort_handle(), cancel).await;
    let observation = task.await.ok().map(Result::unwrap);
    eventually("every process is gone", || pids.iter().all(|pid| !is_alive(*pid)).then_some(())).await;
    eventually("the checkout is gone", || fs::read_dir(repository.scratch.path()).unwrap().next().is_none().then_some(())).await;
    observation
}

#[tokio::test]
async fn a_cancelled_run_ends_with_everything_it_started() {
    let observation = ended(|_, cancel| async move { cancel.cancel() }).await.unwrap();
    assert!(observation.fault.unwrap().contains("cancelled"));
    assert_eq!(observation.signal, Some(9));
}

#[tokio::test]
async fn a_run_nobody_waits_for_ends_too() {
    assert!(ended(|task, _| async move { task.abort() }).await.is_none());
}

#[tokio::test]
async fn a_run_that_takes_too_long_ends_with_everything_it_started() {
    // The first limit that leaves time for the checkout.
    for seconds in [3, 15, 60] {
        let (repository, traces) = (Repository::with(&[]), TempDir::new().unwrap());
        let file = traces.path().join("pids");
        let run = ObservedRun { timeout: Duration::from_secs(seconds), ..repository.script(&stubborn(&file), "-") };
        let Ok(observation) = observe::observe(run, |_, _| {}).await else { continue };
        let Some(pids) = pids_in(&file) else { continue };
        assert!(observation.fault.unwrap().contains(&format!("did not end within {seconds} s")));
        eventually("every process is gone", || pids.iter().all(|pid| !is_alive(*pid)).then_some(())).await;
        return repository.assert_nothing_is_left();
    }
    panic!("no checkout within a minute");
}

#[test]
fn what_a_crashed_server_left_is_found_by_its_mark_alone() {
    let scratch = TempDir::new().unwrap();
    let run: PathBuf = scratch.path().canonicalize().unwrap().join("run-1-1");
    fs::create_dir_all(run.join("checkout/locked")).unwrap();
    fs::write(run.join("checkout/locked/file"), "").unwrap();
    fs::set_permissions(run.join("checkout/locked"), fs::Permissions::from_mode(0o500)).unwrap();
    let spawn = |mark: Option<&Path>| {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0).stdin(Stdio::null()).env_remove(command::MARKER);
        command.envs(mark.map(|mark| (command::MARKER, mark))).spawn().unwrap()
    };
    let (mut marked, mut other, mut unmarked) = (spawn(Some(&run)), spawn(Some(Path::new("/elsewhere/run-1-1"))), spawn(None));
    let start_time = |pid| command::start_time(pid).unwrap();

    assert_eq!(command::kill_leftover(marked.id(), start_time(marked.id()) + 1), 0);
    assert_eq!(command::kill_leftover(unmarked.id(), start_time(unmarked.id())), 0);
    assert_eq!(observe::clean(scratch.path()).unwrap(), 1);
    assert_eq!(marked.wait().unwrap().signal(), Some(9));
    assert!(!run.exists() && is_alive(other.id()) && is_alive(unmarked.id()));
    assert_eq!(command::kill_leftover(other.id(), start_time(other.id())), 1);
    assert_eq!(other.wait().unwrap().signal(), Some(9));
    assert_eq!(observe::clean(&scratch.path().join("none")).unwrap(), 0);
    unmarked.kill().unwrap();
    unmarked.wait().unwrap();
}
