//! The release store with real files: the same bytes have one name, and nothing gets in or out that should not.

use flate2::{Compression, write::GzEncoder};
use interlock::{
    model::Sha256,
    targets::release_store::{ArtifactError, Limits, ReleaseStore},
};
use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

struct World {
    folder: tempfile::TempDir,
    store: ReleaseStore,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("workspace/.interlock")).unwrap();
        let store = ReleaseStore::new(folder.path().join("workspace/.interlock/releases"));
        World { folder, store }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    fn write(&self, path: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn pin(&self, artifact: &str) -> Result<Sha256, ArtifactError> {
        self.store.pin(&self.root(), artifact).map(|pinned| pinned.digest)
    }

    /// Writes an archive of (path, kind, link, mode, content), byte for byte as said.
    fn archive(&self, name: &str, entries: &[Entry]) {
        let mut builder = tar::Builder::new(GzEncoder::new(fs::File::create(self.root().join(name)).unwrap(), Compression::default()));
        for (path, kind, link, mode, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
    }

    /// Nothing half done stays in the store.
    fn is_tidy(&self) -> bool {
        let names = fs::read_dir(self.root().join(".interlock/releases")).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().all(|name| name.len() == 64)
    }
}

/// Path, kind, link, mode, content.
type Entry<'a> = (&'a str, tar::EntryType, &'a str, u32, &'a [u8]);

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn a_folder_and_its_archive_have_one_digest() {
    let world = World::new();
    world.write("dist/web", "#!/bin/sh\n", 0o755);
    world.write("dist/lib/data.txt", "data", 0o640);
    symlink("data.txt", world.root().join("dist/lib/same")).unwrap();
    fs::create_dir(world.root().join("dist/empty")).unwrap();
    let pinned = world.store.pin(&world.root(), "path:dist").unwrap();
    assert_eq!((pinned.files, pinned.size_bytes), (3, 18));

    let (dir, link) = (tar::EntryType::Directory, tar::EntryType::Symlink);
    let entries: &[Entry] = &[
        ("./", dir, "", 0o755, b""),
        ("./lib/same", link, "data.txt", 0o777, b""),
        ("./lib/data.txt", FILE, "", 0o600, b"data"),
        ("./web", FILE, "", 0o700, b"#!/bin/sh\n"),
    ];
    world.archive("dist.tar.gz", entries);
    world.archive("other.tgz", entries);
    assert_eq!(world.pin("dist.tar.gz").unwrap(), pinned.digest);
    assert_eq!(world.pin("other.tgz").unwrap(), pinned.digest);
    assert_eq!(world.store.list().unwrap(), std::slice::from_ref(&pinned.digest));

    let place = world.store.verify(&pinned.digest).unwrap();
    let mode = |path: &str| fs::symlink_metadata(place.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("web"), mode("lib/data.txt"), mode("lib/same")), (0o555, 0o444, 0o444));
    assert!(world.is_tidy());
    world.store.remove(&pinned.digest).unwrap();
    world.store.remove(&pinned.digest).unwrap();
    assert!(world.store.list().unwrap().is_empty() && world.is_tidy());
    assert!(matches!(world.store.verify(&pinned.digest), Err(ArtifactError::NotPinned(_))));
}

