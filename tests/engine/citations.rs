//! What an agent cites is held against a real repository: right, moved, changed, and what cannot be looked at, each with its reason.

use crate::{support::databases::databases, world::Shop};
use interlock::engine::citations::{Mark, check, cited};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// Runs git in a folder; returns what it says.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = [("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@t"), ("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@t")];
    let mut git = Command::new("git");
    git.args(arguments).current_dir(folder).envs(identity);
    let output = git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Commits everything in a folder; returns the commit's id.
pub fn commit(folder: &Path) -> String {
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--allow-empty", "--message", "state"]);
    git(folder, &["rev-parse", "HEAD"])
}

/// A repository whose file moved its second line to the fourth and changed its third, between two commits.
fn repository() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "--quiet", "--initial-branch=main"]);
    fs::create_dir_all(root.join("src")).unwrap();
    fs::write(root.join("src/web.rs"), "fn web() {\n    serve(8080);\n    limit(500);\n}\n").unwrap();
    fs::write(root.join("big.txt"), "x\n".repeat(600_000)).unwrap();
    fs::write(root.join("bytes.bin"), [0xff, 0xfe, 0x00]).unwrap();
    fs::write(root.join("with space.md"), "a\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    let before = commit(root);
    fs::write(root.join("src/web.rs"), "fn web() {\n    // moved\n    limit(900);\n    serve(8080);\n}\n").unwrap();
    let after = commit(root);
    (folder, before, after)
}

async fn marks(root: &Path, text: &str) -> Vec<(Mark, String)> {
    let citations = cited(text);
    assert!(!citations.is_empty(), "nothing is cited in {text}");
    check(root, "shop", citations).await.into_iter().map(|checked| (checked.mark, checked.why)).collect()
}

#[tokio::test]
async fn a_citation_is_held_against_the_commit_it_names() {
    let (folder, before, after) = repository();
    let root = folder.path();
    let short = &before[..8];
    let marked = async |text: String| {
        let mut marks = marks(root, &text).await;
        assert_eq!(marks.len(), 1, "{text}");
        marks.remove(0)
    };
    let quoting = |commit: &str, place: &str, quote: &str| format!("shop@{commit}:{place} \"{quote}\"");

    assert_eq!(marked(quoting(&before, "src/web.rs:2", "serve(8080);")).await, (Mark::Verified, String::new()));
    assert_eq!(marked(quoting(short, "src/web.rs:2-3", "serve(8080); limit(500);")).await.0, Mark::Verified);
    assert_eq!(marked(quoting(&before.to_uppercase(), "src/web.rs:2", "serve(8080);")).await.0, Mark::Verified);
    // The commit is the one that is named, whatever stands at HEAD.
    assert_eq!(marked(quoting(&after, "src/web.rs:2", "serve(8080);")).await, (Mark::Moved, "it stands at line 4".into()));
    assert_eq!(marked(quoting(&after, "src/web.rs:3", "limit(500);")).await, (Mark::Changed, "line 3 says: limit(900);".into()));
    assert_eq!(marked(quoting(&before, "src/web.rs:90", "limit(501);")).await, (Mark::Changed, "the file has 4 lines".into()));

    let missing = "0".repeat(40);
    for (citation, told) in [
        (quoting(&missing, "src/web.rs:2", "serve"), "has no commit `0000".to_owned()),
        (quoting("main", "src/web.rs:2", "serve"), "`main` is no commit's id".into()),
        (format!("other@{before}:src/web.rs:2 \"serve\""), "`other` is not this workspace's repository, which is cited as `shop`".into()),
        (quoting(&before, "../etc/passwd:1", "root"), "`../etc/passwd` leads out of the repository".into()),
        (quoting(&before, "src/../../x:1", "root"), "leads out of the repository".into()),
        (quoting(&before, "/etc/passwd:1", "root"), "`/etc/passwd` leads out of the repository".into()),
        (quoting(&before, "./src/web.rs:1", "fn"), "is no path from the repository's root".into()),
        (quoting(&before, "link:1", "root"), "`link` is a symbolic link".into()),
        (quoting(&before, "src:1", "fn"), "`src` is a folder".into()),
        (quoting(&before, "src/:1", "fn"), "is no path from the repository's root".into()),
        (quoting(&before, "gone.rs:1", "fn"), "has no file `gone.rs`".into()),
        (quoting(&before, ":(top)src/web.rs:1", "fn"), "has no file".into()),
        (quoting(&before, "big.txt:1", "x"), "`big.txt` has 1200000 bytes".into()),
        (quoting(&before, "bytes.bin:1", "x"), "`bytes.bin` is no text".into()),
        (quoting(&before, "src/web.rs:0", "fn"), "count from 1".into()),
        (quoting(&before, "src/web.rs:3-2", "fn"), "the lower first".into()),
        (quoting(&before, "src/web.rs:1-2-3", "fn"), "are no lines".into()),
        (quoting(&before, "src/web.rs:99999999999999999999999", "fn"), "are no lines".into()),
        (quoting(&before, "src/web.rs:2", " "), "quotes nothing".into()),
        (format!("shop@{before}:src/web.rs:2"), "quotes nothing".into()),
    ] {
        let (mark, why) = marked(citation.clone()).await;
        assert!(mark == Mark::Unverifiable && why.contains(&told), "{citation}: {mark} {why}");
    }
    // A branch whose name looks like another commit's id is not that commit.
    git(root, &["branch", "abcdef12", &before]);
    assert_eq!(marked(quoting("abcdef12", "src/web.rs:2", "serve(8080);")).await.0, Mark::Unverifiable);
    // Nor does an object that somebody put in place of another count.
    let object = |commit: &str| git(root, &["rev-parse", &format!("{commit}:src/web.rs")]);
    git(root, &["replace", &object(&before), &object(&after)]);
    assert_eq!(marked(quoting(&before, "src/web.rs:2", "serve(8080);")).await.0, Mark::Verified);

    let many = vec![quoting(&before, "src/web.rs:2", "serve(8080);"); 51].join("\n");
    let marks = marks(root, &many).await;
    assert!(marks[49].0 == Mark::Verified && marks[50].0 == Mark::Unverifiable, "{:?}", marks[50]);
    let nowhere = tempfile::tempdir().unwrap();
    assert!(check(nowhere.path(), "shop", cited(&many)).await.iter().all(|checked| checked.mark == Mark::Unverifiable));
}

