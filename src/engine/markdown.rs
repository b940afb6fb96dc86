//! Markdown as a tree with lines, for who checks it and who shows it. Nothing of it is HTML here; what the text has of HTML stays text.
//!
//! What would cost more than a runbook is worth is refused before it is read: [`MOST_BYTES`], [`DEEPEST`].

use pulldown_cmark::{BrokenLink, CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag};
use std::{fmt, ops::Range};

/// The longest text, in bytes: forty times what a runbook may say (1,500 words, RB016).
pub const MOST_BYTES: usize = 256 * 1024;
/// How deep lists, quotes and emphasis may stand in one another.
pub const DEEPEST: usize = 32;
/// The address that a link with an unknown name gets.
pub const NOWHERE: &str = "nowhere:";

/// A text that is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What stands between the two `---` at its head, without them.
    pub front: Option<String>,
    /// Its blocks, in their order.
    pub blocks: Vec<Node>,
}

/// A block, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The line it begins in, from 1.
    pub line: usize,
    /// What stands in it.
    pub children: Vec<Node>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Kind {
    Paragraph,
    /// From 1 to 6.
    Heading(u8),
    Quote,
    /// A block of code, its language's tag in small letters, and the line its text begins in.
    Code {
        language: String,
        text: String,
        from: usize,
    },
    /// HTML, as written.
    Html(String),
    /// With its first number where it is numbered.
    List(Option<u64>),
    Item,
    Table,
    /// The head's cells.
    Head,
    Row,
    Cell,
    Emphasis,
    Strong,
    Struck,
    /// With its address.
    Link(String),
    /// With its address.
    Image(String),
    Text(String),
    CodeSpan(String),
    /// The end of a line within a paragraph.
    Break,
    Rule,
    /// A task, done or not.
    Task(bool),
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TooMuch {
    /// It is too long.
    Bytes(usize),
    /// Something stands too deep, in this line.
    Levels {
        /// From 1.
        line: usize,
    },
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooMuch::Bytes(bytes) => write!(f, "the text has {bytes} bytes, and {MOST_BYTES} are the most"),
            TooMuch::Levels { line } => write!(f, "line {line} stands more than {DEEPEST} levels deep"),
        }
    }
}

impl TooMuch {
    /// Returns the line it is about, from 1.
    pub fn line(&self) -> usize {
        match self {
            TooMuch::Bytes(_) => 1,
            TooMuch::Levels { line } => *line,
        }
    }
}

impl Document {
    /// Reads a text whose first line has this number.
    pub fn read(text: &str, first_line: usize) -> Result<Document, TooMuch> {
        if text.len() > MOST_BYTES {
            return Err(TooMuch::Bytes(text.len()));
        }
        // Before it is parsed: what stands ten thousand levels deep would take the parser's time.
        if let Some(at) = text.lines().position(|line| markers(line) > DEEPEST) {
            return Err(TooMuch::Levels { line: first_line + at });
        }
        let (front, body) = match text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
            Some((front, body)) => (Some(front.to_owned()), body),
            None => (None, text),
        };
        let before = text[..text.len() - body.len()].matches('\n').count();
        Ok(Document { front, blocks: Builder::new(body, first_line + before).built()? })
    }

    /// Returns what stands below each heading of this level, down to the next of it or above.
    pub fn sections(&self, level: u8) -> Vec<Section<'_>> {
        sections(&self.blocks, level)
    }

    /// Visits every node, those around others first.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        self.blocks.iter().for_each(|node| node.each(visit));
    }
}

/// A heading, and what stands below it.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The heading.
    pub heading: &'a Node,
    /// What stands below it.
    pub blocks: &'a [Node],
}

impl Section<'_> {
    /// Returns the heading's words.
    pub fn title(&self) -> String {
        self.heading.text().trim().to_owned()
    }
}

/// Returns what stands below each heading of this level among blocks, down to the next of it or above.
pub fn sections(blocks: &[Node], level: u8) -> Vec<Section<'_>> {
    let is_heading = |node: &Node| matches!(node.kind, Kind::Heading(found) if found <= level);
    let begins = blocks.iter().enumerate().filter(|(_, node)| node.kind == Kind::Heading(level));
    begins
        .map(|(at, heading)| {
            let rest = &blocks[at + 1..];
            Section { heading, blocks: &rest[..rest.iter().position(is_heading).unwrap_or(rest.len())] }
        })
        .collect()
}

