//! What is wrong with a configuration: where, what, and what would be right; printed with the line.

use std::fmt;

use super::tree::{NodeId, Place, Tree};

/// Everything that was found wrong, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    /// Line and column, from 1; none where the fault is not in the text (an unreadable file).
    pub at: Option<(usize, usize)>,
    /// The key's path, `restore.retry.max`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub mend: Option<String>,
    /// The line, secrets blotted out, and how many characters of it are meant.
    source: Option<(String, usize)>,
}

impl ConfigErrors {
    /// Makes one of problems in any order.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        problems.dedup();
        Self { problems }
    }

    /// Makes one of a fault of the file itself.
    pub(super) fn of_file(file: &str, what: String, mend: Option<&str>) -> Self {
        Self::new(vec![Problem {
            file: file.to_owned(),
            at: None,
            key: String::new(),
            what,
            mend: mend.map(str::to_owned),
            source: None,
        }])
    }

    /// Returns what is wrong, by line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Problem {
    /// Makes a problem of a place in the text.
    pub(super) fn at_place(
        tree: &Tree,
        place: Place,
        key: String,
        what: String,
        mend: Option<String>,
    ) -> Self {
        Self {
            file: tree.name().to_owned(),
            at: Some((place.line, place.column)),
            key,
            what,
            mend,
            source: tree.line_for_print(place.line).map(|line| {
                let room = line
                    .chars()
                    .count()
                    .saturating_sub(place.column.saturating_sub(1));
                let length = place.length.min(room).max(1);
                (line, length)
            }),
        }
    }

    /// Makes a problem of a node's value.
    pub(super) fn of_value(tree: &Tree, node: NodeId, what: String, mend: Option<String>) -> Self {
        Self::at_place(tree, tree.place(node), tree.path(node), what, mend)
    }

    /// Makes a problem of a node's key.
    pub(super) fn of_key(tree: &Tree, node: NodeId, what: String, mend: Option<String>) -> Self {
        Self::at_place(tree, tree.key_place(node), tree.path(node), what, mend)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            writeln!(f, "error: {}", self.what)?;
        } else {
            writeln!(f, "error: `{}`: {}", self.key, self.what)?;
        }
        let width = self.at.map_or(1, |(line, _)| line.to_string().len());
        match self.at {
            Some((line, column)) => {
                writeln!(f, "{:width$}--> {}:{line}:{column}", "", self.file)?;
            }
            None => writeln!(f, "{:width$}--> {}", "", self.file)?,
        }
        if let (Some((line, column)), Some((text, length))) = (self.at, &self.source) {
            writeln!(f, "{:width$} |", "")?;
            writeln!(f, "{line} | {text}")?;
            writeln!(
                f,
                "{:width$} | {:before$}{}",
                "",
                "",
                "^".repeat(*length),
                before = column - 1
            )?;
        }
        if let Some(mend) = &self.mend {
            writeln!(f, "{:width$} = help: {mend}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Returns the candidate that a misspelled word most likely means.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&word, &c.to_ascii_lowercase()), c))
        .filter(|(d, _)| *d <= most)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits from one word to the other: insert, delete, replace, swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    const WORD_MAX: usize = 64;
    let a: Vec<char> = a.chars().take(WORD_MAX).collect();
    let b: Vec<char> = b.chars().take(WORD_MAX).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let edited = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped {
                    edited.min(rows[i - 2][j - 2] + 1)
                } else {
                    edited
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let keys = ["grace", "transport", "probe", "media"];
        assert_eq!(nearest("garce", keys), Some("grace"));
        assert_eq!(nearest("transprot", keys), Some("transport"));
        assert_eq!(nearest("Probe", keys), Some("probe"));
        assert_eq!(nearest("codec", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
