//! Plain text of 100 columns, written as it happens.

use std::io::{self, Write};

pub(super) const WIDTH: usize = 100;

/// Standard output. Who stops reading it stops the text, not the demo.
pub(super) struct Page;

impl Page {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Writes text as paragraphs, broken between words.
    pub(super) fn text(&self, text: &str) {
        for line in wrapped(text, WIDTH) {
            self.line(&line);
        }
    }

    pub(super) fn title(&self, text: &str) {
        self.line("");
        self.line(text);
        self.line(&"═".repeat(text.chars().count()));
        self.line("");
    }

    pub(super) fn heading(&self, text: &str) {
        self.line("");
        self.line(text);
        self.line(&"─".repeat(text.chars().count()));
    }

    pub(super) fn rule(&self) {
        self.line("");
        self.line(&"─".repeat(WIDTH));
    }

    /// Tells what happens, as it begins.
    pub(super) fn step(&self, text: &str) {
        for (at, line) in wrapped(text, WIDTH - 4).into_iter().enumerate() {
            let lead = if at == 0 { "  ▸ " } else { "    " };
            self.line(&format!("{lead}{line}"));
        }
    }
}

/// Breaks paragraphs between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let is_full = line.chars().count() + 1 + word.chars().count() > width;
            if is_full && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole() {
        let lines = wrapped("one two three\n\nfour", 8);
        assert_eq!(lines, ["one two", "three", "", "four"]);
        assert_eq!(wrapped("incomprehensible", 4), ["incomprehensible"]);
    }
}
