//! The engine under a virtual clock, between simulated phones and a network that loses, delays,
//! duplicates, partitions; phones die, freeze and move, the server is killed and rises again. One seed
//! is one run, bit for bit; a judge that knows only what the phones saw says whether it was right.
//!
//! `SIM_SEED=n cargo test --test simulation replay -- --nocapture` shows one run as a ladder,
//! `SIM_SEEDS=n cargo test --test simulation seeds` tries more of them, `SIM_FROM=n` others.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

mod dice;
mod judge;
mod log;
mod net;
mod outside;
mod phone;
mod relay;
mod run;
mod scenario;
mod scenarios;
mod store;

use std::io::Write;

use log::What;
use refork::sip::{Method, Name};
use run::{START, Simulation};
use scenario::Scenario;

const SEEDS: u64 = 300;

/// Returns what was wrong, and the ladder.
fn verdict(scenario: Scenario) -> (Vec<String>, Simulation) {
    let mut run = Simulation::new(scenario);
    let rest = run.run();
    let mut found = judge::judge(&run.log);
    found.extend(judge::drained(&rest));
    (found, run)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds of `share` in `shares` parts.
fn seeds(share: u64, shares: u64) {
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let from = number("SIM_FROM").unwrap_or(0);
    let (mut wrong, mut census) = (Vec::new(), Census::default());
    let mut first = None;
    for seed in (from..from + count).filter(|seed| seed % shares == share) {
        let (found, run) = verdict(Scenario::of(seed));
        census.count(&run.log);
        if found.is_empty() {
            continue;
        }
        wrong.push(format!("seed {seed}:\n  {}", found.join("\n  ")));
        first.get_or_insert_with(|| run.log.ladder(START));
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}\n{} of {} seeds are wrong; replay one with\n\
         SIM_SEED=n cargo test --test simulation replay -- --nocapture",
        first.unwrap_or_default(),
        wrong.join("\n"),
        wrong.len(),
        count / shares,
    );
    let runs = (count / shares) as usize;
    assert!(census.is_rich(runs), "{runs} runs, and only {census:?}");
}

/// What happened in all runs together: a judge of runs in which nothing happens is content too.
#[derive(Debug, Default)]
struct Census {
    /// Calls and sessions that the phones' ACKs say were answered.
    acks: usize,
    faults: usize,
    restarts: usize,
    /// Invitations to the lost, by the header that only those have.
    replacements: usize,
    continued: usize,
    failed: usize,
    texts: usize,
}

impl Census {
    fn count(&mut self, log: &log::Log) {
        for entry in &log.entries {
            match &entry.what {
                What::Fault(_) => self.faults += 1,
                What::ServerUp => self.restarts += 1,
                What::Got(message) if message.is_request() => {
                    let body = String::from_utf8_lossy(message.body());
                    self.acks += usize::from(*message.method() == Method::Ack);
                    self.replacements += usize::from(message.header(Name::Replaces).is_some());
                    self.continued += usize::from(body.starts_with(judge::CONTINUED));
                    self.failed += usize::from(body.starts_with(judge::FAILED));
                    self.texts += usize::from(body.starts_with("text "));
                }
                What::Got(_)
                | What::Sent(_)
                | What::TimedOut(_)
                | What::HungUp
                | What::Recovered
                | What::ServerDown
                | What::Remark(_) => {}
            }
        }
    }

    fn is_rich(&self, runs: usize) -> bool {
        let often = [self.acks, self.faults, self.texts, self.replacements];
        let seldom = [self.restarts, self.continued, self.failed];
        runs < 50
            || often.iter().all(|count| *count >= runs)
                && seldom.iter().all(|count| *count >= runs / 10)
    }
}

#[test]
fn seeds_first_half() {
    seeds(0, 2);
}

#[test]
fn seeds_second_half() {
    seeds(1, 2);
}

/// Shows one seed: `SIM_SEED`, else the first.
#[test]
fn replay() {
    let seed = number("SIM_SEED").unwrap_or(0);
    let (found, run) = verdict(Scenario::of(seed));
    if number("SIM_SEED").is_some() {
        std::io::stdout()
            .write_all(run.log.ladder(START).as_bytes())
            .unwrap();
    }
    assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 14, 159] {
        let ladder = || verdict(Scenario::of(seed)).1.log.ladder(START);
        let (one, other) = (ladder(), ladder());
        assert!(one.lines().count() > 20, "seed {seed} ran");
        assert_eq!(one, other, "seed {seed}");
    }
}