#[test]
fn every_difference_that_counts_changes_the_digest() {
    let world = World::new();
    let mut digests = vec![];
    for (number, (path, content, mode)) in
        [("web", "one", 0o755), ("web", "two", 0o755), ("web", "one", 0o644), ("wed", "one", 0o755)].into_iter().enumerate()
    {
        world.write(&format!("{number}/{path}"), content, mode);
        digests.push(world.pin(&number.to_string()).unwrap());
        assert_eq!(world.pin(&format!("{number}/{path}")).unwrap(), digests[number], "one file, alone or in a folder");
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

#[test]
fn altered_bytes_are_found_and_pinning_again_heals_them() {
    let world = World::new();
    world.write("dist/web", "good", 0o755);
    let digest = world.pin("dist").unwrap();
    let place = world.store.verify(&digest).unwrap();
    let web = place.join("web");
    type Alteration = fn(&Path);
    let alterations: [(&str, Alteration); 5] = [
        ("bytes", |web| {
            fs::set_permissions(web, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(web, "evil").unwrap();
        }),
        ("exec bit", |web| fs::set_permissions(web, fs::Permissions::from_mode(0o444)).unwrap()),
        ("one more", |web| fs::write(web.with_file_name("more"), "").unwrap()),
        ("one less", |web| fs::remove_file(web).unwrap()),
        ("a link", |web| {
            fs::rename(web, web.with_file_name("real")).unwrap();
            symlink("real", web).unwrap();
        }),
    ];
    for (name, alter) in alterations {
        alter(&web);
        assert!(matches!(world.store.verify(&digest), Err(ArtifactError::Changed(_))), "{name}");
        assert_eq!(world.pin("dist").unwrap(), digest);
        world.store.verify(&digest).unwrap();
    }
    // The source may go or change; the pinned bytes stay.
    fs::remove_dir_all(world.root().join("dist")).unwrap();
    assert_eq!(fs::read_to_string(world.store.verify(&digest).unwrap().join("web")).unwrap(), "good");
}

#[test]
fn paths_stay_inside_the_workspace() {
    let world = World::new();
    fs::write(world.folder.path().join("outside"), "secret").unwrap();
    world.write("dist/web", "good", 0o755);
    world.write("sub/.interlock/token", "token", 0o600);
    world.write(".interlock/token", "token", 0o600);
    symlink("../outside", world.root().join("link")).unwrap();
    symlink(world.folder.path(), world.root().join("linked-folder")).unwrap();
    let absolute = world.folder.path().join("outside").display().to_string();
    for path in [
        "../outside",
        &absolute,
        "link",
        "linked-folder/outside",
        "/etc/hostname",
        ".",
        ".interlock/token",
        ".interlock",
        "sub",
        "dist/../../outside",
    ] {
        assert!(matches!(world.pin(path), Err(ArtifactError::Outside { .. })), "{path}: {:?}", world.pin(path));
    }
    for path in ["", "path:", "nothing", "dist/web/below", "a\0b", &"x".repeat(5000)] {
        assert!(matches!(world.pin(path), Err(ArtifactError::Missing(_))), "{path:.40}");
    }
    let inside = world.root().join("dist").display().to_string();
    assert!(world.pin(&inside).is_ok() && world.pin("./dist/../dist").is_ok());
    assert!(world.is_tidy());
}

#[test]
fn a_folder_holds_only_files_and_links_to_itself() {
    let world = World::new();
    world.write("far/web", "good", 0o755);
    world.write("outside.txt", "beside the artifact", 0o644);
    for (name, target) in [("out", "../outside.txt"), ("etc", "/etc/hostname"), ("broken", "nowhere"), ("loop", ".")] {
        let link = world.root().join("far").join(name);
        symlink(target, &link).unwrap();
        assert!(world.pin("far").is_err(), "{name}");
        fs::remove_file(link).unwrap();
    }
    let pipe = world.root().join("far/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(world.pin("far"), Err(ArtifactError::Unusable { .. })));
    assert!(matches!(world.pin("far/pipe"), Err(ArtifactError::Unusable { .. })), "and nobody waits for its writer");
    fs::remove_file(pipe).unwrap();
    assert!(world.pin("far").is_ok(), "the positive control");
    fs::create_dir_all(world.root().join("hollow/deep")).unwrap();
    assert!(matches!(world.pin("hollow"), Err(ArtifactError::Empty(_))));
    assert!(world.is_tidy());
}

#[test]
fn an_archive_that_means_harm_is_refused() {
    let world = World::new();
    let (symbolic, hard) = (tar::EntryType::Symlink, tar::EntryType::Link);
    let cases: &[(&str, &[Entry])] = &[
        ("climbs", &[("../evil", FILE, "", 0o644, b"x")]),
        ("climbs in the middle", &[("a/../../evil", FILE, "", 0o644, b"x")]),
        ("absolute", &[("/tmp/evil", FILE, "", 0o644, b"x")]),
        ("hard link", &[("a", FILE, "", 0o644, b"x"), ("b", hard, "a", 0o644, b"")]),
        ("hard link out", &[("b", hard, "/etc/passwd", 0o644, b"")]),
        ("link out", &[("a", FILE, "", 0o644, b"x"), ("b", symbolic, "/etc/hostname", 0o777, b"")]),
        ("link up", &[("a", FILE, "", 0o644, b"x"), ("b", symbolic, "../../../../token", 0o777, b"")]),
        ("through a link", &[("a", symbolic, "/tmp", 0o777, b""), ("a/evil", FILE, "", 0o644, b"x")]),
        ("twice", &[("a", FILE, "", 0o644, b"x"), ("a", FILE, "", 0o644, b"y")]),
        ("below a file", &[("a", FILE, "", 0o644, b"x"), ("a/b", FILE, "", 0o644, b"y")]),
        ("pipe", &[("a", tar::EntryType::Fifo, "", 0o644, b"")]),
        ("device", &[("a", tar::EntryType::Block, "", 0o644, b"")]),
        ("nothing", &[]),
    ];
    for (name, entries) in cases {
        world.archive("bad.tar.gz", entries);
        let outcome = world.pin("bad.tar.gz");
        let expected = matches!(outcome, Err(ArtifactError::Outside { .. } | ArtifactError::Unusable { .. } | ArtifactError::Empty(_)));
        assert!(expected, "{name}: {outcome:?}");
    }
    assert!(!Path::new("/tmp/evil").exists() && !world.root().join(".interlock/evil").exists());
    fs::write(world.root().join("bad.tar.gz"), "no archive").unwrap();
    assert!(matches!(world.pin("bad.tar.gz"), Err(ArtifactError::Unusable { .. })));
    world.archive("cut.tar.gz", &[("a", FILE, "", 0o644, &[7; 100_000])]);
    let bytes = fs::read(world.root().join("cut.tar.gz")).unwrap();
    fs::write(world.root().join("cut.tar.gz"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(world.pin("cut.tar.gz"), Err(ArtifactError::Unusable { .. })));
    assert!(world.is_tidy() && world.store.list().unwrap().is_empty());
}

#[test]
fn limits_hold() {
    let mut world = World::new();
    let limits = Limits { entries: 10, bytes: 1000, ratio: 5, ratio_from: 10_000 };
    world.store = ReleaseStore::new(world.root().join(".interlock/releases")).with_limits(limits);
    for number in 0..10 {
        world.write(&format!("many/{number}"), "x", 0o644);
    }
    assert!(world.pin("many").is_ok());
    world.write("many/one-more", "x", 0o644);
    assert!(matches!(world.pin("many"), Err(ArtifactError::TooLarge(_))));
    world.write("large", &"x".repeat(1001), 0o644);
    assert!(matches!(world.pin("large"), Err(ArtifactError::TooLarge(_))));
    world.archive("bomb.tar.gz", &[("zeros", FILE, "", 0o644, &vec![0; 1 << 20])]);
    assert!(fs::metadata(world.root().join("bomb.tar.gz")).unwrap().len() < 10_000);
    assert!(matches!(world.pin("bomb.tar.gz"), Err(ArtifactError::TooLarge(_))));
    assert!(world.is_tidy());
}

#[test]
fn a_file_that_is_written_to_meanwhile_is_noticed_or_pinned_as_read() {
    let world = World::new();
    let path = world.write("big", "", 0o644);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![1; 8 << 20]).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            file.write_all(b"more").unwrap();
        }
    });
    let outcome = world.pin("big");
    drop(stop);
    writer.join().unwrap();
    assert!(matches!(outcome, Err(ArtifactError::Changing(_))), "{outcome:?}");
    let digest = world.pin("big").unwrap();
    world.store.verify(&digest).unwrap();
}

#[test]
fn a_full_disk_is_told_from_other_faults() {
    for (error, is_full) in [(28, true), (122, true), (27, true), (5, false)] {
        let found = ArtifactError::from(std::io::Error::from_raw_os_error(error));
        assert_eq!(matches!(found, ArtifactError::DiskFull(_)), is_full, "{found}");
    }
}

#[test]
fn a_name_that_is_no_digest_finds_nothing() {
    let world = World::new();
    for name in ["..", "../../token", "", "abc", &"A".repeat(64)] {
        assert!(matches!(world.store.verify(&Sha256(name.into())), Err(ArtifactError::NotPinned(_))), "{name}");
        world.store.remove(&Sha256(name.into())).unwrap();
    }
    assert!(world.root().exists());
}
