//! Runs as text: what a failing seed is shrunk to, and what `scripts/` keeps of those that once failed.

use serde::Serialize;

use crate::scenario::Scenario;

impl Scenario {
    /// Writes it as JSON, a phone or an act a line.
    pub(crate) fn script(&self) -> String {
        format!(
            "{{\"seed\": {}, \"rules\": {}, \"weather\": {}, \"slow_store\": {}, \"failing_store\": {}, \"length\": {},\n\
             \"phones\": [\n{}],\n\"places\": {},\n\"acts\": [\n{}]}}\n",
            self.seed,
            json(&self.rules),
            json(&self.weather),
            self.slow_store,
            self.failing_store,
            json(&self.length),
            lines(&self.phones),
            json(&self.places),
            lines(&self.acts),
        )
    }

    pub(crate) fn read(script: &str) -> Self {
        serde_json::from_str(script).expect("a script is a scenario")
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a scenario can be written")
}

fn lines<T: Serialize>(list: &[T]) -> String {
    let lines: Vec<_> = list
        .iter()
        .map(|item| format!("  {}", json(item)))
        .collect();
    lines.join(",\n")
}
