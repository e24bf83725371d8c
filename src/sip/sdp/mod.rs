//! Session descriptions (RFC 8866): looked into line by line, changed only where they must be.

mod agree;
mod crypto;
mod fit;
mod hold;
mod line;
mod parse;
mod rewrite;
#[cfg(test)]
mod tests;
mod unasked;
mod way;

pub use agree::{
    answer_as_asked, answer_to, answer_with, is_mute, offer_again, only_moves, wants_more, widened,
    with_sections, without_refused,
};
pub use crypto::{Crypto, CryptoError, MasterKey, Suite};
pub use fit::{fits, lacks_digits, may_be_asked_for, shares, takes_some};
pub use hold::{resumed, wishes};
pub use parse::{Direction, Keying, Kind, Media, Payload, Sdp};
pub use rewrite::{Cover, Place, Rewrite};
pub use unasked::without_unasked;
pub use way::{has_ice, same_ways, with_role};

/// Larger ones are refused: no phone needs them.
const BYTES_MAX: usize = 16 * 1024;
const MEDIA_MAX: usize = 32;

/// Why a body is no session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("session description is not text")]
    NotText,
    #[error("session description is too large")]
    TooLarge,
    #[error("session description does not begin with v=0")]
    Version,
    #[error("line {0} of the session description is not valid")]
    Line(usize),
}
