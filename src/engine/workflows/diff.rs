//! What changes in a file, line by line.

/// How many unchanged lines stand around a change.
const AROUND: usize = 2;
/// How many lines are compared.
const MOST_LINES: usize = 2000;

/// Returns the lines that go (`-`) and come (`+`) with a few around them; empty where nothing changes.
pub(super) fn difference(old: &str, new: &str) -> String {
    // No workflow of ours is as long; what claims to be one is shown as replaced.
    let old = if old.lines().count() > MOST_LINES { "" } else { old };
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = edits(&old, &new);
    let is_near = |at: usize| lines[at.saturating_sub(AROUND)..lines.len().min(at + AROUND + 1)].iter().any(|(mark, _)| *mark != ' ');
    let mut shown = String::new();
    let mut skipped = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        if !is_near(at) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            shown.push_str("@@\n");
        }
        shown.push_str(format!("{mark}{line}").trim_end());
        shown.push('\n');
    }
    shown
}

/// Returns every line with its mark: the longest common subsequence stays.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    // `common[i][j]`: how many lines `old[i..]` and `new[j..]` share in order.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_comes_is_shown_with_what_stands_around() {
        let old = "a\nb\nc\nd\ne\nf\ng\n";
        assert_eq!(difference(old, &old.replace('e', "E")), "@@\n c\n d\n-e\n+E\n f\n g\n");
        assert_eq!(difference("", "a\nb\n"), "+a\n+b\n");
        assert_eq!(difference("a\n", ""), "-a\n");
        assert_eq!(difference(old, old), "");
    }
}
