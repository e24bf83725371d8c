//! Deadlines of one shard.
