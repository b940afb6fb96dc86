//! The pages of the book, and what stands in them.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A page: its path in the repository, and its text.
pub struct Page {
    pub path: String,
    pub text: String,
}

/// A fenced block: its line, its language, what is said behind that, and its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub line: usize,
    pub language: String,
    pub marks: BTreeMap<String, String>,
    pub text: String,
}

/// A chapter, as SUMMARY.md lists it: the part it stands in, its title, and its path in `docs/`.
#[derive(Debug, Clone, PartialEq)]
pub struct Chapter {
    pub part: String,
    pub title: String,
    pub path: String,
}

/// Where a link or a picture leads, and what it says.
pub struct Link {
    pub target: String,
    pub words: String,
    pub is_picture: bool,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns every page of the book in its order, and the README before it.
pub fn pages() -> Vec<Page> {
    let chapters = chapters(&read("docs/SUMMARY.md")).unwrap();
    let paths = ["README.md".to_owned()].into_iter().chain(chapters.into_iter().map(|chapter| format!("docs/{}", chapter.path)));
    paths.map(|path| Page { text: read(&path), path }).collect()
}

/// Reads a summary as mdBook does, and tells the line that it would not understand.
pub fn chapters(summary: &str) -> Result<Vec<Chapter>, String> {
    let (mut part, mut chapters) = (String::new(), Vec::new());
    for line in summary.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            part = if title == "Summary" { String::new() } else { title.to_owned() };
            continue;
        }
        let entry = line.strip_prefix("- ").unwrap_or(line);
        let parsed = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once("]("));
        let (title, path) = parsed.ok_or_else(|| format!("no chapter: {line}"))?;
        chapters.push(Chapter { part: part.clone(), title: title.to_owned(), path: path.to_owned() });
    }
    Ok(chapters)
}

/// Returns every Markdown file under a folder of the repository, by its path in it.
pub fn markdown_under(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    let path = |path: PathBuf| path.strip_prefix(root().join(folder)).unwrap().display().to_string();
    let mut found: Vec<String> = found.into_iter().map(path).filter(|path| path.ends_with(".md")).collect();
    found.sort();
    found
}

impl Page {
    fn events(&self) -> impl Iterator<Item = (Event<'_>, std::ops::Range<usize>)> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES).into_offset_iter()
    }

    /// Returns the fenced blocks.
    pub fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open) = (Vec::new(), None);
        for (event, range) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    let mut words = info.split_whitespace();
                    let language = words.next().unwrap_or_default().to_owned();
                    let marks = words.map(|word| word.split_once('=').unwrap_or((word, "")));
                    let marks = marks.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                    let line = self.text[..range.start].matches('\n').count() + 1;
                    open = Some(Block { line, language, marks, text: String::new() });
                }
                Event::Text(text) => {
                    if let Some(block) = &mut open {
                        block.text.push_str(&text);
                    }
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
                _ => (),
            }
        }
        blocks
    }

    /// Returns the anchors of its headings, as mdBook and GitHub give them.
    pub fn anchors(&self) -> Vec<String> {
        let (mut anchors, mut open) = (Vec::<String>::new(), None);
        let mut seen = BTreeMap::<String, usize>::new();
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => open = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut open {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = slug(&open.take().unwrap_or_default());
                    let times = seen.entry(anchor.clone()).or_default();
                    anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
                    *times += 1;
                }
                _ => (),
            }
        }
        anchors
    }

    /// Returns its first heading, and the first sentence of its first paragraph.
    pub fn opening(&self) -> (String, String) {
        let (mut title, mut first, mut level, mut is_words) = (String::new(), String::new(), None, false);
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Heading { level: found, .. }) => level = Some(found),
                Event::End(TagEnd::Heading(_)) => level = None,
                Event::Text(text) | Event::Code(text) if level == Some(HeadingLevel::H1) => title.push_str(&text),
                Event::Start(Tag::Paragraph) => is_words = true,
                Event::Text(text) | Event::Code(text) if is_words => first.push_str(&text),
                Event::SoftBreak if is_words => first.push(' '),
                Event::End(TagEnd::Paragraph) => break,
                _ => (),
            }
        }
        let end = first.find(". ").map_or(first.len(), |end| end + 1);
        (title, first[..end].to_owned())
    }

    /// Returns its links and pictures.
    pub fn links(&self) -> Vec<Link> {
        let (mut links, mut open) = (Vec::new(), Vec::<Link>::new());
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => {
                    open.push(Link { target: dest_url.to_string(), words: String::new(), is_picture: false })
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    open.push(Link { target: dest_url.to_string(), words: String::new(), is_picture: true })
                }
                Event::Text(text) | Event::Code(text) => open.iter_mut().for_each(|link| link.words.push_str(&text)),
                Event::End(TagEnd::Link | TagEnd::Image) => links.extend(open.pop()),
                _ => (),
            }
        }
        links
    }

    /// Returns the page in whose folder this one goes on.
    pub fn goes_on_after(&self) -> Option<String> {
        let (_, rest) = self.text.split_once("<!-- after: ")?;
        Some(format!("docs/{}", rest.split_once(" -->")?.0))
    }
}

/// Returns the anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-') || c.is_whitespace());
    kept.map(|c| if c.is_whitespace() { '-' } else { c }).collect()
}

/// Fails with every fault, one a line.
pub fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
