//! The engine under a virtual clock, between simulated phones and a network that loses, delays,
//! duplicates, partitions; phones die, freeze and move, the server is killed and rises again. One seed
//! is one run, bit for bit; a judge that knows only what the phones saw says whether it was right.
//!
//! `SIM_SEED=n cargo test --test simulation replay -- --nocapture` shows one run as a ladder,
//! `SIM_SEEDS=n cargo test --test simulation seeds` tries more of them, `SIM_FROM=n` others. The first
//! that fails is shrunk to a script; `scripts/` keeps what once failed.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

mod dice;
mod judge;
mod log;
mod net;
mod outside;
mod phone;
mod relay;
mod rules;
mod run;
mod scenario;
mod scenarios;
mod script;
mod shrink;
mod store;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::What;
use refork::sip::{Method, Name};
use run::{START, Simulation};
use scenario::Scenario;

const SEEDS: u64 = 300;

/// Returns what was wrong, and the run.
fn verdict(scenario: Scenario) -> (Vec<String>, Simulation) {
    let mut run = Simulation::new(scenario);
    let found = match catch_unwind(AssertUnwindSafe(|| run.run())) {
        Ok(rest) => {
            let mut found = judge::judge(&run.log);
            found.extend(judge::drained(&rest));
            found
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "it panicked".into())]
        }
    };
    (found, run)
}

/// Returns a finding without its times, names and numbers: what kind of fault it is.
fn kind(finding: &str) -> String {
    let (_, what) = finding.split_once(": ").unwrap_or(("", finding));
    what.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Returns the script and the ladder of a smaller run with a fault of the same kind.
fn shrunk(scenario: Scenario, found: &[String]) -> String {
    let wanted: Vec<_> = found.iter().take(1).map(|finding| kind(finding)).collect();
    let small = shrink::shrink(scenario, |scenario| {
        let (found, _) = verdict(scenario.clone());
        found.iter().any(|finding| wanted.contains(&kind(finding)))
    });
    let script = small.script();
    let (found, run) = verdict(small);
    format!(
        "{}{}\n\nkeep it as tests/simulation/scripts/NAME.json:\n{script}",
        run.log.ladder(START),
        found.join("\n"),
    )
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
        first.get_or_insert_with(|| shrunk(Scenario::of(seed), &found));
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

/// What once failed, shrunk to what it takes.
#[test]
fn scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/scripts");
    let mut ran = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let (found, run) = verdict(Scenario::read(&script));
        assert!(
            found.is_empty(),
            "{}{}: {}",
            run.log.ladder(START),
            path.display(),
            found.join("\n"),
        );
        ran += 1;
    }
    assert!(ran > 0, "no scripts in {folder}");
}

#[test]
fn a_script_is_the_run_that_it_was_written_from() {
    let seed = 11;
    let ladder = |scenario| verdict(scenario).1.log.ladder(START);
    let script = Scenario::of(seed).script();
    assert_eq!(ladder(Scenario::read(&script)), ladder(Scenario::of(seed)));
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
