//! The workspace on a real file system.

use super::workspace::Workspace;
use crate::error::Code;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn workspace(folder: &Path) -> Workspace {
    fs::write(folder.join("interlock.toml"), "").unwrap();
    Workspace::at(folder).unwrap()
}

#[test]
fn a_workspace_is_found_by_name_or_upwards() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    assert_eq!(Workspace::find_from(None, &inner).unwrap_err().code, Code::NoWorkspace);
    let expected = workspace(folder.path());
    for (named, current) in [(None, inner.as_path()), (Some(folder.path()), Path::new("/")), (Some(Path::new("../..")), &inner)] {
        assert_eq!(Workspace::find_from(named, current).unwrap(), expected);
    }
    assert_eq!(Workspace::find_from(Some(&expected.config_file()), Path::new("/")).unwrap(), expected);
    assert_eq!(Workspace::find_from(Some(&inner), folder.path()).unwrap_err().code, Code::NoWorkspace);
}

#[test]
fn the_state_folder_is_for_this_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    workspace.prepare().unwrap();
    workspace.prepare().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for made in [workspace.state_dir(), workspace.releases_dir(), workspace.instances_dir(), workspace.logs_dir(), workspace.run_dir()] {
        assert_eq!(mode(&made), 0o700, "{}", made.display());
    }
    assert_eq!(fs::read_to_string(workspace.state_dir().join(".gitignore")).unwrap(), "*\n");

    let token = workspace.token().unwrap();
    assert_eq!((token.len(), workspace.token().unwrap(), mode(&workspace.token_file())), (64, token.clone(), 0o600));
    fs::set_permissions(workspace.token_file(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(workspace.token().unwrap_err().to_string().contains("others can read"));
}

#[test]
fn two_processes_make_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| workspace.token().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

#[test]
fn a_planted_state_folder_is_refused() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let workspace = workspace(folder.path());
    std::os::unix::fs::symlink(elsewhere.path(), workspace.state_dir()).unwrap();
    assert!(workspace.prepare().is_err() && workspace.token().is_err());
}

#[test]
fn a_long_workspace_path_has_sockets_that_bind() {
    let folder = tempfile::tempdir().unwrap();
    let short = workspace(folder.path());
    assert!(short.agent_socket().starts_with(short.state_dir()), "a short path keeps its sockets");

    let long = folder.path().join("d".repeat(200));
    fs::create_dir(&long).unwrap();
    let long = workspace(&long);
    long.prepare().unwrap();
    let name = format!("{}-{}-dep_12-1", "e".repeat(40), "s".repeat(40));
    for socket in [long.agent_socket(), long.api_socket(), long.run_socket("shim"), long.run_socket(&name), short.run_socket(&name)] {
        assert!(socket.as_os_str().len() <= 107, "{}", socket.display());
        short.prepare().unwrap();
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        fs::remove_file(socket).unwrap();
    }
    let sockets = long.agent_socket().parent().unwrap().to_owned();
    assert_eq!(fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700);

    // A copy of the state folder does not lead to the sockets of the workspace it was copied from.
    let copy = folder.path().join("c".repeat(200));
    fs::create_dir(&copy).unwrap();
    let copy = workspace(&copy);
    fs::create_dir(copy.state_dir()).unwrap();
    fs::copy(long.state_dir().join("sockets"), copy.state_dir().join("sockets")).unwrap();
    copy.prepare().unwrap();
    assert_ne!(copy.agent_socket(), long.agent_socket());
    let _ = (fs::remove_dir_all(&sockets), fs::remove_dir_all(copy.agent_socket().parent().unwrap()));
}

#[test]
fn a_callers_path_stays_inside() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let workspace = workspace(folder.path());
    workspace.prepare().unwrap();
    let root = workspace.root.clone();
    fs::create_dir(root.join("dist")).unwrap();
    fs::write(root.join("dist/web"), "x").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
    std::os::unix::fs::symlink(root.join("dist"), root.join("in")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("later"), root.join("dangling")).unwrap();
    std::os::unix::fs::symlink(workspace.state_dir(), root.join("state")).unwrap();

    for good in ["dist/web", "in/web", "./dist/../dist/web", root.join("dist/web").to_str().unwrap()] {
        assert_eq!(workspace.resolve_inside(good).unwrap(), root.join("dist/web"), "{good}");
    }
    assert_eq!(workspace.resolve_inside("docs/new/page.md").unwrap(), root.join("docs/new/page.md"));
    let bad = [
        "",
        "..",
        "../x",
        "/etc/passwd",
        "out/x",
        "out",
        "dangling",
        "dangling/x",
        ".interlock/token",
        "state/token",
        "new/../../x",
        "a\0b",
        "dist/web/x",
    ];
    for bad in bad {
        assert!(workspace.resolve_inside(bad).is_err(), "{bad:?} gave {:?}", workspace.resolve_inside(bad));
    }
}

#[test]
fn the_database_lies_in_the_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("50% off?");
    fs::create_dir(&odd).unwrap();
    let url = workspace(&odd).database_url();
    // The variable of the same name takes the place of it, where the tests run with one.
    if std::env::var_os("INTERLOCK_DATABASE_URL").is_none() {
        assert!(url.starts_with("sqlite:///") && url.ends_with("/50%25 off%3f/.interlock/interlock.db"), "{url}");
    }
}
