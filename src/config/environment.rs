//! `${NAME}` and `${NAME:-default}` in a value.

/// Looks a variable up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a value cannot be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadReference {
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    #[error("`${{` is never closed")]
    Open,
    #[error("`{0}` is no name of an environment variable")]
    Name(String),
}

impl BadReference {
    /// Returns what would be right.
    pub(super) fn mend(&self) -> String {
        match self {
            Self::NotSet(name) => {
                format!("set it, or give a default: ${{{name}:-default}}")
            }
            Self::Open => "write ${NAME} or ${NAME:-default}; $${ stands for ${ itself".to_owned(),
            Self::Name(_) => {
                "a name has letters, digits and _, and begins with no digit".to_owned()
            }
        }
    }
}

/// Fills a value in; `$${` stands for `${` itself.
///
/// # Errors
/// A variable that is not set and has no default, a reference that is none.
pub(super) fn fill_in(text: &str, environment: Environment<'_>) -> Result<String, BadReference> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &reference[2..];
            continue;
        }
        filled.push_str(before);
        let (inside, after) = reference[2..].split_once('}').ok_or(BadReference::Open)?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !valid {
            return Err(BadReference::Name(name.to_owned()));
        }
        // Set but empty takes the default too, as in a shell.
        let value = environment(name).filter(|v| !v.is_empty() || default.is_none());
        match (value, default) {
            (Some(value), _) => filled.push_str(&value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => return Err(BadReference::NotSet(name.to_owned())),
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("pbx".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn values_are_filled_in() {
        for (text, filled) in [
            ("plain $5", "plain $5"),
            ("${HOST}", "pbx"),
            (
                "sip:${HOST}.example.org:${PORT:-5060}",
                "sip:pbx.example.org:5060",
            ),
            ("${NONE:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("$${HOST}", "${HOST}"),
        ] {
            assert_eq!(fill_in(text, &environment), Ok(filled.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_bad_reference_is_told() {
        for (text, error) in [
            ("${NONE}", BadReference::NotSet("NONE".to_owned())),
            ("a ${HOST", BadReference::Open),
            ("${}", BadReference::Name(String::new())),
            ("${1A}", BadReference::Name("1A".to_owned())),
            ("${A-B}", BadReference::Name("A-B".to_owned())),
        ] {
            assert_eq!(fill_in(text, &environment), Err(error), "{text}");
        }
    }
}
