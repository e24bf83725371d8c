//! The engine by scenarios that read like a ladder: events in, actions out, no socket and no clock.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test: what it does not look for it leaves aside"
)]

mod admission;
mod adrift;
mod attended;
mod beyond;
mod bombs;
mod calls;
mod carried;
mod certificates;
mod claims;
mod crowds;
mod declined;
mod delayed;
mod dialogs;
mod direct;
mod doubts;
mod early_ends;
mod early_updates;
mod edge;
mod enclosed;
mod entries;
mod failover;
mod failures;
mod families;
mod far_ends;
mod fax;
mod fits;
mod forwarded_again;
mod forwarding;
mod ghosts;
mod given;
mod growth;
mod gruu;
mod handing_on;
mod hiding;
mod history;
mod holds;
mod hops;
mod hostile;
mod judged;
mod keying;
mod loss;
mod loss_races;
mod messages;
mod moves;
mod named;
mod notices;
mod numbers;
mod offences;
mod one_answer;
mod onward;
mod overload;
mod paged_proofs;
mod partings;
mod pauses;
mod people;
mod pickup;
mod privacy;
mod proofs;
mod races;
mod refusals;
mod reliable;
mod repair;
mod replaced;
mod restart;
mod restore;
mod retries;
mod revised;
mod routes;
mod secure;
mod semi_attended;
mod session_id;
mod session_timers;
mod severed;
mod srtp;
mod storms;
mod table;
mod temporary_gruus;
mod third_party;
mod tones;
mod transfer;
mod transfer_kills;
mod transfer_races;
mod transfer_restart;
mod under_way;
mod unjoined;
mod unknown;
mod upgrades;
mod video;
mod ways_back;
