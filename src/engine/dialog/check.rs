//! Holds a table of the dialog's against how it is written out.

use std::fmt::Debug;

/// Goes through every pair of state and input. A line of the table is `state input -> outcome`; the order
/// is that of the lists.
pub(super) fn assert_rows<S: Debug, I: Debug>(
    table: &str,
    states: &[S],
    inputs: &[I],
    outcome: impl Fn(&S, &I) -> String,
) {
    let lines: Vec<_> = table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(
        lines.len(),
        states.len() * inputs.len(),
        "a pair is missing"
    );
    let mut lines = lines.into_iter();
    for state in states {
        for input in inputs {
            let line = format!("{state:?} {input:?} -> {}", outcome(state, input));
            assert_eq!(lines.next(), Some(&*line));
        }
    }
}
