//! Connections that end: for all but their sockets at once, and for these once the peer has heard why.

use mio::Token;
use mio::event::Source;

use crate::engine::ids::{ConnectionId, Flow};
use crate::engine::time::{Millis, Time};

use super::connection::Connection;
use super::counters::Counters;
use super::fault::Fault;
use super::registry::number_of;
use super::streams::Streams;

/// How long, and for how many octets, a peer is let finish that has been told why it is not heard any more.
const LINGER: Millis = Millis::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// A connection that is over for all but its socket.
pub(super) struct Leaving {
    connection: Connection,
    until: Time,
    left: usize,
}

impl Streams {
    /// Closes a connection; nothing where it is closed already.
    pub fn close(&mut self, id: ConnectionId) -> Option<Flow> {
        let connection = self.leave(id)?;
        let flow = connection.flow;
        self.finish(connection);
        Some(flow)
    }

    /// Returns the flows to hosts that went by connections of theirs which have closed since this was asked.
    pub fn take_unaliased(&mut self) -> Vec<Flow> {
        std::mem::take(&mut self.unaliased)
    }

    /// As `close`, where nothing comes any more since something was wrong: a peer that has been told so has a
    /// while to hear it.
    pub fn end(&mut self, id: ConnectionId, fault: Fault, now: Time) -> Option<Flow> {
        if !fault.has_last_word() {
            return self.close(id);
        }
        let connection = self.leave(id)?;
        let flow = connection.flow;
        let leaving = Leaving {
            connection,
            until: now + LINGER,
            left: LINGER_BYTES,
        };
        self.leaving.insert(number_of(id), leaving);
        self.linger(number_of(id));
        Some(flow)
    }

    /// Looks after a connection that is over. Nothing where it is not.
    pub fn drain(&mut self, token: Token) {
        if let Some(number) = token.0.checked_sub(self.first_token) {
            self.linger(number as u64);
        }
    }

    fn linger(&mut self, number: u64) {
        let Some(leaving) = self.leaving.get_mut(&number) else {
            return;
        };
        let stays = leaving.connection.linger(&mut self.room, &mut leaving.left);
        if !stays && let Some(leaving) = self.leaving.remove(&number) {
            self.finish(leaving.connection);
        }
    }

    /// Says farewell. From now on the connection is none that anybody knows.
    fn leave(&mut self, id: ConnectionId) -> Option<Connection> {
        let mut connection = self.open.remove(&number_of(id))?;
        connection.leave();
        if let Some(open) = self.counters.of(connection.flow.transport) {
            Counters::take(open);
        }
        self.registry.forget(&connection.flow, id);
        let alias = |(peer, host)| Flow {
            peer,
            connection: Some(host),
            ..connection.flow
        };
        let aliases = self.registry.unalias(id);
        self.unaliased.extend(aliases.into_iter().map(alias));
        Some(connection)
    }

    fn finish(&self, mut connection: Connection) {
        // It fails only where the poll has lost the socket already.
        let _ = connection.source().deregister(&self.poll);
        self.registry.release(connection.origin, connection.client);
    }

    /// Closes those that have had their time.
    pub(super) fn part(&mut self, now: Time) {
        let done = |_: &u64, leaving: &mut Leaving| now >= leaving.until;
        let done: Vec<_> = self.leaving.extract_if(.., done).collect();
        for (_, leaving) in done {
            self.finish(leaving.connection);
        }
    }
}
