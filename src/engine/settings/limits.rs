//! How much there may be at a time, and of whom.

#[derive(Clone, Debug, PartialEq)]
pub struct LimitSettings {
    pub conversations: usize,
    /// Calls that nobody has answered yet, of all; strangers together have half of it.
    pub ringing: usize,
    /// The same of one user.
    pub ringing_per_user: usize,
    /// The same of one address of which nothing else is known.
    pub ringing_per_ip: usize,
    /// The same where datagrams alone name the address.
    pub ringing_per_unproven_ip: usize,
    /// The same for one user, of all of whom nothing is known.
    pub ringing_per_called: usize,
    /// Calls of one user, answered or not.
    pub calls_per_user: usize,
    /// Calls of one address of which nothing else is known, answered or not.
    pub calls_per_ip: usize,
    /// Streams of one user's calls that the relay carries, answered or not.
    pub streams_per_user: usize,
    /// The same of one address of which nothing else is known.
    pub streams_per_ip: usize,
    /// Bytes of requests outside of dialogs that wait for their answers; strangers together have a quarter.
    pub under_way: usize,
    /// Such texts of one user.
    pub texts_per_user: usize,
    /// The same of one address of which nothing else is known.
    pub texts_per_ip: usize,
    /// The same where datagrams alone name the address.
    pub texts_per_unproven_ip: usize,
    /// The same for one user, of all of whom nothing is known.
    pub texts_per_called: usize,
    pub message_size: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            conversations: 100_000,
            ringing: 10_000,
            ringing_per_user: 50,
            ringing_per_ip: 100,
            ringing_per_unproven_ip: 10,
            ringing_per_called: 20,
            calls_per_user: 200,
            calls_per_ip: 200,
            streams_per_user: 500,
            streams_per_ip: 500,
            under_way: 1 << 28,
            texts_per_user: 100,
            texts_per_ip: 100,
            texts_per_unproven_ip: 20,
            texts_per_called: 20,
            message_size: 64 * 1024,
        }
    }
}
