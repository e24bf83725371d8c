//! Snapshots as a database would keep them, committed now or a little later. They become bytes, and are read again,
//! when a server starts: until then nobody looks at them.

use std::collections::BTreeMap;

use refork::engine::ids::ConversationId;
use refork::engine::ports::Token;
use refork::engine::snapshot::Snapshot;

#[derive(Default)]
pub(crate) struct Store {
    committed: BTreeMap<ConversationId, (u64, Snapshot)>,
    /// Written, and lost where the server dies before they are committed.
    under_way: BTreeMap<Token, (ConversationId, u64, Snapshot)>,
    writes: u64,
    /// Writes that were late, and that failed.
    pub(crate) slow: usize,
    pub(crate) failed: usize,
}

impl Store {
    /// Takes a snapshot; with a token it counts once `commit` is called with that.
    pub(crate) fn write(&mut self, snapshot: Snapshot, token: Option<Token>) {
        self.writes += 1;
        match token {
            Some(token) => {
                let written = (snapshot.id, self.writes, snapshot);
                self.under_way.insert(token, written);
            }
            None => {
                self.committed.insert(snapshot.id, (self.writes, snapshot));
            }
        }
    }

    /// Ends a write, by a failure where it is not `ok`. Returns false where there is nothing of that
    /// token: the server has died meanwhile.
    pub(crate) fn commit(&mut self, token: Token, ok: bool) -> bool {
        let Some((id, write, snapshot)) = self.under_way.remove(&token) else {
            return false;
        };
        let newer = self
            .committed
            .get(&id)
            .is_some_and(|(known, _)| *known > write);
        if ok && !newer && write > 0 {
            self.committed.insert(id, (write, snapshot));
        }
        true
    }

    pub(crate) fn forget(&mut self, id: ConversationId) {
        self.committed.remove(&id);
        // Its writes are still answered, but leave nothing.
        for (_, write, _) in self
            .under_way
            .values_mut()
            .filter(|(known, ..)| *known == id)
        {
            *write = 0;
        }
    }

    /// The server has died.
    pub(crate) fn crash(&mut self) {
        self.under_way.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.committed.len()
    }

    pub(crate) fn all(&self) -> Vec<Snapshot> {
        self.committed
            .values()
            .map(|(_, snapshot)| {
                let bytes = rmp_serde::to_vec_named(snapshot).expect("a snapshot can be written");
                rmp_serde::from_slice(&bytes).expect("a snapshot can be read")
            })
            .collect()
    }
}
