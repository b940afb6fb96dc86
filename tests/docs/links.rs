//! Links, pictures, and the list of chapters.

use super::{
    book::{Page, chapters, markdown_under, none, pages, read, root},
    support::required::runtime,
};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// A picture that costs more is not looked at on a slow line.
const PICTURE_BYTES: u64 = 60 * 1024;

#[test]
fn the_summary_lists_every_page_once_and_nothing_else() {
    none(unlisted(&read("docs/SUMMARY.md"), &markdown_under("docs")));
    let planted = "# Summary\n\n[A](a.md)\n\n# Part\n\n- [B](b.md)\n- [B again](b.md)\n- [Gone](gone.md)\n";
    let found = unlisted(planted, &["SUMMARY.md".into(), "a.md".into(), "b.md".into(), "c.md".into()]);
    assert_eq!(found, ["b.md is listed twice", "gone.md is listed and not there", "c.md is not listed"]);
    assert_eq!(unlisted("* [A](a.md)", &[]), ["no chapter: * [A](a.md)"]);
}

#[test]
fn mdbook_makes_a_page_of_every_chapter() {
    let Some(mdbook) = runtime("mdbook", "INTERLOCK_MDBOOK") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (docs, made) = (folder.path().join("docs"), folder.path().join("made"));
    copy(&root().join("docs"), &docs);
    let build = || Command::new(&mdbook).arg("build").arg(&docs).arg("-d").arg(&made).output().unwrap();
    let built = build();
    let said = String::from_utf8_lossy(&[built.stdout, built.stderr].concat()).into_owned();
    assert!(built.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let chapters = chapters(&read("docs/SUMMARY.md")).unwrap();
    for chapter in &chapters {
        let page = made.join(chapter.path.replace("README.md", "index.md")).with_extension("html");
        let html = fs::read_to_string(&page).unwrap_or_else(|err| panic!("{}: {err}", page.display()));
        let title = read(&format!("docs/{}", chapter.path)).lines().next().unwrap().trim_start_matches("# ").to_owned();
        assert!(html.contains("<main>") && html.contains(&title), "{}", page.display());
    }
    fs::read_dir(docs.join("images")).unwrap().for_each(|one| assert!(made.join("images").join(one.unwrap().file_name()).is_file()));
    println!("figure: mdBook made {} pages", chapters.len());
    // The same build sees a chapter that is not there.
    fs::write(docs.join("SUMMARY.md"), "# Summary\n\n[Gone](gone.md)\n").unwrap();
    assert!(!build().status.success());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

#[test]
fn every_link_leads_somewhere_and_every_picture_is_there_and_says_what_it_shows() {
    let mut pages = pages();
    pages.push(Page { path: "docs/llms.txt".into(), text: read("docs/llms.txt") });
    let links: usize = pages.iter().map(|page| page.links().len()).sum();
    let pictures = pages.iter().flat_map(Page::links).filter(|link| link.is_picture).count();
    println!("figure: {links} links, {pictures} pictures of them, on {} pages", pages.len());
    assert!(links > 100 && pictures > 0, "{links} links, {pictures} pictures");
    none(pages.iter().flat_map(faults).collect());
    let shown: BTreeSet<String> = pages.iter().flat_map(Page::links).filter(|link| link.is_picture).map(|link| link.target).collect();
    for picture in fs::read_dir(root().join("docs/images")).unwrap() {
        let name = picture.unwrap().file_name().into_string().unwrap();
        assert!(shown.iter().any(|target| target.ends_with(&format!("images/{name}"))), "nobody shows docs/images/{name}");
    }
}

#[test]
fn a_planted_dead_link_is_found() {
    let text = "# A\n\n## B `c`\n\n## B c\n\n[a](approvals.md#keys) [b](#b-c) [c](#b-c-1) [d](https://example.test) \
        [e](gone.md) [f](approvals.md#gone) [g](#gone) [h](../src/lib.rs) ![](gone.png) [i]()";
    let found = faults(&Page { path: "docs/planted.md".into(), text: text.into() });
    let expected = [
        "gone.md is not there",
        "approvals.md#gone: no such heading",
        "#gone: no such heading",
        "../src/lib.rs leads out of the book",
        "gone.png is not there",
        "gone.png says nothing of what it shows",
        " leads nowhere",
    ];
    assert_eq!(found, expected.map(|fault| format!("docs/planted.md: {fault}")));
}

fn unlisted(summary: &str, files: &[String]) -> Vec<String> {
    let chapters = match chapters(summary) {
        Ok(chapters) => chapters,
        Err(fault) => return vec![fault],
    };
    let (mut seen, mut faults) = (BTreeSet::new(), Vec::new());
    for chapter in &chapters {
        if !seen.insert(chapter.path.clone()) {
            faults.push(format!("{} is listed twice", chapter.path));
        } else if !files.contains(&chapter.path) {
            faults.push(format!("{} is listed and not there", chapter.path));
        }
    }
    faults.extend(files.iter().filter(|file| *file != "SUMMARY.md" && !seen.contains(*file)).map(|file| format!("{file} is not listed")));
    faults
}

/// Tells every link of a page that leads nowhere; a page of the book leads to the book alone.
fn faults(page: &Page) -> Vec<String> {
    let folder = Path::new(&page.path).parent().unwrap().to_owned();
    let mut faults = Vec::new();
    for link in page.links() {
        let mut fault = |text: String| faults.push(format!("{}: {text}", page.path));
        let target = link.target.as_str();
        if target.is_empty() {
            fault(" leads nowhere".into());
            continue;
        }
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let file = if path.is_empty() { page.path.clone() } else { normal(&folder.join(path)) };
        let text = if file == page.path { Some(page.text.clone()) } else { std::fs::read_to_string(root().join(&file)).ok() };
        let in_book = page.path.starts_with("docs/");
        if in_book && !file.starts_with("docs/") {
            fault(format!("{target} leads out of the book"));
        } else if !root().join(&file).exists() && file != page.path {
            fault(format!("{target} is not there"));
        } else if let Some(anchor) = anchor
            && !text.is_some_and(|text| Page { path: file.clone(), text }.anchors().iter().any(|found| found == anchor))
        {
            fault(format!("{target}: no such heading"));
        }
        if link.is_picture {
            if link.words.trim().is_empty() {
                fault(format!("{target} says nothing of what it shows"));
            }
            let bytes = std::fs::metadata(root().join(&file)).map_or(0, |metadata| metadata.len());
            if bytes > PICTURE_BYTES {
                fault(format!("{target} has {bytes} bytes, and {PICTURE_BYTES} at most"));
            }
        }
    }
    faults
}

/// Returns a path without `..`.
fn normal(path: &Path) -> String {
    let mut parts = Vec::new();
    for part in path.iter() {
        match part.to_str().unwrap() {
            ".." => drop(parts.pop()),
            "." => (),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
