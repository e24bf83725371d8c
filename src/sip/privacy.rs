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
        let mut wished = Self::default();
        // A list by semicolons; commas are taken too.
        for value in message.values(Name::Privacy).flat_map(|v| v.split(';')) {
            let value = value.trim();
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
                None => wished.unknown |= !value.is_empty(),
            }
        }
        wished
    }

    /// RFC 7044 10.1.1: whether those whom a call was for before are to be left unnamed.
    pub fn hides_history(&self) -> bool {
        self.history || self.header
    }
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
}
