//! Numbers, spans of time and sizes, each with the range it may have.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{FromText, TextVisitor, text_type};

pub(crate) const MS: u64 = 1;
pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", MS),
];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// A number with decimals; its range is in tenths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decimal<const MIN: u64, const MAX: u64>(pub(crate) f64);

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// Octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// So many per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerSecond<const MIN: u64, const MAX: u64>(pub(crate) u64);

/// Reads a number with a unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes it with the largest unit that keeps it whole.
fn write_with_unit(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: &[(&str, u64)],
    zero: &str,
) -> fmt::Result {
    let fits = units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    match fits {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => f.write_str(zero),
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Span<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &TIME_UNITS, "0s")
    }
}

impl<const MIN: u64, const MAX: u64> FromText for Span<MIN, MAX> {
    const WHAT: &'static str = "a duration";

    fn form() -> String {
        let (min, max) = (Self(MIN), Self(MAX));
        format!("a number and its unit, 500ms, 10s, 5m, 1h or 7d; from {min} to {max}")
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value =
            with_unit(text, &TIME_UNITS).ok_or_else(|| format!("`{text}` is no duration"))?;
        in_range(text, value, MIN, MAX).map(Self)
    }

    fn pattern() -> String {
        "^[0-9]+(ms|s|m|h|d)$".to_owned()
    }
}

text_type!(Span<MIN: u64, MAX: u64>);

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &SIZE_UNITS, "0B")
    }
}

impl<const MIN: u64, const MAX: u64> FromText for Size<MIN, MAX> {
    const WHAT: &'static str = "a size";

    fn form() -> String {
        let (min, max) = (Self(MIN), Self(MAX));
        format!("a number and its unit, 64KiB, 10MiB or 1GiB; from {min} to {max}")
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value = with_unit(text, &SIZE_UNITS).ok_or_else(|| format!("`{text}` is no size"))?;
        in_range(text, value, MIN, MAX).map(Self)
    }

    fn pattern() -> String {
        "^[0-9]+(B|KiB|MiB|GiB)$".to_owned()
    }
}

text_type!(Size<MIN: u64, MAX: u64>);

impl<const MIN: u64, const MAX: u64> fmt::Display for PerSecond<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl<const MIN: u64, const MAX: u64> FromText for PerSecond<MIN, MAX> {
    const WHAT: &'static str = "a rate";

    fn form() -> String {
        format!("so many per second, 2500/s; from {MIN}/s to {MAX}/s")
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value = text
            .strip_suffix("/s")
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| format!("`{text}` is no rate"))?;
        in_range(text, value, MIN, MAX).map(Self)
    }

    fn pattern() -> String {
        "^[0-9]+/s$".to_owned()
    }
}

text_type!(PerSecond<MIN: u64, MAX: u64>);

impl<const MIN: u64, const MAX: u64> FromText for Whole<MIN, MAX> {
    const WHAT: &'static str = "a whole number";

    fn form() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value = text
            .parse()
            .map_err(|_| format!("`{text}` is no whole number"))?;
        in_range(text, value, MIN, MAX).map(Self)
    }

    fn pattern() -> String {
        "^[0-9]+$".to_owned()
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextVisitor::new())
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Whole<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("whole_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a range's ends are small")]
fn tenths(value: u64) -> f64 {
    value as f64 / 10.0
}

impl<const MIN: u64, const MAX: u64> FromText for Decimal<MIN, MAX> {
    const WHAT: &'static str = "a number";

    fn form() -> String {
        format!("a number from {} to {}", tenths(MIN), tenths(MAX))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
        if value.is_nan() {
            Err(format!("`{text}` is no number"))
        } else if value < tenths(MIN) {
            Err(format!("`{text}` is too small"))
        } else if value > tenths(MAX) {
            Err(format!("`{text}` is too large"))
        } else {
            Ok(Self(value))
        }
    }

    fn pattern() -> String {
        "^[0-9]+([.][0-9]+)?$".to_owned()
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Decimal<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(TextVisitor::new())
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Decimal<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Decimal<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("decimal_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": tenths(MIN), "maximum": tenths(MAX) })
    }
}

fn in_range(text: &str, value: u64, min: u64, max: u64) -> Result<u64, String> {
    if value < min {
        Err(format!("`{text}` is too small"))
    } else if value > max {
        Err(format!("`{text}` is too large"))
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type AnySpan = Span<0, { 400 * DAY }>;
    type AnySize = Size<0, { 16 * GIB }>;

    #[test]
    fn spans_and_sizes_are_read_and_written() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", HOUR),
            ("7d", 7 * DAY),
            ("0s", 0),
        ] {
            let span = AnySpan::from_text(text).unwrap();
            assert_eq!((span.0, span.to_string().as_str()), (ms, text));
        }
        assert_eq!(AnySpan::from_text("90s").unwrap().to_string(), "90s");
        for (text, octets) in [
            ("64KiB", 65_536),
            ("10MiB", 10 << 20),
            ("1GiB", GIB),
            ("7B", 7),
        ] {
            let size = AnySize::from_text(text).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (octets, text));
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5.5s",
            "5S",
            "5min",
            "99999999999999999999s",
            "18446744073709551615d",
            "401d",
        ] {
            assert!(AnySpan::from_text(text).is_err(), "{text}");
        }
        for text in ["64", "64K", "64KB", "64kib", "17GiB"] {
            assert!(AnySize::from_text(text).is_err(), "{text}");
        }
        for text in ["nan", "inf", "-1", "x", "0.95"] {
            assert!(Decimal::<0, 9>::from_text(text).is_err(), "{text}");
        }
    }
}
