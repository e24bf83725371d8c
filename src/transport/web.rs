//! SIP over WebSocket (RFC 7118, RFC 6455), the server's side: the upgrade, then one message a frame.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tungstenite::Error;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, Response, create_response, write_response};
use tungstenite::http::{HeaderMap, HeaderValue};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use crate::config::{Listener, NamedBy};
use crate::engine::ids::ListenerId;
use crate::sip::stream::FrameError;

use super::bind::Bound;
use super::fault::{Fault, Shake};
use super::forwarded;
use super::frames::Frames;

/// Bytes of the HTTP request that asks for the upgrade; browsers send a cookie or two.
const REQUEST_MAX: usize = 16 * 1024;
/// Read into the codec's own buffer at a time.
const READ_BYTES: usize = 4 * 1024;
/// RFC 7118 4.1: the only subprotocol there is here.
const SUBPROTOCOL: &str = "sip";
const PROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// The listener that a request comes to, and whether by a proxy.
pub(super) struct Door {
    pub(super) listeners: Arc<[Bound]>,
    pub(super) listener: ListenerId,
    /// By one whose word on who the client is is taken.
    pub(super) by_proxy: bool,
}

impl Door {
    fn listener(&self) -> Option<&Listener> {
        let bound = self.listeners.get(usize::from(self.listener.0))?;
        Some(&bound.listener)
    }

    /// RFC 6455 10.2: a page must not use what its reader's browser is let in to. Whoever is no browser says
    /// nothing, or what it likes.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let listed = self
            .listener()
            .map_or(&[][..], |listener| &listener.origins);
        let is_listed = |origin: &HeaderValue| {
            let mut listed = listed.iter();
            listed.any(|known| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
        };
        listed.is_empty() || headers.get_all("Origin").iter().all(is_listed)
    }

    /// Returns who asks, where a proxy has to say it.
    ///
    /// # Errors
    /// It does not say it, or nothing that can be read: then it is nobody, least of all the proxy.
    fn client(&self, headers: &HeaderMap) -> Result<Option<IpAddr>, Shake> {
        let proxies = self
            .listener()
            .and_then(|listener| listener.proxies.as_ref());
        let Some(proxies) = proxies.filter(|_| self.by_proxy) else {
            return Ok(None);
        };
        let client = match proxies.by {
            NamedBy::ProxyProtocol => None,
            NamedBy::Header(by) => forwarded::client(headers, by, &proxies.networks),
        };
        client.map(Some).ok_or(Shake::Proxy)
    }
}

/// One WebSocket: bytes in; messages, and bytes to be sent, out.
pub(super) struct Web {
    state: State,
    message_max: usize,
    door: Door,
    client: Option<IpAddr>,
}

enum State {
    /// The HTTP request as far as it has come.
    Asked(BytesMut),
    Open {
        codec: Box<WebSocketContext>,
        frames: Frames,
        incoming: BytesMut,
    },
}

/// What came, whole.
#[derive(Default)]
pub(super) struct Heard {
    /// Frames, and the request for an upgrade.
    pub(super) whole: usize,
    /// The beginnings of messages that are too large.
    pub(super) oversized: Vec<Bytes>,
}