impl Node {
    /// Visits this node and every one in it.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        visit(self);
        self.children.iter().for_each(|node| node.each(visit));
    }

    /// Returns its words, without its blocks of code and HTML; lines stay lines.
    pub fn text(&self) -> String {
        let mut said = String::new();
        self.each(&mut |node| match &node.kind {
            Kind::Text(text) | Kind::CodeSpan(text) => said.push_str(text),
            Kind::Break => said.push('\n'),
            _ => (),
        });
        said
    }

    /// Returns the lines of its paragraphs, headings and cells, each with its number.
    pub fn lines(&self) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        self.each(&mut |node| {
            if matches!(node.kind, Kind::Paragraph | Kind::Heading(_) | Kind::Cell) {
                lines.extend(node.text().split('\n').enumerate().map(|(at, line)| (node.line + at, line.trim().to_owned())));
            }
        });
        lines.retain(|(_, line)| !line.is_empty());
        lines
    }
}

/// Counts what opens a list or a quote at the beginning of a line.
fn markers(line: &str) -> usize {
    let (mut rest, mut count) = (line, 0);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let after_number = rest.trim_start_matches(|character: char| character.is_ascii_digit());
        let is_number = after_number.len() < rest.len();
        let after = match rest.strip_prefix('>') {
            Some(after) => Some(after),
            None if is_number => after_number.strip_prefix(['.', ')']).filter(|after| after.is_empty() || after.starts_with([' ', '\t'])),
            None => rest.strip_prefix(['-', '*', '+']).filter(|after| after.is_empty() || after.starts_with([' ', '\t'])),
        };
        let Some(after) = after else { return count };
        (rest, count) = (after, count + 1);
    }
}

