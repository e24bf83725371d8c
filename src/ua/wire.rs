//! A phone's connection: TCP, TLS or a WebSocket over either.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{Message, WebSocket};

use crate::sip::stream::{Frame, Framer};

use super::Transport;

const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: usize = 64 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Whom a phone trusts, and the name that its server must have.
pub(super) struct Trust<'a> {
    pub(super) config: Option<&'a Arc<ClientConfig>>,
    pub(super) server: &'a str,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => &secured.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(room),
            Self::Tls(secured) => secured.read(room),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(secured) => secured.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(secured) => secured.flush(),
        }
    }
}

#[derive(Debug)]
enum Speech {
    Stream {
        wire: Wire,
        framer: Framer,
        /// Not yet taken by the kernel.
        waiting: Vec<u8>,
    },
    Web(Box<WebSocket<Wire>>),
}

#[derive(Debug)]
pub(super) struct Connection {
    speech: Speech,
    pub(super) peer: SocketAddr,
    pub(super) closed: bool,
}

impl Connection {
    /// Connects, and shakes hands as the transport wants it.
    pub(super) fn open(
        transport: Transport,
        peer: SocketAddr,
        trust: &Trust<'_>,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&peer, CONNECT_WITHIN)?;
        socket.set_read_timeout(Some(CONNECT_WITHIN))?;
        let mut wire = match trust.config.filter(|_| transport.is_secure()) {
            Some(config) => {
                let name = trust.server.to_owned().try_into();
                let name = name.map_err(io::Error::other)?;
                let session = ClientConnection::new(Arc::clone(config), name);
                let session = session.map_err(io::Error::other)?;
                Wire::Tls(Box::new(StreamOwned::new(session, socket)))
            }
            None => Wire::Plain(socket),
        };
        // Makes the handshake, if there is one.
        wire.flush()?;
        let speech = match transport {
            Transport::Ws | Transport::Wss => {
                let request = format!("ws://{}/", trust.server).into_client_request();
                let mut request = request.map_err(io::Error::other)?;
                let sip = HeaderValue::from_static("sip");
                request.headers_mut().insert("Sec-WebSocket-Protocol", sip);
                let (socket, _) = tungstenite::client(request, wire)
                    .map_err(|error| io::Error::other(error.to_string()))?;
                Speech::Web(Box::new(socket))
            }
            Transport::Udp | Transport::Tcp | Transport::Tls => Speech::stream(wire),
        };
        Self::over(speech, peer)
    }

    pub(super) fn accepted(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        Self::over(Speech::stream(Wire::Plain(socket)), peer)
    }

    fn over(speech: Speech, peer: SocketAddr) -> io::Result<Self> {
        let connection = Self {
            speech,
            peer,
            closed: false,
        };
        connection.socket().set_nodelay(true)?;
        connection.socket().set_nonblocking(true)?;
        Ok(connection)
    }

    fn socket(&self) -> &TcpStream {
        match &self.speech {
            Speech::Stream { wire, .. } => wire.socket(),
            Speech::Web(socket) => socket.get_ref().socket(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        match &mut self.speech {
            Speech::Stream { waiting, .. } => waiting.extend_from_slice(bytes),
            Speech::Web(socket) => {
                let text = std::str::from_utf8(bytes);
                let message = text.map_or_else(
                    |_| Message::binary(bytes.to_vec()),
                    |text| Message::text(text.to_owned()),
                );
                let written = socket.write(message);
                self.closed |= written.is_err_and(|error| !would_block(&error));
            }
        }
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        match &mut self.speech {
            Speech::Stream { wire, waiting, .. } => {
                while !waiting.is_empty() && !self.closed {
                    match wire.write(waiting) {
                        Ok(written) => drop(waiting.drain(..written)),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                        Err(_) => self.closed = true,
                    }
                }
                let flushed = wire.flush();
                self.closed |= flushed.is_err_and(|e| e.kind() != ErrorKind::WouldBlock);
            }
            Speech::Web(socket) => {
                let flushed = socket.flush();
                self.closed |= flushed.is_err_and(|error| !would_block(&error));
            }
        }
    }

    /// Reads all messages that have come.
    pub(super) fn read(&mut self) -> Vec<Bytes> {
        let mut messages = Vec::new();
        match &mut self.speech {
            Speech::Stream {
                wire,
                framer,
                waiting,
            } => {
                let mut buffer = [0; 16 * 1024];
                loop {
                    match wire.read(&mut buffer) {
                        Ok(0) => {
                            self.closed = true;
                            break;
                        }
                        Ok(length) => framer.push(&buffer[..length]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => {
                            self.closed = true;
                            break;
                        }
                    }
                }
                while let Some(frame) = framer.next_frame() {
                    match frame {
                        Ok(Frame::Message(bytes)) => messages.push(bytes),
                        Ok(Frame::Ping) => waiting.extend_from_slice(b"\r\n"),
                        Ok(Frame::Pong | Frame::TooLarge(_)) => {}
                        Err(_) => {
                            self.closed = true;
                            break;
                        }
                    }
                }
            }
            Speech::Web(socket) => loop {
                match socket.read() {
                    Ok(Message::Text(text)) => messages.push(text.into()),
                    Ok(Message::Binary(bytes)) => messages.push(bytes),
                    Ok(_) => {}
                    Err(error) => {
                        self.closed |= !would_block(&error);
                        break;
                    }
                }
            },
        }
        self.flush();
        messages
    }
}

impl Speech {
    fn stream(wire: Wire) -> Self {
        Self::Stream {
            wire,
            framer: Framer::new(HEAD_MAX, BODY_MAX),
            waiting: Vec::new(),
        }
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}
