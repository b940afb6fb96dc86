//! A throw-away PostgreSQL: one server per test binary, a database per test.
//!
//! The server is the one at `INTERLOCK_TEST_POSTGRES`, a url where databases may be created, or one that this process starts once,
//! when `initdb` and `postgres` are found.

use super::{PATIENCE, required};
use sqlx::{AnyConnection, Connection, Executor};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Returns the url of an empty database; none where there is no PostgreSQL, which is said.
pub async fn fresh() -> Option<String> {
    static SERVER: OnceLock<Option<String>> = OnceLock::new();
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(server).clone()).await.expect("starting PostgreSQL")?;
    Some(fresh_database(&server).await)
}

async fn fresh_database(server: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("interlock_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let deadline = Instant::now() + PATIENCE;
    let mut connection = loop {
        match AnyConnection::connect(server).await {
            Ok(connection) => break connection,
            Err(error) if Instant::now() > deadline => panic!("PostgreSQL does not answer: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(create))).await.expect("creating a database");
    connection.close().await.expect("closing");
    let (base, parameters) = server.split_once('?').map_or((server, String::new()), |(base, rest)| (base, format!("?{rest}")));
    let base = match base.match_indices('/').nth(2) {
        Some((slash, _)) => &base[..slash],
        None => base,
    };
    format!("{base}/{name}{parameters}")
}

fn server() -> Option<String> {
    let running = env::var("INTERLOCK_TEST_POSTGRES").ok();
    let why = "no INTERLOCK_TEST_POSTGRES, and no `initdb` and `postgres` on this machine";
    required::found("postgres", running.or_else(|| programs().map(|programs| throw_away(&programs))), why)
}

/// Returns the folder that holds both `initdb` and `postgres`.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let mut installed: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    installed.sort();
    folders.extend(installed.into_iter().rev());
    // A link in PATH may be a wrapper that finds its neighbours only from where it really is.
    let real = folders.into_iter().filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok()?.parent().map(Path::to_owned));
    real.into_iter().find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

/// Starts a server on a unix socket in a folder of its own, and returns its url. It ends, and its folder goes, when this process
/// ends, however it ends: a shell in between waits for the end of its input.
fn throw_away(programs: &Path) -> String {
    let folder = tempfile::Builder::new().prefix("interlock-pg-").tempdir().expect("a temporary folder").keep();
    let user = if rustix::process::geteuid().is_root() { Some(unprivileged_user()) } else { None };
    let script = r#"
        "$1/initdb" -D "$2/data" -U interlock -A trust -E UTF8 --locale=C --no-sync >"$2/initdb.log" 2>&1 || { rm -f "$2/starting"; exit 1; }
        "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=300 >"$2/server.log" 2>&1 &
        server=$!
        cat >/dev/null
        kill -INT "$server"; wait "$server"
        rm -rf "$2"
    "#;
    let mut command = match user {
        Some((uid, gid)) => {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("giving the folder away");
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into(), "sh".into()]);
            command
        }
        None => Command::new("sh"),
    };
    let starting = folder.join("starting");
    File::create(&starting).expect("a marker");
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&starting, Some(uid), Some(gid)).expect("giving the marker away");
    }
    let shell = command
        .args(["-c", script, "sh"])
        .args([programs, &folder])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting PostgreSQL");
    // Its input is never closed by us: the system closes it when this process ends.
    std::mem::forget(shell);
    let deadline = Instant::now() + PATIENCE;
    while !folder.join(".s.PGSQL.5432").exists() {
        assert!(
            starting.exists() && Instant::now() < deadline,
            "PostgreSQL did not start: {}",
            fs::read_to_string(folder.join("initdb.log")).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    format!("postgres://interlock@localhost/postgres?host={}", folder.display())
}

fn unprivileged_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("the list of users");
    let of = |wanted: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user who is not root")
}