/// Builds the tree from what the parser tells one after another.
struct Builder<'a> {
    text: &'a str,
    /// Where each line begins.
    begins: Vec<usize>,
    first_line: usize,
    open: Vec<Node>,
    blocks: Vec<Node>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, first_line: usize) -> Self {
        let begins = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Builder { text, begins, first_line, open: Vec::new(), blocks: Vec::new() }
    }

    fn line(&self, at: usize) -> usize {
        self.first_line + self.begins.partition_point(|begin| *begin <= at) - 1
    }

    fn built(mut self) -> Result<Vec<Node>, TooMuch> {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
        let note = |link: BrokenLink<'_>| {
            let is_meant = matches!(link.link_type, LinkType::Reference | LinkType::Collapsed);
            is_meant.then(|| (CowStr::from(format!("{NOWHERE}{}", link.reference)), CowStr::from("")))
        };
        for (event, range) in Parser::new_with_broken_link_callback(self.text, options, Some(note)).into_offset_iter() {
            self.take(event, &range)?;
        }
        Ok(self.blocks)
    }

    fn take(&mut self, event: Event<'_>, range: &Range<usize>) -> Result<(), TooMuch> {
        let line = self.line(range.start);
        match event {
            Event::Start(tag) => {
                if self.open.len() == DEEPEST {
                    return Err(TooMuch::Levels { line });
                }
                let kind = self.opened(tag, range, line);
                self.open.push(Node { kind, line, children: Vec::new() });
            }
            Event::End(_) => {
                let node = self.open.pop().expect("what ends was begun");
                self.put(node);
            }
            Event::Text(said) => match self.open.last_mut().map(|node| &mut node.kind) {
                Some(Kind::Code { text, .. } | Kind::Html(text)) => text.push_str(&said),
                _ => self.put_new(Kind::Text(said.into_string()), line),
            },
            Event::Html(said) => match self.open.last_mut().map(|node| &mut node.kind) {
                Some(Kind::Html(text)) => text.push_str(&said),
                _ => self.put_new(Kind::Html(said.into_string()), line),
            },
            Event::InlineHtml(said) => self.put_new(Kind::Html(said.into_string()), line),
            Event::Code(said) => self.put_new(Kind::CodeSpan(said.into_string()), line),
            Event::SoftBreak | Event::HardBreak => self.put_new(Kind::Break, line),
            Event::Rule => self.put_new(Kind::Rule, line),
            Event::TaskListMarker(done) => self.put_new(Kind::Task(done), line),
            Event::InlineMath(said) | Event::DisplayMath(said) | Event::FootnoteReference(said) => {
                self.put_new(Kind::Text(said.into_string()), line);
            }
        }
        Ok(())
    }

    fn opened(&self, tag: Tag<'_>, range: &Range<usize>, line: usize) -> Kind {
        match tag {
            Tag::Heading { level, .. } => Kind::Heading(level as u8),
            Tag::BlockQuote(_) => Kind::Quote,
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => {
                let language = info.split([' ', ',', '{']).next().unwrap_or_default().to_lowercase();
                Kind::Code { language, text: String::new(), from: line + 1 }
            }
            Tag::CodeBlock(CodeBlockKind::Indented) => {
                Kind::Code { language: String::new(), text: String::new(), from: self.line(range.start) }
            }
            Tag::HtmlBlock => Kind::Html(String::new()),
            Tag::List(first) => Kind::List(first),
            Tag::Item => Kind::Item,
            Tag::Table(_) => Kind::Table,
            Tag::TableHead => Kind::Head,
            Tag::TableRow => Kind::Row,
            Tag::TableCell => Kind::Cell,
            Tag::Emphasis => Kind::Emphasis,
            Tag::Strong => Kind::Strong,
            Tag::Strikethrough => Kind::Struck,
            Tag::Link { dest_url, .. } => Kind::Link(dest_url.into_string()),
            Tag::Image { dest_url, .. } => Kind::Image(dest_url.into_string()),
            _ => Kind::Paragraph,
        }
    }

    fn put_new(&mut self, kind: Kind, line: usize) {
        self.put(Node { kind, line, children: Vec::new() });
    }

    fn put(&mut self, node: Node) {
        use Kind::{Break, CodeSpan, Emphasis, Image, Item, Link, Paragraph, Strong, Struck, Text};
        let Some(open) = self.open.last_mut() else { return self.blocks.push(node) };
        let is_words = matches!(node.kind, Text(_) | CodeSpan(_) | Break | Emphasis | Strong | Struck | Link(_) | Image(_));
        // The words of a tight list stand in its items without a paragraph; here they have one, like those of a loose list.
        if open.kind == Item && is_words {
            if !open.children.last().is_some_and(|last| last.kind == Paragraph) {
                open.children.push(Node { kind: Paragraph, line: node.line, children: Vec::new() });
            }
            let paragraph = open.children.last_mut().expect("one was there or was put there");
            return paragraph.children.push(node);
        }
        open.children.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Document {
        Document::read(text, 1).unwrap()
    }

    #[test]
    fn blocks_have_their_lines_and_lists_of_both_kinds_are_alike() {
        let document = read("---\na: 1\n---\n# T\n\n## One\n\n1. a `b`\n   c\n\n   ```sh x\n   ls\n   ```\n2. d\n\n## Two\n\n- e\n  - f\n");
        assert_eq!(document.front.as_deref(), Some("a: 1"));
        let sections = document.sections(2);
        assert_eq!(
            sections.iter().map(|section| (section.title(), section.heading.line)).collect::<Vec<_>>(),
            [("One".into(), 6), ("Two".into(), 16)]
        );
        assert_eq!(sections[0].blocks[0].lines(), [(8, "a b".to_owned()), (9, "c".into()), (14, "d".into())]);
        let mut code = Vec::new();
        document.each(&mut |node| code.extend(matches!(node.kind, Kind::Code { .. }).then(|| node.kind.clone())));
        assert_eq!(code, [Kind::Code { language: "sh".into(), text: "ls\n".into(), from: 12 }]);
        assert_eq!(sections[1].blocks[0].lines(), [(18, "e".to_owned()), (19, "f".into())]);
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused_at_once() {
        let began = std::time::Instant::now();
        assert_eq!(Document::read(&"a\n".repeat(2_500_000), 1), Err(TooMuch::Bytes(5_000_000)));
        let ladder: String = (0..500).map(|level| format!("{}- a\n", "  ".repeat(level))).collect();
        let quotes: String = (1..700).map(|level| format!("{}a\n", ">".repeat(level))).collect();
        let hostile = ["- ".repeat(10_000), "> ".repeat(10_000), "1. ".repeat(10_000), "+\t* > 2) ".repeat(2_500), ladder, quotes];
        for text in &hostile {
            assert!(matches!(Document::read(text, 1), Err(TooMuch::Levels { .. })), "{}", &text[..40]);
        }
        // What only looks deep is read, in its time.
        for flat in [
            "*".repeat(100_000),
            "[".repeat(100_000),
            "`".repeat(100_000),
            "![a](".repeat(20_000),
            "<a ".repeat(50_000),
            "|".repeat(100_000),
            "\n".repeat(200_000),
            "~~*_".repeat(20_000),
            "&".repeat(100_000),
            "[a][b]".repeat(20_000),
        ] {
            let _ = Document::read(&flat, 1);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
