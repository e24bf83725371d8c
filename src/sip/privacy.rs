//! The Privacy header field (RFC 3323 4.2, RFC 3325 9.3, RFC 7044 10.1).

use super::{Message, Name};

/// What somebody wishes to be kept from whom it speaks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// What the user agent wrote of the user itself.
    pub user: bool,
    /// What others on the way wrote of it.
    pub header: bool,
    pub session: bool,
    pub id: bool,
    pub history: bool,
    /// Rather no call than one without.
    pub critical: bool,
    /// A value that is not known.
    pub unknown: bool,
}

impl Privacy {
    /// Reads a message. Nothing beside `none` counts.
    pub fn of(message: &Message) -> Self {
        let values: Vec<&str> = message.values(Name::Privacy).collect();
        Self::parse(&values.join(";"))
    }

    /// Reads a value.
    pub fn parse(value: &str) -> Self {
        let mut wished = Self::default();
        for value in words(value) {
            let known = [
                ("user", &mut wished.user),
                ("header", &mut wished.header),
                ("session", &mut wished.session),
                ("id", &mut wished.id),
                ("history", &mut wished.history),
                ("critical", &mut wished.critical),
            ];
            if value.eq_ignore_ascii_case("none") {
                return Self::default();
            }
            let mut known = known.into_iter();
            match known.find(|(name, _)| value.eq_ignore_ascii_case(name)) {
                Some((_, wish)) => *wish = true,
                None => wished.unknown = true,
            }
        }
        wished
    }

    /// Returns what is left of a value for others to do where we have done what we can (RFC 3323 5); `id` is
    /// for every edge of a trust domain (RFC 3325 7).
    pub fn left(value: &str) -> Option<String> {
        const DONE: [&str; 4] = ["user", "header", "session", "history"];
        let done = |word: &str| DONE.iter().any(|done| word.eq_ignore_ascii_case(done));
        let left: Vec<&str> = words(value).filter(|word| !done(word)).collect();
        let idle = |word: &&str| word.eq_ignore_ascii_case("critical");
        (!left.iter().all(idle)).then(|| left.join(";"))
    }

    /// RFC 7044 10.1.1: whether those whom a call was for before are to be left unnamed.
    pub fn hides_history(&self) -> bool {
        self.history || self.header
    }
}

/// Goes through a list by semicolons; commas are taken too.
fn words(value: &str) -> impl Iterator<Item = &str> {
    let words = value.split([';', ',']).map(str::trim);
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wished() {
        let none = Privacy::default();
        for (lines, wished) in [
            ("", none),
            ("Privacy: none\r\n", none),
            ("Privacy: user;none\r\n", none),
            ("Privacy: id\r\n", Privacy { id: true, ..none }),
            (
                "Privacy: User ; HEADER;critical\r\n",
                Privacy {
                    user: true,
                    header: true,
                    critical: true,
                    ..none
                },
            ),
            (
                "Privacy: session, history\r\nPrivacy: nothing\r\n",
                Privacy {
                    session: true,
                    history: true,
                    unknown: true,
                    ..none
                },
            ),
        ] {
            let text = format!(
                "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
                 From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\
                 Max-Forwards: 70\r\n{lines}Content-Length: 0\r\n\r\n"
            );
            let message = Message::parse(text.into()).unwrap();
            assert_eq!(Privacy::of(&message), wished, "{lines}");
        }
    }

    #[test]
    fn what_is_left_for_others() {
        for (value, left) in [
            ("user", None),
            ("User;header ; session;history;critical", None),
            ("user;id;critical", Some("id;critical")),
            ("none", Some("none")),
            ("sealed;user", Some("sealed")),
            ("", None),
        ] {
            assert_eq!(Privacy::left(value).as_deref(), left, "{value}");
        }
    }
}
