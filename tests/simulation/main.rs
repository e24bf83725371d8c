//! The engine under a virtual clock, between simulated phones and a network that loses, delays,
//! duplicates, partitions; phones die, freeze and move, the server is killed and rises again. One seed
//! is one run, bit for bit; a judge that knows only what the phones saw says whether it was right.
//!
//! `SIM_SEED=n cargo test --test simulation replay -- --nocapture` shows one run as a ladder,
//! `SIM_SEEDS=n cargo test --test simulation seeds` tries more of them, `SIM_FROM=n` others. The first
//! that fails is shrunk to a script; `scripts/` keeps what once failed.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

mod census;
mod dice;
mod judge;
mod log;
mod mutants;
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
use std::time::SystemTime;

use census::Census;
use run::{START, Simulation};
use scenario::Scenario;

/// Of every run of the tests, half of them in each of two tests.
const SEEDS: u64 = 2000;
/// Beside them, others each day.
const FRESH: u64 = 50;

/// Returns what was wrong, and the run, whose ladder tells what the server did as well.
fn verdict(scenario: Scenario) -> (Vec<String>, Simulation) {
    verdict_of(Simulation::new(scenario, true))
}

/// The same without a ladder that anybody wants to read.
fn quick_verdict(scenario: Scenario) -> (Vec<String>, Simulation) {
    verdict_of(Simulation::new(scenario, false))
}

fn verdict_of(mut run: Simulation) -> (Vec<String>, Simulation) {
    let found = match catch_unwind(AssertUnwindSafe(|| run.run())) {
        Ok(rest) => {
            let mut found = judge::judge(&run.log);
            found.extend(judge::drained(&run.log, &rest));
            found.extend(judge::counted(&run.log, &rest.metrics));
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
        let (found, _) = quick_verdict(scenario.clone());
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

/// Runs the seeds of `share` in `shares` parts. What the fixed ones meet is known, and counted.
fn seeds(share: u64, shares: u64) {
    let wanted = (number("SIM_SEEDS"), number("SIM_FROM"));
    let (count, from) = (wanted.0.unwrap_or(SEEDS), wanted.1.unwrap_or(0));
    let census = run_seeds(from, count, share, shares);
    if wanted != (None, None) {
        return;
    }
    let runs = (count / shares) as usize;
    let poor = census.poor(runs);
    assert!(
        poor.is_empty(),
        "{runs} runs, and seldom or never {poor:?}: {census:#?}"
    );
}

fn run_seeds(from: u64, count: u64, share: u64, shares: u64) -> Census {
    let (mut wrong, mut census) = (Vec::new(), Census::default());
    let mut first = None;
    for seed in (from..from + count).filter(|seed| seed % shares == share) {
        let (found, run) = quick_verdict(Scenario::of(seed));
        census.count(&run);
        if found.is_empty() {
            continue;
        }
        wrong.push(format!("seed {seed}:\n  {}", found.join("\n  ")));
        if number("SIM_STOP").is_some() {
            break;
        }
        first.get_or_insert_with(|| shrunk(Scenario::of(seed), &found));
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}\n{} of the {} seeds from {from} on are wrong; replay one with\n\
         SIM_SEED=n cargo test --test simulation replay -- --nocapture",
        first.unwrap_or_default(),
        wrong.join("\n"),
        wrong.len(),
        count / shares,
    );
    census
}

#[test]
fn seeds_first_half() {
    seeds(0, 2);
}

#[test]
fn seeds_second_half() {
    seeds(1, 2);
}

/// Seeds that nobody has run before today, beyond all that are run by number: one run of a day says what the next
/// one does. So few may well not meet all that the census wants.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "which day it is decides what runs, not what a run does"
)]
fn fresh() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let day = number("SIM_DAY").unwrap_or_else(|| now.unwrap().as_secs() / 86_400);
    run_seeds((1 << 32) + day * FRESH, FRESH, 0, 1);
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
