//! Both databases for tests: a fresh SQLite file, and a fresh database on a PostgreSQL server.
//!
//! The server is the one at `INTERLOCK_TEST_POSTGRES`, a url where databases may be created, or a throw-away one that this
//! process starts once, when `initdb` and `postgres` are found. Otherwise one line says that PostgreSQL is skipped; with
//! `postgres` in `INTERLOCK_REQUIRE` that is a failure instead.
#![allow(dead_code)]

use interlock::{
    model::{Clock, ManualClock, Timestamp},
    store::{Store, sqlite_url},
};
use sqlx::{AnyConnection, Connection, Executor};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Generous: machines that run tests are slow and loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty database of its own.
pub struct TestDatabase {
    /// `sqlite` or `postgres`.
    pub name: &'static str,
    /// For `Store::open`.
    pub url: String,
    /// What the stores of this database take for the present.
    pub clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl TestDatabase {
    /// Opens the store, bringing the schema up to date.
    pub async fn open(&self) -> Store {
        Store::open(&self.url, self.clock.clone() as Arc<dyn Clock>).await.expect("opening the store")
    }

    /// Returns the SQLite file; none on PostgreSQL.
    pub fn file(&self) -> Option<PathBuf> {
        (self.name == "sqlite").then(|| self.folder.path().join("interlock.db"))
    }

    /// Connects past the store, as somebody from outside would.
    pub async fn outside(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = if self.name == "sqlite" { format!("{}?mode=rwc", self.url) } else { self.url.clone() };
        AnyConnection::connect(&url).await.expect("connecting to the database")
    }

    /// Runs statements past the store.
    pub async fn tamper(&self, statements: &str) {
        let mut connection = self.outside().await;
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))).await.expect(statements);
        connection.close().await.expect("closing");
    }
}

/// Returns an empty database of each kind there is.
pub async fn databases() -> Vec<TestDatabase> {
    let clock = || Arc::new(ManualClock::at(Timestamp(1_760_000_000_000)));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = sqlite_url(&folder.path().join("interlock.db")).expect("a url");
    let mut all = vec![TestDatabase { name: "sqlite", url, clock: clock(), folder }];
    static SERVER: OnceLock<Option<String>> = OnceLock::new();
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(postgres_server).clone()).await.expect("starting PostgreSQL");
    if let Some(server) = server {
        let url = fresh_database(&server).await;
        all.push(TestDatabase { name: "postgres", url, clock: clock(), folder: tempfile::tempdir().expect("a temporary folder") });
    }
    all
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

fn postgres_server() -> Option<String> {
    if let Ok(url) = env::var("INTERLOCK_TEST_POSTGRES") {
        return Some(url);
    }
    let Some(programs) = postgres_programs() else {
        let required = env::var("INTERLOCK_REQUIRE").is_ok_and(|list| list.contains("postgres"));
        assert!(!required, "INTERLOCK_REQUIRE names postgres, but no `initdb` and `postgres` were found");
        eprintln!("skipped: postgres (no INTERLOCK_TEST_POSTGRES, and no `initdb` and `postgres` on this machine)");
        return None;
    };
    Some(throw_away_server(&programs))
}

/// Returns the folder that holds both `initdb` and `postgres`.
fn postgres_programs() -> Option<PathBuf> {
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
fn throw_away_server(programs: &Path) -> String {
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
