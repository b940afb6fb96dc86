//! The real binary: `interlock mcp`, `serve`, `stop`.

use crate::{fixtures::*, required::found};
use interlock::{config::Workspace, error::Code, server::Running};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Runs the binary with `input` to its end: exit code, standard output, standard error.
pub async fn interlock(folder: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(arguments).current_dir(folder).env_remove("INTERLOCK_WORKSPACE").kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Ends the server a test has started by the binary, also when the test fails.
pub struct Ends(Workspace);

impl Ends {
    /// Ends the server of this folder.
    pub fn of(folder: &Path) -> Self {
        Ends(Workspace::at(folder).unwrap())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(running) = Running::of(&self.0) {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_raw(running.pid as i32).unwrap(), rustix::process::Signal::KILL);
        }
    }
}

fn discover() -> String {
    format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": modern(json!({}))}))
}

#[tokio::test]
async fn discovery_and_the_end_of_input_exit_0_and_start_one_server() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = Ends(Workspace::at(root.path()).unwrap());
    // Two at once, from cold: one server results.
    let (first, input) = (["mcp"], discover());
    for (code, output, said) in <[_; 2]>::from(tokio::join!(interlock(root.path(), &first, &input), interlock(root.path(), &first, &input)))
    {
        assert_eq!((code, output.lines().count()), (0, 1), "{output} {said}");
        let answer: Value = serde_json::from_str(&output).unwrap();
        assert!(answer["result"]["supportedVersions"].is_array(), "{output}");
    }
    let running = Running::of(&Workspace::at(root.path()).unwrap()).unwrap();
    assert_eq!(interlock(root.path(), &["serve"], "").await.0, i32::from(Code::ServerRunning.exit()));
    assert_eq!(interlock(root.path(), &["mcp"], &discover()).await.0, 0);
    assert_eq!(Running::of(&Workspace::at(root.path()).unwrap()).unwrap(), running);

    let (code, output, said) = interlock(root.path(), &["stop"], "").await;
    assert_eq!(code, 0, "{said}");
    assert!(output.starts_with("stopped the server"), "{output}");
    assert!(!running.is_alive());
    assert!(interlock(root.path(), &["stop"], "").await.1.starts_with("no server runs"));
}

#[tokio::test]
async fn without_a_workspace_the_binary_speaks_mcp() {
    let folder = tempfile::tempdir().unwrap();
    for input in ["", &discover(), &format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize()}))] {
        let (code, output, said) = interlock(folder.path(), &["mcp"], input).await;
        assert_eq!((code, output.lines().count()), (0, input.lines().count()), "{output} {said}");
        assert!(output.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["result"].is_object()), "{output}");
    }
    let (code, output, said) = interlock(folder.path(), &["stop"], "").await;
    assert_eq!((code, output.as_str()), (i32::from(Code::NoWorkspace.exit()), ""));
    assert!(said.starts_with("error: no_workspace: "), "{said}");
    let (code, _, said) = interlock(folder.path(), &["stpo"], "").await;
    assert!(code == 2 && said.contains("similar subcommand") && said.contains("'stop'"), "{said}");
}

/// More than any of these holds: answers wait for their reader, and those that cannot be written at once are written later, whole.
#[test]
fn whatever_stands_at_its_ends_every_line_arrives() {
    const REQUESTS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let request = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": modern(json!({}))});
    let input: String = (0..REQUESTS).map(|id| format!("{}\n", request(id))).collect();
    let began = |input: OwnedFd, output: OwnedFd| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
        command.arg("mcp").current_dir(folder.path()).env_remove("INTERLOCK_WORKSPACE").stdin(input).stdout(output).spawn().unwrap()
    };
    let files = ["input", "output"].map(|name| folder.path().join(name));
    std::fs::write(&files[0], &input).unwrap();
    let mut child = began(File::open(&files[0]).unwrap().into(), File::create(&files[1]).unwrap().into());
    assert!(child.wait().unwrap().success());
    let mut seen = vec![("a file", std::fs::read_to_string(&files[1]).unwrap())];
    let pipe = || std::io::pipe().map(|(read, write)| (OwnedFd::from(read), OwnedFd::from(write))).unwrap();
    let socket = || UnixStream::pair().map(|(read, write)| (OwnedFd::from(read), OwnedFd::from(write))).unwrap();
    for (what, (its_input, write), (read, its_output)) in [("a pipe", pipe(), pipe()), ("a socket", socket(), socket())] {
        let mut child = began(its_input, its_output);
        let (all_told, is_told) = mpsc::channel();
        let (all_read, is_read) = mpsc::channel();
        let asked = input.clone();
        thread::spawn(move || {
            File::from(write).write_all(asked.as_bytes()).unwrap();
            all_told.send(()).unwrap();
        });
        thread::spawn(move || {
            // Nobody reads a word before it has been told all, unless that is more than there is room for.
            let _ = is_told.recv_timeout(Duration::from_secs(2));
            let mut output = String::new();
            File::from(read).read_to_string(&mut output).unwrap();
            all_read.send(output).unwrap();
        });
        seen.push((what, is_read.recv_timeout(PATIENCE).expect("it ends")));
        assert!(child.wait().unwrap().success());
    }
    for (what, output) in seen {
        let answers = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{what}: {error}")));
        let ids: BTreeSet<u64> =
            answers.filter(|answer| answer["result"]["tools"].is_array()).filter_map(|answer| answer["id"].as_u64()).collect();
        assert_eq!((ids.len(), output.lines().count()), (REQUESTS, REQUESTS), "{what}");
        assert!(output.len() > 1 << 20, "{what}: {}", output.len());
    }
}

