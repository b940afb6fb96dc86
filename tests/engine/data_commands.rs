//! Data and hooks with real commands: sh and files, as a person would write them.

use crate::{support::databases::databases, world::Shop};
use interlock::targets::fake_jobs::JobAnswer;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const KEYS: &str = r#"
backup     = { run = ["./backup.sh"], verify = ["./verify.sh", "{location}"], timeout = "20s" }
migrations = { dir = "migrations", run = ["./migrate.sh", "{release}"], history = ["cat", "history"], timeout = "20s" }
hooks      = { before_start = [["./daemon.sh", "{version}"]], before_shift = [["./HOOK.sh"]], timeout = "2s" }
"#;

async fn shop(url: &str, hook: &str) -> Shop {
    let shop = Shop::open(url).await;
    let root = shop.engine.workspace.root.clone();
    shop.configure(&shop.text.replace("keep  = 5", &format!("keep  = 5{}", KEYS.replace("HOOK", hook)))).await;
    shop.staging.on_job(|_| JobAnswer::Runs);
    fs::write(root.join("history"), "").unwrap();
    fs::write(root.join("database"), "").unwrap();
    script(&root, "backup.sh", "cp database backup.1 && echo copied && echo backup.1");
    script(&root, "verify.sh", "cmp \"$1\" database && echo '{\"restored\": true}'");
    let each = "for file in \"$1\"/migrations/*.sql; do name=$(basename \"$file\"); grep -qx \"$name\" history && continue;";
    script(&root, "migrate.sh", &format!("{each} cat \"$file\" >> database && echo \"$name\" >> history || exit 1; done"));
    // It leaves its group, as a daemon does.
    script(
        &root,
        "daemon.sh",
        "setsid sh -c 'echo $$ > daemon.pid; sleep 600' >/dev/null 2>&1 &\nwhile [ ! -s daemon.pid ]; do sleep 0.05; done; echo \"$1\"",
    );
    script(&root, "fine.sh", "exit 0");
    script(&root, "hangs.sh", "sleep 600");
    shop
}

fn script(root: &Path, name: &str, body: &str) {
    let path = root.join(name);
    fs::write(&path, format!("#!/bin/sh\nset -e\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn step<'a>(settled: &'a Value, id: &str) -> &'a Value {
    settled["steps"].as_array().unwrap().iter().find(|step| step["step"] == id).unwrap()
}

#[tokio::test]
async fn scripts_back_up_migrate_and_hook_and_a_daemon_is_ended_with_its_hook() {
    for database in databases().await {
        let shop = shop(&database.url, "fine").await;
        let root = shop.engine.workspace.root.clone();
        shop.migration("1.0.0", "0001_users.sql", "CREATE TABLE users (id INTEGER);");
        let settled = shop.deploy("1.0.0").await;
        assert_eq!(settled["state"], "succeeded", "{settled:#}");
        assert_eq!(fs::read_to_string(root.join("database")).unwrap(), "CREATE TABLE users (id INTEGER);");
        assert_eq!(step(&settled, "migrate")["output"]["applied"], json!(["0001_users.sql"]));
        let backup = &step(&settled, "backup")["output"]["backup"];
        assert_eq!(
            (&backup["location"], &backup["size_bytes"], &backup["restore_rehearsed"]),
            (&json!("backup.1"), &json!(0), &json!(true))
        );
        let hook = &step(&settled, "hook-before-start")["output"]["hooks"][0];
        assert!(hook["left_running"].as_u64().unwrap() >= 1, "{hook:#}");
        let pid = fs::read_to_string(root.join("daemon.pid")).unwrap();
        let alive = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!alive, "the daemon {pid} lives on");
    }
}

#[tokio::test]
async fn a_script_that_hangs_is_killed_in_its_time_and_nothing_has_moved() {
    for database in databases().await {
        let shop = shop(&database.url, "hangs").await;
        shop.migration("1.0.0", "0001_users.sql", "CREATE TABLE users (id INTEGER);");
        let settled = shop.deploy("1.0.0").await;
        assert_eq!(settled["state"], "rolled_back", "{settled:#}");
        let summary = settled["incidents"][0]["summary"].as_str().unwrap();
        assert!(summary.starts_with("the before_shift hook `./hangs.sh` did not end within 2 s and was killed"), "{summary}");
        assert_eq!(shop.staging.serving(), [""; 0]);
    }
}
