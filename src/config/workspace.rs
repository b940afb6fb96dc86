//! The workspace: the folder with `interlock.toml`, and where everything of Interlock's lies in it.

use super::FILE_NAME;
use crate::{
    error::{Code, Error},
    model::{Sha256, digest::hex, text::visible_line},
};
use anyhow::{Context, bail, ensure};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// The longest path of a Unix socket: `sun_path` holds 108 bytes with the closing zero.
const SOCKET_PATH_BYTES: usize = 107;
/// Room that a socket in [`Workspace::run_dir`] needs: `/run/`, 16 hex digits, `.sock`.
const RUN_SOCKET_BYTES: usize = 26;

/// Says where the sockets are when the state folder's path is too long for them.
const SOCKETS_FILE: &str = "sockets";

/// A folder with an `interlock.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The folder, symbolic links resolved.
    pub root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: the path given, else `INTERLOCK_WORKSPACE`, else upwards from the working directory.
    pub fn find(explicit: Option<&Path>) -> Result<Self, Error> {
        let named = std::env::var_os("INTERLOCK_WORKSPACE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let current =
            std::env::current_dir().map_err(|err| Error::new(Code::NoWorkspace, format!("the working directory is gone: {err}")))?;
        Self::find_from(explicit.or(named.as_deref()), &current)
    }

    /// Finds the workspace: the path given, else upwards from `current`.
    pub fn find_from(named: Option<&Path>, current: &Path) -> Result<Self, Error> {
        let no_workspace = |message: String| Error::new(Code::NoWorkspace, message);
        let Some(named) = named else {
            let root = current.ancestors().find(|folder| folder.join(FILE_NAME).is_file());
            let root = root.ok_or_else(|| no_workspace(format!("no {FILE_NAME} in {} or above", shown(current))))?;
            return Self::at(root);
        };
        let folder = if named.file_name().is_some_and(|name| name == FILE_NAME) { named.parent().unwrap_or(Path::new("")) } else { named };
        let folder = current.join(folder);
        match folder.join(FILE_NAME).is_file() {
            true => Self::at(&folder),
            false => Err(no_workspace(format!("no {FILE_NAME} in {}", shown(&folder)))),
        }
    }

    /// Returns the workspace of an existing folder, which need not have a configuration yet.
    pub fn at(root: &Path) -> Result<Self, Error> {
        let resolved = root.canonicalize().map_err(|err| Error::new(Code::NoWorkspace, format!("{}: {err}", shown(root))))?;
        match resolved.to_str() {
            Some(_) => Ok(Workspace { root: resolved }),
            None => Err(Error::new(Code::NoWorkspace, format!("{} is not UTF-8", shown(root)))),
        }
    }

    /// Returns the path of `interlock.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.root.join(FILE_NAME)
    }

    /// Returns the state folder; [`Workspace::prepare`] makes it.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".interlock")
    }

    /// Returns the socket that agents use.
    pub fn agent_socket(&self) -> PathBuf {
        self.socket_dir().join("agent.sock")
    }

    /// Returns the socket that people's commands use.
    pub fn api_socket(&self) -> PathBuf {
        self.socket_dir().join("api.sock")
    }

    /// Returns the socket on which the server shows that it is alive.
    pub fn pulse_socket(&self) -> PathBuf {
        self.socket_dir().join("pulse.sock")
    }

    /// Returns the folder for the sockets of proxies and shims; [`Workspace::run_socket`] names one in it.
    pub fn run_dir(&self) -> PathBuf {
        self.socket_dir().join("run")
    }

    /// Returns the socket of this name in [`Workspace::run_dir`]; a name too long for a socket's path becomes its hash.
    pub fn run_socket(&self, name: &str) -> PathBuf {
        let path = self.run_dir().join(format!("{name}.sock"));
        match path.as_os_str().len() <= SOCKET_PATH_BYTES {
            true => path,
            false => self.run_dir().join(format!("{}.sock", &Sha256::of(name.as_bytes()).0[..16])),
        }
    }

    /// Returns the file of the bearer token; [`Workspace::token`] reads it.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir().join("token")
    }

    /// Returns the folder of pinned releases.
    pub fn releases_dir(&self) -> PathBuf {
        self.state_dir().join("releases")
    }

    /// Returns the folder of instances' own folders.
    pub fn instances_dir(&self) -> PathBuf {
        self.state_dir().join("instances")
    }

    /// Returns the folder whose name marks the commands this workspace runs; it need not be there.
    pub fn jobs_dir(&self) -> PathBuf {
        self.state_dir().join("jobs")
    }

    /// Returns the folder of logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.state_dir().join("logs")
    }

    /// Returns the folder of approvers' sealed keys.
    pub fn approvers_dir(&self) -> PathBuf {
        self.state_dir().join("approvers")
    }

    /// Returns the file that says which server runs.
    pub fn server_file(&self) -> PathBuf {
        self.state_dir().join("server.json")
    }

    /// Returns the file with the server's address as Prometheus' file discovery reads it: it is found wherever it listens.
    pub fn discovery_file(&self) -> PathBuf {
        self.state_dir().join("prometheus-targets.json")
    }

    /// Returns the file whose lock the running server holds.
    pub fn lock_file(&self) -> PathBuf {
        self.state_dir().join("server.lock")
    }

    /// Returns `INTERLOCK_DATABASE_URL`, or the address of the database in the state folder.
    pub fn database_url(&self) -> String {
        std::env::var("INTERLOCK_DATABASE_URL").ok().filter(|url| !url.is_empty()).unwrap_or_else(|| self.own_database_url())
    }

    /// Returns the file of the database in the state folder.
    pub fn own_database(&self) -> PathBuf {
        self.state_dir().join("interlock.db")
    }

    /// Returns the file that says in which other database the record of this workspace is.
    pub fn database_note(&self) -> PathBuf {
        self.state_dir().join("database")
    }

    /// Returns the address of the database in the state folder.
    pub fn own_database_url(&self) -> String {
        let path = self.own_database();
        // What has a meaning in an address is escaped: the path is the user's.
        let path = path.to_str().expect("a workspace's path is UTF-8").replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        format!("sqlite://{path}")
    }

    /// Makes the state folder and everything in it that is not there yet, for this user alone. Safe twice.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let state = self.state_dir();
        own_folder(&state)?;
        match OpenOptions::new().write(true).create_new(true).open(state.join(".gitignore")) {
            Ok(mut file) => file.write_all(b"*\n").context("writing .interlock/.gitignore")?,
            Err(err) if err.kind() == ErrorKind::AlreadyExists => (),
            Err(err) => return Err(err).context("writing .interlock/.gitignore"),
        }
        let chosen = self.socket_dir();
        if chosen != state {
            // Another process of this workspace may have another environment: it finds the sockets by this file.
            let chosen = chosen.to_str().expect("made of UTF-8");
            if fs::read_to_string(state.join(SOCKETS_FILE)).is_ok_and(|stale| stale != chosen) {
                fs::remove_file(state.join(SOCKETS_FILE)).context("replacing the note of another workspace's sockets")?;
            }
            write_once(&state, SOCKETS_FILE, chosen)?;
            let sockets = self.socket_dir();
            own_folder(sockets.parent().expect("the folder for sockets has a parent"))?;
            own_folder(&sockets)?;
        }
        [self.releases_dir(), self.instances_dir(), self.logs_dir(), self.run_dir()].iter().try_for_each(|folder| own_folder(folder))
    }

    /// Returns the bearer token, made at the first call: 256 random bits in hex, in a file for this user alone.
    pub fn token(&self) -> anyhow::Result<String> {
        own_folder(&self.state_dir())?;
        let path = self.token_file();
        if fs::symlink_metadata(&path).is_err_and(|err| err.kind() == ErrorKind::NotFound) {
            write_once(&self.state_dir(), "token", &hex(&rand::random::<[u8; 32]>()))?;
        }
        let metadata = fs::symlink_metadata(&path).context("reading the token")?;
        ensure!(metadata.is_file() && metadata.uid() == user(), "{} is no file of this user: remove it", shown(&path));
        ensure!(metadata.mode() & 0o077 == 0, "others can read {}: remove it, and a new one is made", shown(&path));
        let mut token = String::new();
        fs::File::open(&path).and_then(|file| file.take(1024).read_to_string(&mut token)).context("reading the token")?;
        let is_token = token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(is_token, "{} holds no token: remove it, and a new one is made", shown(&path));
        Ok(token)
    }

    /// Returns where a caller's path leads, symbolic links resolved; it must stay in the workspace and out of the state folder.
    ///
    /// The last parts of the path need not exist yet.
    pub fn resolve_inside(&self, path: &str) -> Result<PathBuf, String> {
        let name = visible_line(path, 200);
        if path.is_empty() || path.contains('\0') {
            return Err(format!("`{name}` is no path"));
        }
        let given = self.root.join(path);
        let mut existing = given.as_path();
        while fs::symlink_metadata(existing).is_err_and(|err| err.kind() == ErrorKind::NotFound) {
            existing = existing.parent().ok_or_else(|| format!("`{name}` leads nowhere"))?;
        }
        let rest = given.strip_prefix(existing).expect("an ancestor is a prefix");
        if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(format!("`{name}` leads through a folder that does not exist"));
        }
        let mut resolved = existing.canonicalize().map_err(|err| format!("`{name}` cannot be followed: {err}"))?;
        resolved.extend(rest.components());
        if !resolved.starts_with(&self.root) {
            return Err(format!("`{name}` leads out of the workspace"));
        }
        if resolved.starts_with(self.state_dir()) {
            return Err(format!("`{name}` leads into `.interlock`, which is the server's own"));
        }
        Ok(resolved)
    }

    /// Returns the state folder, or where its path leaves no room for a socket's name, a short folder of this user's.
    fn socket_dir(&self) -> PathBuf {
        let state = self.state_dir();
        if state.as_os_str().len() + RUN_SOCKET_BYTES <= SOCKET_PATH_BYTES {
            return state;
        }
        let hash = &Sha256::of(self.root.as_os_str().as_encoded_bytes()).0[..16];
        // A copied state folder names the sockets of the workspace it was copied from: those are not ours.
        let chosen = fs::read_to_string(state.join(SOCKETS_FILE)).ok().map(PathBuf::from);
        let is_ours = |folder: &PathBuf| folder.is_absolute() && folder.ends_with(hash);
        chosen.filter(is_ours).unwrap_or_else(|| runtime_dir(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), hash))
    }
}

