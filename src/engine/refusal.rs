//! Why a request is turned away.

/// For the peer and for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// For the operator.
    pub why: &'static str,
    /// For the peer, beside the status: the code and the text of a Warning (RFC 3261 20.43).
    pub warning: Option<(u16, &'static str)>,
}

/// What a `sips:` URI asks for cannot be had (RFC 5630 5.1.2, 5.3).
pub(crate) const SIPS_NOT_ALLOWED: Refusal = Refusal {
    status: 480,
    why: "a sips request that would go in the clear",
    warning: Some((380, "SIPS Not Allowed")),
};

impl Refusal {
    pub const fn new(status: u16, why: &'static str) -> Self {
        Self {
            status,
            why,
            warning: None,
        }
    }
}

impl From<(u16, &'static str)> for Refusal {
    fn from((status, why): (u16, &'static str)) -> Self {
        Self::new(status, why)
    }
}
