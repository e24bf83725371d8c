//! One shard a thread: it reads the clock, owns its sockets, runs its engine and carries out what the
//! engine asks for. Nothing on its way from a socket to the engine and back takes a lock that another
//! shard holds for longer than a look into a map.

mod bindings;
mod boards;
mod carry;
mod clock;
mod conversations;
mod dispatch;
mod entrance;
mod halves;
mod keepalive;
mod kept;
mod lateness;
mod mailbox;
mod promised;
mod reading;
mod records;
mod resolver;
mod revised;
mod shard;
mod shared;
mod spare;
mod spent;
mod unsent;
mod world;

pub use bindings::Bindings;
pub use boards::Boards;
pub use clock::Clock;
pub use conversations::Conversations;
pub use entrance::{Counts, Legs};
pub use halves::Halves;
pub use mailbox::{Mail, Mailboxes};
pub use records::{Recorded, Records};
pub use resolver::Resolver;
pub use revised::Revisions;
pub use shard::{BELL, Shard, Start};
pub use shared::Shared;
pub use spent::Spent;
