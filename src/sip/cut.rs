//! Cuts text at a byte. What `str` has for it looks for characters of any length, which costs more than the rest of
//! reading on values as short as those of a message.

use memchr::{memchr, memchr_iter, memrchr};

/// Returns what stands before and after the first such byte, an ASCII one.
pub(crate) fn once(text: &str, byte: u8) -> Option<(&str, &str)> {
    around(text, memchr(byte, text.as_bytes())?)
}

/// Returns what stands before and after the last such byte, an ASCII one.
pub(crate) fn last(text: &str, byte: u8) -> Option<(&str, &str)> {
    around(text, memrchr(byte, text.as_bytes())?)
}

/// Goes through what stands between such bytes, ASCII ones, and before and behind them.
pub(crate) fn each(text: &str, byte: u8) -> impl Iterator<Item = &str> {
    let ends = memchr_iter(byte, text.as_bytes()).chain([text.len()]);
    ends.scan(0, move |start, end| {
        let part = text.get(*start..end);
        *start = end + 1;
        part
    })
}

fn around(text: &str, at: usize) -> Option<(&str, &str)> {
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_as_text_is_split() {
        for text in ["", ";", "a", "a;b", ";;", "a;b;c", "ü;ö;", "a;\u{2028};b"] {
            assert_eq!(once(text, b';'), text.split_once(';'), "{text}");
            assert_eq!(last(text, b';'), text.rsplit_once(';'), "{text}");
            let parts: Vec<_> = each(text, b';').collect();
            assert_eq!(parts, text.split(';').collect::<Vec<_>>(), "{text}");
        }
    }
}
