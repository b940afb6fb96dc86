//! Markdown as a page: every word goes through [`shown::text`], every element is ours. HTML in it, images and pictures in code are shown as
//! the text they are, and nothing is fetched.

use crate::{
    engine::{
        lint::anchor,
        markdown::{Document, Kind, Node},
    },
    web::shown::{line, text},
};
use maud::{Markup, PreEscaped, html};

/// How many characters of one piece of text are shown.
const MOST: usize = 20_000;

/// Returns a document's blocks; `beside` makes what stands with each of the outermost, given its first line and the line after its last.
pub fn rendered(document: &Document, beside: &dyn Fn(usize, usize) -> Markup) -> Markup {
    let blocks = &document.blocks;
    html! {
        @for (at, block) in blocks.iter().enumerate() {
            div class="block" {
                (shown(block))
                (beside(block.line, blocks.get(at + 1).map_or(usize::MAX, |next| next.line)))
            }
        }
    }
}

fn all(node: &Node) -> Markup {
    html! { @for child in &node.children { (shown(child)) } }
}

fn shown(node: &Node) -> Markup {
    let inside = || all(node);
    match &node.kind {
        Kind::Paragraph => html! { p { (inside()) } },
        Kind::Heading(level) => heading(*level, node),
        Kind::Quote => html! { blockquote { (inside()) } },
        Kind::Code { language, text: code, .. } => html! {
            @if !language.is_empty() { p class="quiet language" { (line(language, 40)) } }
            pre tabindex="0" { code { (text(code, MOST)) } }
        },
        Kind::Html(html) => html! { code class="html" { (text(html, MOST)) } },
        Kind::List(None) => html! { ul { (inside()) } },
        Kind::List(Some(first)) => html! { ol start=(first) { (inside()) } },
        Kind::Item => html! { li { (inside()) } },
        Kind::Table => html! { table { (inside()) } },
        Kind::Head => html! { thead { tr { @for cell in &node.children { th scope="col" { (all(cell)) } } } } },
        Kind::Row => html! { tr { (inside()) } },
        Kind::Cell => html! { td { (inside()) } },
        Kind::Emphasis => html! { em { (inside()) } },
        Kind::Strong => html! { strong { (inside()) } },
        Kind::Struck => html! { s { (inside()) } },
        Kind::Link(address) => link(address, &inside()),
        Kind::Image(address) => html! { span class="quiet" { "picture, not loaded: " (inside()) " " code { (line(address, 400)) } } },
        Kind::Text(said) => text(said, MOST),
        Kind::CodeSpan(said) => html! { code { (line(said, MOST)) } },
        Kind::Break => PreEscaped("\n".into()),
        Kind::Rule => html! { hr; },
        Kind::Task(done) => html! { span class="task" { @if *done { "☑ done:" } @else { "☐ open:" } } " " },
    }
}

/// Headings stand below those of the page; their names cannot be those of anything else on it.
fn heading(level: u8, node: &Node) -> Markup {
    let id = format!("text-{}", anchor(&node.text()));
    match level {
        1 => html! { h3 id=(id) { (all(node)) } },
        2 => html! { h4 id=(id) { (all(node)) } },
        _ => html! { h5 id=(id) { (all(node)) } },
    }
}

