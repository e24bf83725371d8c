//! From when to when a certificate is good (RFC 5280 4.1.2.5), and what an operator is to know of that.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use super::load::{Files, leaf};
use crate::engine::time::Time;
use crate::engine::timestamp::Timestamp;

/// A certificate is to be replaced this long before its end, in seconds.
const SOON_S: u64 = 14 * 86_400;
/// Or when this part of its life is left: some live for days only.
const SOON_PART: u64 = 3;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Both in seconds since 1970; the second is the last one at which it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: u64,
    pub not_after: u64,
}

impl Validity {
    /// Reads it from a certificate; none where that cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (whole, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(whole, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = any(rest)?.2;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            rest = any(rest)?.2;
        }
        let (validity, _) = element(rest, SEQUENCE)?;
        let (tag, from, rest) = any(validity)?;
        let not_before = time(tag, from)?;
        let (tag, to, _) = any(rest)?;
        let not_after = time(tag, to)?;
        Some(Self {
            not_before,
            not_after,
        })
    }

    /// Returns what is wrong with it at a time in seconds since 1970, or soon will be.
    fn doubt(&self, now: u64) -> Option<String> {
        let life = self.not_after.saturating_sub(self.not_before);
        let soon = SOON_S.min(life / SOON_PART);
        let end = date(self.not_after);
        if now > self.not_after {
            Some(format!(
                "ended on {end}: whoever looks at it does not connect"
            ))
        } else if now < self.not_before {
            let begin = date(self.not_before);
            Some(format!(
                "is not good before {begin}: until then whoever looks at it does not connect"
            ))
        } else if self.not_after - now < soon {
            Some(format!("ends soon, on {end}"))
        } else {
            None
        }
    }
}

/// Returns a sentence for each certificate of ours that has ended, has not begun, or ends soon.
pub fn doubts(files: &Files) -> Vec<String> {
    let now = now();
    let pairs = files.pairs.iter();
    let doubt = |path: &std::path::Path| {
        let doubt = Validity::of(&leaf(path)?)?.doubt(now)?;
        Some(format!("the certificate {} {doubt}", path.display()))
    };
    pairs.filter_map(|pair| doubt(&pair.certificate)).collect()
}

/// Returns the earliest end of our certificates, in seconds since 1970.
pub(super) fn earliest_end(files: &Files) -> Option<u64> {
    let ends = files.pairs.iter().filter_map(|pair| {
        let validity = Validity::of(&leaf(&pair.certificate)?)?;
        Some(validity.not_after)
    });
    ends.min()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the end of a certificate is a date, asked for where files are read"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Writes a time in seconds since 1970 for people.
pub fn date(seconds: u64) -> String {
    let text = Timestamp(Time(seconds.saturating_mul(1000))).to_string();
    let (whole, _) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}Z")
}

/// Takes the first element of DER: its tag, what it holds, and what follows it.
fn any(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = octets
                .iter()
                .fold(0, |all, &octet| all << 8 | usize::from(octet));
            (length, rest)
        }
        _ => return None,
    };
    let (held, rest) = rest.split_at_checked(length)?;
    Some((tag, held, rest))
}

fn element(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, held, rest) = any(input)?;
    (tag == wanted).then_some((held, rest))
}

/// Reads `YYMMDDHHMMSSZ`, whose years are those from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |at: usize, count: usize| {
        let digits = digits.get(at..at + count)?;
        digits.iter().try_fold(0u64, |all, digit| {
            digit
                .is_ascii_digit()
                .then(|| all * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let pair = |of: usize| number(at + 2 * of, 2);
    let days = days_until(year, pair(0)?, pair(1)?)?;
    Some(days * 86_400 + pair(2)? * 3600 + pair(3)? * 60 + pair(4)?)
}

/// Returns the days from 1970-01-01 to a date; what lies before is 1970.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day last.
    let (year, month) = match month {
        1 | 2 => (year.checked_sub(1)?, month + 9),
        _ => (year, month - 3),
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    Some(days.saturating_sub(719_468))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (UTC_TIME, "260228235959Z", Some(1_772_323_199)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20000229120000Z", None),
            (UTC_TIME, "261301000000Z", None),
            (UTC_TIME, "2601010000+0Z", None),
            (UTC_TIME, "260101000000", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn an_end_that_is_near_is_told_of_by_how_long_a_certificate_lives() {
        let day = 86_400;
        let year = Validity {
            not_before: 1000 * day,
            not_after: 1365 * day,
        };
        let week = Validity {
            not_before: 1000 * day,
            not_after: 1006 * day,
        };
        for (validity, at, said) in [
            (year, 999, "is not good before 1972-09-27T00:00:00Z"),
            (year, 1000, ""),
            (year, 1350, ""),
            (year, 1352, "ends soon, on 1973-09-27T00:00:00Z"),
            (year, 1366, "ended on 1973-09-27T00:00:00Z"),
            (week, 1003, ""),
            (week, 1005, "ends soon"),
        ] {
            let doubt = validity.doubt(at * day).unwrap_or_default();
            assert!(doubt.starts_with(said), "{at}: {doubt}");
            assert_eq!(doubt.is_empty(), said.is_empty(), "{at}: {doubt}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x02\x30\x00",
        ] {
            assert_eq!(Validity::of(&CertificateDer::from(bytes)), None);
        }
    }
}