/// Returns the folder for a workspace's sockets outside of it.
fn runtime_dir(session: Option<PathBuf>, hash: &str) -> PathBuf {
    let session = session.filter(|folder| folder.is_absolute() && folder.is_dir() && folder.to_str().is_some());
    let in_session = session.map(|folder| folder.join("interlock").join(hash));
    let fits = |folder: &PathBuf| folder.as_os_str().len() + RUN_SOCKET_BYTES <= SOCKET_PATH_BYTES;
    in_session.filter(fits).unwrap_or_else(|| PathBuf::from(format!("/tmp/interlock-{}/{hash}", user())))
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Makes a folder for this user alone, or checks that the one there is.
fn own_folder(path: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(err) if err.kind() != ErrorKind::AlreadyExists => return Err(err).with_context(|| format!("making {}", shown(path))),
        _ => (),
    }
    let metadata = fs::symlink_metadata(path).with_context(|| format!("looking at {}", shown(path)))?;
    if !metadata.is_dir() {
        bail!("{} is no folder, or a symbolic link: remove it", shown(path));
    }
    ensure!(metadata.uid() == user(), "{} belongs to another user", shown(path));
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| format!("closing {} to others", shown(path)))?;
    }
    Ok(())
}

/// Writes a file that nobody ever sees half written; of two writers at once, the first one's stays.
fn write_once(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    let draft = folder.join(format!(".{name}.{}", hex(&rand::random::<[u8; 8]>())));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()))
        // A link, unlike a rename, does not replace what another writer has put there meanwhile.
        .and_then(|()| fs::hard_link(&draft, folder.join(name)));
    let _ = fs::remove_file(&draft);
    match written {
        Err(err) if err.kind() != ErrorKind::AlreadyExists => Err(err).with_context(|| format!("writing {name} in {}", shown(folder))),
        _ => Ok(()),
    }
}

fn shown(path: &Path) -> String {
    format!("`{}`", visible_line(&path.display().to_string(), 300))
}