/// The server outlives the bridge that has started it, and keeps nothing of its client's: whoever still writes is told that nobody reads.
#[test]
fn a_server_that_was_started_by_the_way_does_not_keep_the_clients_end() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = Ends::of(root.path());
    let (its_input, mut write) = std::io::pipe().unwrap();
    let (mut read, its_output) = std::io::pipe().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(["mcp", "--workspace"]).arg(root.path()).stdin(its_input).stdout(its_output);
    let mut bridge = command.spawn().unwrap();
    // This process's own copies of the bridge's ends.
    drop(command);
    write.write_all(discover().as_bytes()).unwrap();
    assert_eq!(read.read(&mut [0; 1]).unwrap(), 1);
    bridge.kill().unwrap();
    bridge.wait().unwrap();
    assert!(Running::of(&Workspace::at(root.path()).unwrap()).unwrap().is_alive());
    assert_eq!(write.write_all(b"\n").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    // And whoever still reads comes to the end.
    read.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn a_killed_server_is_replaced_under_the_same_client() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let workspace = Workspace::at(root.path()).unwrap();
    let _ends = Ends(workspace.clone());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_interlock"));
    command.args(["mcp", "--workspace"]).arg(root.path()).kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut client = Client::over(tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap()));
    client.initialize().await;
    let tools = client.ask("tools/list", json!({})).await["result"].take();

    let first = Running::of(&workspace).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(first.pid as i32).unwrap(), rustix::process::Signal::KILL).unwrap();
    timeout(PATIENCE, async {
        while first.is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();

    // Whether the bridge has seen the end yet or not: an answer comes, at the latest to the second try.
    let mut answer = client.ask("tools/list", json!({})).await;
    if answer["error"]["data"]["retryable"] == true {
        answer = client.ask("tools/list", json!({})).await;
    }
    assert_eq!(answer["result"], tools, "{answer:#}");
    assert_ne!(Running::of(&workspace).unwrap(), first);
    drop(client);
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    assert_eq!(interlock(root.path(), &["stop"], "").await.0, 0);
}

/// Listens and holds the lock as a killed server does until its last thread has ended: its socket accepts, and nobody answers.
const DYING: &str = "import ctypes, fcntl, socket, sys, threading, time
lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[2]); listener.listen()
threading.Thread(target=time.sleep, args=(1.5,)).start()
print('dying', flush=True)
ctypes.CDLL(None).pthread_exit(None)";

#[tokio::test]
async fn a_server_that_is_still_ending_is_no_server() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = Ends::of(root.path());
    let workspace = Workspace::at(root.path()).unwrap();
    workspace.prepare().unwrap();
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", DYING]).args([workspace.lock_file(), workspace.agent_socket()]).kill_on_drop(true).stdout(Stdio::piped());
    let Some(mut dying) = found("python", command.spawn().ok(), "python3 is not there") else { return };
    assert_eq!(dying.stdout.as_mut().unwrap().read_u8().await.unwrap(), b'd');

    let (code, output, said) = interlock(root.path(), &["mcp"], &discover()).await;
    assert_eq!((code, output.lines().count()), (0, 1), "{output} {said}");
    let answer: Value = serde_json::from_str(&output).unwrap();
    assert!(answer["result"]["supportedVersions"].is_array(), "{output}");
    dying.wait().await.unwrap();
}

#[tokio::test]
async fn bash_completes_commands_and_flags() {
    let root = tempfile::tempdir().unwrap();
    let (code, script, said) = interlock(root.path(), &["completions", "bash"], "").await;
    assert_eq!(code, 0, "{said}");
    let completed = async |words: &str, at: usize| {
        let current = words.split(' ').nth(at).unwrap_or_default();
        let ask =
            format!("{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _interlock interlock '{current}' ''; echo \"${{COMPREPLY[@]}}\"");
        let bash = tokio::process::Command::new("bash").args(["--norc", "-c", &ask]).output().await.unwrap();
        String::from_utf8(bash.stdout).unwrap()
    };
    assert_eq!(completed("interlock rollb", 1).await.trim(), "rollback rollback-deployment");
    assert_eq!(completed("interlock rollback --t", 2).await.trim(), "--to");
    let (code, _, said) = interlock(root.path(), &["completions", "powershell"], "").await;
    assert!(code == 2 && said.contains("bash, zsh, fish"), "{code} {said}");
}

#[tokio::test]
async fn metrics_are_printed_as_a_table_for_other_programs() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("interlock.toml"), "").unwrap();
    let _ends = Ends::of(root.path());
    let (code, table, said) = interlock(root.path(), &["get-metrics", "--days", "7", "--format", "csv"], "").await;
    assert_eq!(code, 0, "{said}");
    let mut lines = table.split("\r\n");
    assert_eq!(lines.next(), Some("service,environment,caller,metric,value,unit,n,p50,p95,max,target,rating"));
    assert_eq!(lines.next(), Some(",,,deployment_success_rate,,percent,0,,,,>= 99,unknown"), "nothing is known of nothing");
    let columns: Vec<usize> = table.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [12; 13], "{table}");
    let (_, json, _) = interlock(root.path(), &["get-metrics", "--json"], "").await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["state"], "unknown");
    let (_, shown, _) = interlock(root.path(), &["get-metrics"], "").await;
    assert!(shown.starts_with("unknown: 0 deployments settled in the window: nothing to rate\n"), "{shown}");
    let (code, _, said) = interlock(root.path(), &["get-metrics", "--days", "0"], "").await;
    assert!(code == 2 && said.contains("`days` is 1 to 366"), "{code} {said}");
}
