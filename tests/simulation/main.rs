//! The engine under a virtual clock, between simulated phones and a network that loses, delays,
//! duplicates, partitions; phones die, freeze and move, the server is killed and rises again. One seed
//! is one run, bit for bit; a judge that knows only what the phones saw says whether it was right.
//!
//! `SIM_SEED=n cargo test --test simulation replay -- --nocapture` shows one run as a ladder,
//! `SIM_SEEDS=n cargo test --test simulation seeds` tries more of them.

#![allow(clippy::unwrap_used)]

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
    let mut wrong = Vec::new();
    let mut first = None;
    for seed in (0..count).filter(|seed| seed % shares == share) {
        let (found, run) = verdict(Scenario::of(seed));
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
