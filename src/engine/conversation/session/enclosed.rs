//! What a session description comes enclosed in: the parts of a body beside it cross as they came
//! (RFC 5621), and so does a body that its sender takes for optional.

use bytes::Bytes;

use crate::engine::conversation::context::end_with;
use crate::sip::multipart::{Spot, is_multipart, is_optional, session};
use crate::sip::{Builder, Message, Name};

/// A body that is more than a session description.
#[derive(Clone, Debug)]
pub(crate) struct Enclosed {
    content_type: Box<str>,
    body: Bytes,
    /// None: there is no session description in it.
    spot: Option<Spot>,
}

impl Enclosed {
    /// Returns what a message has beside a session description, where it may cross.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let (content_type, body) = (message.content_type()?, message.body());
        let spot = session(content_type, body);
        let crosses = is_multipart(content_type)
            || spot.is_none() && is_optional(message.header(Name::ContentDisposition));
        (crosses && !body.is_empty()).then(|| Self {
            content_type: content_type.into(),
            body: message.bytes().slice_ref(body),
            spot,
        })
    }

    /// Returns the body for the other side, with this session description in it.
    fn with(&self, sdp: Option<&str>) -> Option<Vec<u8>> {
        match (&self.spot, sdp) {
            (Some(spot), Some(sdp)) => Some(spot.replaced(&self.body, sdp.as_bytes())),
            (None, None) => Some(self.body.to_vec()),
            (Some(_), None) | (None, Some(_)) => None,
        }
    }
}

/// Returns the session description of a message, be it beside others in its body.
pub(crate) fn sdp_of(message: &Message) -> Option<Box<str>> {
    let body = message.body();
    let spot = session(message.content_type()?, body)?;
    std::str::from_utf8(spot.of(body)).ok().map(Into::into)
}

/// Returns true where a request has a body that we neither understand nor may leave alone (RFC 3261 8.2.3).
pub(crate) fn is_foreign(request: &Message) -> bool {
    !request.body().is_empty() && sdp_of(request).is_none() && Enclosed::of(request).is_none()
}

/// Ends a message with a session description, enclosed as it came.
pub(crate) fn end_enclosed(
    builder: Builder,
    enclosed: Option<&Enclosed>,
    sdp: Option<&str>,
) -> Bytes {
    let whole = enclosed.and_then(|enclosed| Some((enclosed, enclosed.with(sdp)?)));
    match whole {
        Some((enclosed, body)) => builder.body(&enclosed.content_type, &body),
        None => end_with(
            builder,
            Some("application/sdp"),
            sdp.unwrap_or("").as_bytes(),
        ),
    }
}
