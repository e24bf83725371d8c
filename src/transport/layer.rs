//! Between the wire and what is said: nothing, or TLS.

use std::io::{BufRead, Write};

use bytes::Bytes;
use rustls::{Connection as Session, Error as TlsError};

use super::fault::{Fault, Shake};
use super::outbox::{Outbox, UNWRITTEN_MAX};
use super::troubles::reason;

pub(super) enum Layer {
    Plain,
    Tls(Box<Secure>),
}

/// A session, and what came of it.
pub(super) struct Secure {
    session: Session,
    /// Why it came to nothing.
    failure: Option<TlsError>,
}

impl Layer {
    pub(super) fn tls(session: impl Into<Session>) -> Self {
        let mut session = session.into();
        // What is said before the handshake is over waits within, and no more of it than after.
        session.set_buffer_limit(Some(UNWRITTEN_MAX));
        Self::Tls(Box::new(Secure {
            session,
            failure: None,
        }))
    }

    pub(super) fn is_shaking(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(secure) => secure.session.is_handshaking(),
        }
    }

    /// Returns the certificate that the peer has proved to hold.
    pub(super) fn certificate(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        match self {
            Self::Plain => None,
            Self::Tls(secure) => secure.session.peer_certificates()?.first(),
        }
    }

    /// Returns why the session came to nothing, in words for who is to mend it.
    pub(super) fn failure(&self) -> Option<Box<str>> {
        match self {
            Self::Plain => None,
            Self::Tls(secure) => secure.failure.as_ref().map(reason),
        }
    }

    /// Takes what came over the wire; `heard` gets what was said.
    pub(super) fn take(
        &mut self,
        wire: &[u8],
        outbox: &mut Outbox,
        mut heard: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Secure { session, failure } = match self {
            Self::Plain => return heard(wire),
            Self::Tls(secure) => &mut **secure,
        };
        let mut rest = wire;
        while !rest.is_empty() {
            // It takes in no more than its buffer holds: what was said is taken out after each piece.
            let taken = session.read_tls(&mut rest).unwrap_or(0);
            let outcome = session.process_new_packets();
            // An alert says to the peer what was wrong.
            write_out(session, outbox)?;
            let state = outcome.map_err(|error| {
                let fault = fault(&error);
                *failure = Some(error);
                fault
            })?;
            let mut reader = session.reader();
            while let Ok(said) = reader.fill_buf() {
                let len = said.len();
                if len == 0 {
                    break;
                }
                heard(said)?;
                reader.consume(len);
            }
            if state.peer_has_closed() {
                return Err(Fault::Ended);
            }
            if taken == 0 {
                return Err(Fault::Shake(Shake::Nonsense));
            }
        }
        Ok(())
    }

    /// Puts what is to be said into the outbox, or keeps it until the handshake is over.
    pub(super) fn say(&mut self, bytes: Bytes, outbox: &mut Outbox) -> Result<(), Fault> {
        let session = match self {
            Self::Plain => return outbox.push(bytes).map_err(Fault::from),
            Self::Tls(secure) => &mut secure.session,
        };
        let mut rest = &*bytes;
        while !rest.is_empty() {
            match session.writer().write(rest) {
                Ok(0) | Err(_) => return Err(Fault::Overflow),
                Ok(len) => rest = &rest[len..],
            }
            write_out(session, outbox)?;
        }
        Ok(())
    }

    /// Puts what the layer has to say for itself into the outbox.
    pub(super) fn pump(&mut self, outbox: &mut Outbox) -> Result<(), Fault> {
        match self {
            Self::Plain => Ok(()),
            Self::Tls(secure) => write_out(&mut secure.session, outbox),
        }
    }

    /// Says that nothing more comes.
    pub(super) fn leave(&mut self, outbox: &mut Outbox) {
        if let Self::Tls(secure) = self {
            secure.session.send_close_notify();
            // The connection is closed whether or not there is room for it.
            let _ = write_out(&mut secure.session, outbox);
        }
    }
}

fn write_out(session: &mut Session, outbox: &mut Outbox) -> Result<(), Fault> {
    while session.wants_write() {
        let mut record = Vec::new();
        match session.write_tls(&mut record) {
            Ok(0) | Err(_) => break,
            Ok(_) => outbox.push(record.into())?,
        }
    }
    Ok(())
}

/// Tells what went wrong by who has to mend it.
fn fault(error: &TlsError) -> Fault {
    let why = if matches!(
        error,
        TlsError::InvalidCertificate(_)
            | TlsError::NoCertificatesPresented
            | TlsError::UnsupportedNameType
    ) {
        Shake::Certificate
    } else if matches!(error, TlsError::PeerIncompatible(_)) {
        Shake::Incompatible
    } else if matches!(error, TlsError::AlertReceived(_)) {
        Shake::Alert
    } else {
        Shake::Nonsense
    };
    Fault::Shake(why)
}
