//! What upstreams are made of.

/// One place that an upstream is reached at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// A SIP URI.
    pub uri: Box<str>,
    /// The least is asked first.
    pub priority: u16,
    /// Share of the calls among those of one priority; zero is one.
    pub weight: u16,
}

impl UpstreamTarget {
    /// Makes targets that are asked one after another.
    pub fn in_order<U: Into<Box<str>>>(uris: impl IntoIterator<Item = U>) -> Vec<Self> {
        let targets = uris.into_iter().zip(1..);
        targets
            .map(|(uri, priority)| Self {
                uri: uri.into(),
                priority,
                weight: 1,
            })
            .collect()
    }
}

impl From<&str> for UpstreamTarget {
    fn from(uri: &str) -> Self {
        Self {
            uri: uri.into(),
            priority: 1,
            weight: 1,
        }
    }
}