impl Web {
    pub(super) fn new(message_max: usize, door: Door) -> Self {
        Self {
            state: State::Asked(BytesMut::new()),
            message_max,
            door,
            client: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Returns who the client is, where a proxy has said it.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Returns true while something is begun and not whole.
    pub(super) fn is_midway(&self) -> bool {
        match &self.state {
            State::Asked(_) => true,
            State::Open { frames, .. } => frames.is_midway(),
        }
    }

    /// Takes what came. Messages are appended to `messages`, what is to be sent to `outgoing`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<Bytes>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Heard, Fault> {
        let mut heard = Heard::default();
        let mut begun = BytesMut::new();
        if let State::Asked(asked) = &mut self.state {
            asked.extend_from_slice(bytes);
            let Some((len, client)) = answer(asked, &self.door, outgoing)? else {
                return Ok(heard);
            };
            self.client = client;
            asked.advance(len);
            heard.whole = 1;
            begun = std::mem::take(asked);
            self.state = State::Open {
                incoming: BytesMut::new(),
                frames: Frames::new(self.message_max),
                codec: Box::new(WebSocketContext::new(
                    Role::Server,
                    Some(limits(self.message_max)),
                )),
            };
        }
        let mut came: &[u8] = if heard.whole > 0 { &begun } else { bytes };
        loop {
            let State::Open {
                frames, incoming, ..
            } = &mut self.state
            else {
                return Ok(heard);
            };
            let is_cut = frames.take(&mut came, incoming);
            let before = messages.len();
            heard.whole += self.read(messages, outgoing)?;
            if !is_cut {
                return Ok(heard);
            }
            // All before it has been read.
            if messages.len() > before {
                heard.oversized.extend(messages.pop());
            }
        }
    }

    fn read(&mut self, messages: &mut Vec<Bytes>, outgoing: &mut Vec<u8>) -> Result<usize, Fault> {
        let State::Open {
            codec, incoming, ..
        } = &mut self.state
        else {
            return Ok(0);
        };
        let mut whole = 0;
        let mut pipe = Pipe { incoming, outgoing };
        loop {
            match codec.read(&mut pipe) {
                Ok(Message::Text(text)) => messages.push(text.into()),
                Ok(Message::Binary(bytes)) => messages.push(bytes),
                // A ping is answered by the codec; what a pong or a close means it knows as well.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                }
                Err(error) => {
                    let flushed = codec.flush(&mut pipe);
                    return over(&error)
                        .map_or_else(|| flushed.map(|()| whole).map_err(|_| Fault::Ended), Err);
                }
            }
            whole += 1;
        }
    }

    /// Writes one message into `outgoing`: as text where it is, else as binary (RFC 7118 5.1 takes both).
    pub(super) fn say(&mut self, bytes: Bytes, outgoing: &mut Vec<u8>) -> Result<(), Fault> {
        let State::Open {
            codec, incoming, ..
        } = &mut self.state
        else {
            return Err(Fault::Ended);
        };
        let message = match tungstenite::Utf8Bytes::try_from(bytes.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(bytes),
        };
        let mut pipe = Pipe { incoming, outgoing };
        codec
            .write(&mut pipe, message)
            .and_then(|()| codec.flush(&mut pipe))
            .map_err(|_| Fault::Ended)
    }

    /// Says that nothing more comes.
    pub(super) fn leave(&mut self, outgoing: &mut Vec<u8>) {
        if let State::Open {
            codec, incoming, ..
        } = &mut self.state
        {
            // Whatever becomes of it, the connection is closed.
            let _ = codec.close(&mut Pipe { incoming, outgoing }, None);
        }
    }
}

/// Returns why nothing more comes; none where nothing more has come yet.
fn over(error: &Error) -> Option<Fault> {
    if matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock) {
        None
    } else if matches!(error, Error::ConnectionClosed | Error::AlreadyClosed) {
        Some(Fault::Ended)
    } else if matches!(error, Error::Capacity(_)) {
        Some(Fault::Frame(FrameError::BodyTooLarge))
    } else {
        Some(Fault::WebSocket)
    }
}

fn limits(message_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
}

/// Reads the request and writes the answer. Returns its length once it is whole, and who the client is where it
/// says so.
fn answer(
    asked: &BytesMut,
    door: &Door,
    outgoing: &mut Vec<u8>,
) -> Result<Option<(usize, Option<IpAddr>)>, Fault> {
    let request = match Request::try_parse(asked) {
        Ok(Some(request)) => Some(request),
        Ok(None) if asked.len() <= REQUEST_MAX => return Ok(None),
        Ok(None) | Err(_) => None,
    };
    if let Some((_, request)) = &request
        && !door.admits(request.headers())
    {
        outgoing.extend_from_slice(
            b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
        return Err(Fault::Shake(Shake::Origin));
    }
    let accepted = request.and_then(|(len, request)| {
        let response = accept(&request)?;
        Some((len, door.client(request.headers()), response))
    });
    if let Some((len, client, response)) = accepted {
        let client = client.map_err(|why| {
            outgoing.extend_from_slice(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            );
            Fault::Shake(why)
        })?;
        if write_response(&mut *outgoing, &response).is_ok() {
            return Ok(Some((len, client)));
        }
    }
    outgoing.clear();
    outgoing.extend_from_slice(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\nContent-Length: 0\r\n\r\n",
    );
    Err(Fault::Shake(Shake::Upgrade))
}

/// RFC 7118 4: the client offers `sip`, and is told that it is taken.
fn accept(request: &Request) -> Option<Response> {
    let offers = request.headers().get_all(PROTOCOL_HEADER).iter();
    let sip = offers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(SUBPROTOCOL));
    let mut response = create_response(request).ok().filter(|_| sip)?;
    let taken = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(PROTOCOL_HEADER, taken);
    Some(response)
}

/// The codec's stream: what came, and what goes. It never blocks for long: there is more, or there is not.
struct Pipe<'a> {
    incoming: &'a mut BytesMut,
    outgoing: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = room.len().min(self.incoming.len());
        room[..len].copy_from_slice(&self.incoming[..len]);
        self.incoming.advance(len);
        Ok(len)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
