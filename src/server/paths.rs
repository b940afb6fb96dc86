//! Where a workspace keeps what the server needs.

use crate::{
    error::{Code, Error},
    model::{Sha256, digest::hex},
};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The longest path a unix socket may have, with room for the closing zero.
const SOCKET_PATH_BYTES: usize = 107;

/// A folder with an `interlock.toml`, and `.interlock/` beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Returns the workspace at this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Workspace { root: root.into() }
    }

    /// Finds the workspace: the given folder, else `INTERLOCK_WORKSPACE`, else upwards from the working directory.
    pub fn find(given: Option<&Path>) -> Result<Self, Error> {
        let named = given
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os("INTERLOCK_WORKSPACE").filter(|path| !path.is_empty()).map(PathBuf::from));
        let missing = |place: &Path| Error::new(Code::NoWorkspace, format!("no `interlock.toml` in `{}`", place.display()));
        if let Some(named) = named {
            let root = named.canonicalize().map_err(|_| missing(&named))?;
            return if root.join("interlock.toml").is_file() { Ok(Workspace { root }) } else { Err(missing(&root)) };
        }
        let start = std::env::current_dir().map_err(Error::internal)?;
        let root = start.ancestors().find(|folder| folder.join("interlock.toml").is_file());
        root.map(Workspace::at)
            .ok_or_else(|| Error::new(Code::NoWorkspace, format!("no `interlock.toml` in `{}` or above it", start.display())))
    }

    /// Returns its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns `.interlock/`.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".interlock")
    }

    /// Returns the socket agents reach through the bridge.
    pub fn agent_socket(&self) -> PathBuf {
        self.socket("agent.sock")
    }

    /// Returns the socket the command line uses.
    pub fn api_socket(&self) -> PathBuf {
        self.socket("api.sock")
    }

    /// Returns the file that says which server runs.
    pub fn server_file(&self) -> PathBuf {
        self.state_dir().join("server.json")
    }

    /// Returns the file whose lock the running server holds.
    pub fn lock_file(&self) -> PathBuf {
        self.state_dir().join("server.lock")
    }

    /// Returns the file with the bearer token.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir().join("token")
    }

    /// Returns the folder of the logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.state_dir().join("logs")
    }

    /// Makes the folders, readable by nobody else.
    pub fn prepare(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in
            [Some(self.state_dir()), Some(self.logs_dir()), self.agent_socket().parent().map(Path::to_path_buf)].into_iter().flatten()
        {
            builder.create(folder)?;
        }
        Ok(())
    }

    /// Returns the bearer token; the first call makes it.
    pub fn token(&self) -> io::Result<String> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.token_file());
        match made {
            Ok(mut file) => writeln!(file, "{}", hex(&rand::random::<[u8; 32]>()))?,
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
        let token = fs::read_to_string(self.token_file())?.trim().to_owned();
        if token.len() < 32 { Err(io::Error::other("the token file holds no token; delete it and start again")) } else { Ok(token) }
    }

    /// A path too long for a socket moves to the runtime folder, under a name made from the workspace's path.
    fn socket(&self, name: &str) -> PathBuf {
        let path = self.state_dir().join(name);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES {
            return path;
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let base = runtime.unwrap_or_else(|| std::env::temp_dir().join(format!("interlock-{}", rustix::process::getuid().as_raw())));
        base.join(Sha256::of(self.root.as_os_str().as_encoded_bytes()).short()).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_move_to_the_runtime_folder() {
        let near = Workspace::at("/w");
        assert_eq!(near.agent_socket(), Path::new("/w/.interlock/agent.sock"));
        let far = Workspace::at(format!("/{}", "x".repeat(200)));
        assert!(far.agent_socket().as_os_str().len() <= SOCKET_PATH_BYTES, "{:?}", far.agent_socket());
        assert_ne!(far.agent_socket(), Workspace::at(format!("/{}", "y".repeat(200))).agent_socket());
    }

    #[test]
    fn the_token_stays_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(folder.path());
        workspace.prepare().unwrap();
        let token = workspace.token().unwrap();
        assert_eq!((token.len(), workspace.token().unwrap()), (64, token));
        assert_eq!(fs::metadata(workspace.token_file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(workspace.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