#[tokio::test]
async fn a_runbook_that_cites_wrongly_is_kept_from_review() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let root = shop.engine.workspace.root.clone();
        git(&root, &["init", "--quiet"]);
        fs::write(root.join("notes.txt"), "one\ntwo\nthree\n").unwrap();
        fs::write(root.join(".gitignore"), ".interlock\n").unwrap();
        let commit = commit(&root);
        let settled = shop.deploy("1.0.0").await;
        let written = async |notes: String| {
            let asked = json!({ "deployment": settled["deployment"]["id"], "notes": notes });
            let written = shop.must("write_runbook", asked).await;
            let text = fs::read_to_string(root.join(written["path"].as_str().unwrap())).unwrap();
            (written, text)
        };
        let right = format!("shop@{commit}:notes.txt:2 \"two\"");
        let (clean, text) = written(format!("Look at {right} first.")).await;
        assert_eq!((&clean["state"], &clean["findings"]), (&json!("in_review"), &Value::Null), "{}: {clean:#}", database.name);
        assert!(
            text.contains(&format!(
                "## Citations\n\nCited in the notes below, and held against the repository:\n\n- `shop@{commit}:notes.txt:2`: verified\n"
            )),
            "{text}"
        );

        let moved = format!("shop@{commit}:notes.txt:1 \"three\"");
        let (faulty, text) = written(format!("Look at {right},\nand {moved}.")).await;
        assert_eq!(faulty["state"], "draft", "{faulty:#}");
        let fault = &faulty["findings"][0];
        assert_eq!((&fault["rule"], &fault["side"]), (&json!("RB021"), &json!("agent")));
        assert!(fault["message"].as_str().unwrap().ends_with("is moved: it stands at line 3"), "{fault:#}");
        let line = text.lines().nth(fault["line"].as_u64().unwrap() as usize - 1).unwrap();
        assert!(line.contains("notes.txt:1"), "the fault names its line: {line}");
        assert!(text.contains("notes.txt:1`: moved") && text.contains("notes.txt:2`: verified"), "{text}");
        assert_eq!(written("shop@main:notes.txt:2 \"two\"".into()).await.0["findings"][0]["rule"], "RB021");
    }
}