/// A link leads to a heading, to a page of ours, or over http away from here; another is shown with its address and leads nowhere.
fn link(address: &str, words: &Markup) -> Markup {
    let is_plain =
        address.chars().all(|character| !character.is_control() && !character.is_whitespace() && character.is_ascii() && character != '\\');
    let lower = address.to_ascii_lowercase();
    if let Some(heading) = address.strip_prefix('#') {
        return html! { a href={ "#text-" (anchor(heading)) } { (words) } };
    }
    if is_plain && address.starts_with('/') && !address.starts_with("//") {
        return html! { a href=(address) { (words) } };
    }
    if is_plain && (lower.starts_with("https://") || lower.starts_with("http://")) {
        // Where it leads is said before anybody goes there.
        let host = address.split('/').nth(2).unwrap_or_default();
        return html! {
            a href=(address) rel="external nofollow noopener noreferrer" { (words) } " " span class="quiet" { "(" (line(host, 120)) ")" }
        };
    }
    html! { (words) " " code { (line(address, 400)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(markdown: &str) -> String {
        rendered(&Document::read(markdown, 1).unwrap(), &|_, _| html! {}).0
    }

    #[test]
    fn markdown_is_shown_with_elements_of_ours_alone() {
        let said = page(
            "# A *b*\n\n- [x] c\n- [ ] ~~d~~\n\n| e | f |\n|---|---|\n| `g` | h |\n\n```mermaid\nflowchart\n```\n\n\
             > [i](/plans/1), [j](https://x.test/k) and [l](#a-b)\n\n---\n",
        );
        for part in [
            "<h3 id=\"text-a-b\">A <em>b</em></h3>",
            "☑ done:",
            "☐ open:",
            "<s>d</s>",
            "<thead><tr><th scope=\"col\">e</th>",
            "<td><code>g</code></td>",
            "<p class=\"quiet language\">mermaid</p><pre tabindex=\"0\"><code>flowchart\n</code></pre>",
            "<blockquote>",
            "<a href=\"/plans/1\">i</a>",
            "<a href=\"https://x.test/k\" rel=\"external nofollow noopener noreferrer\">j</a> <span class=\"quiet\">(x.test)</span>",
            "<a href=\"#text-a-b\">l</a>",
            "<hr>",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        for address in [
            "javascript:x",
            "JaVaScRiPt:x",
            "data:text/html,x",
            "//evil.test",
            "/\\evil.test",
            "vbscript:x",
            "docs/x.md",
            "\u{1}javascript:x",
        ] {
            let said = page(&format!("[a](<{address}>)"));
            assert!(!said.contains("href"), "{said}");
        }
        let said = page("<img src=x>\n\n![a](https://x.test/y.png) a\u{202e}b <b>c</b>");
        assert!(
            said.contains("&lt;img src=x&gt;") && !said.contains("<img") && !said.contains("src=\"") && !said.contains("<b>"),
            "{said}"
        );
        assert!(said.contains("picture, not loaded") && said.contains("<b class=\"hid\">\\u{202e}</b>"), "{said}");
    }

    /// Returns what of a page's markup is not ours.
    fn foreign(page: &str) -> Vec<String> {
        const OURS: &str = "p h3 h4 h5 blockquote pre code ul ol li table thead tr th td em strong s a span hr div b i small br";
        let is_ours = |tag: &str| {
            let (name, attributes) = tag.trim_start_matches('/').split_once(' ').unwrap_or((tag.trim_start_matches('/'), ""));
            let mut attributes = attributes.split("=\"").collect::<Vec<_>>();
            let last = attributes.pop().unwrap_or_default();
            let names = attributes.iter().map(|part| part.rsplit([' ', '"']).next().unwrap_or_default());
            let known = ["class", "href", "rel", "id", "start", "scope", "tabindex"];
            let leads = tag.split("href=\"").nth(1).is_none_or(|address| {
                ["#", "http://", "https://"].iter().any(|begins| address.starts_with(begins))
                    || address.starts_with('/') && !address.starts_with("//")
            });
            OURS.split(' ').any(|ours| ours == name)
                && names.clone().all(|name| known.contains(&name))
                && (last.is_empty() || last.ends_with('"'))
                && leads
        };
        let tags = page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
        tags.filter(|tag| !is_ours(tag)).map(str::to_owned).collect()
    }

    #[test]
    fn no_string_of_three_hundred_is_markup() {
        let strings: Vec<&str> = include_str!("../../../tests/fixtures/xss.txt").lines().collect();
        assert_eq!(strings.len(), 300);
        for said in &strings {
            for text in [
                (*said).to_owned(),
                format!("a {said} b"),
                format!("| a |\n|---|\n| {said} |"),
                format!("- x\n\n  {said}"),
                format!("```sh\n{said}\n```"),
            ] {
                let page = page(&text);
                assert_eq!(foreign(&page), [""; 0], "{text}\n{page}");
            }
        }
        // The same look at pages that do not escape finds every string that holds a tag.
        let tags =
            strings.iter().filter(|said| said.split('<').skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic())));
        let (all, found) =
            tags.fold((0, 0), |(all, found), said| (all + 1, found + usize::from(!foreign(&format!("<p>{said}</p>")).is_empty())));
        assert!(all > 100 && found == all, "{found} of {all}");
        assert!(!foreign("<a href=\"javascript:x\">").is_empty() && !foreign("<a href=\"//evil.test\">").is_empty());
    }
}
