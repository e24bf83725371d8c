//! Deliberate bugs that the simulation must find: `check` beside it builds them and counts the seeds.

use serde::Deserialize;

#[derive(Deserialize)]
struct Mutant {
    name: String,
    does: String,
    file: String,
    text: String,
    instead: String,
}

/// The check is worth nothing once the engine has moved on from under it.
#[test]
fn each_has_its_place_in_the_source_and_on_the_page() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
    let table = read("tests/simulation/mutants/table.json");
    let table: Vec<Mutant> = serde_json::from_str(&table).unwrap();
    let page = read("docs/simulation.md");
    assert!(table.len() >= 10);
    for mutant in table {
        let (name, file) = (&mutant.name, &mutant.file);
        let places = read(file).matches(&mutant.text).count();
        assert_eq!(places, 1, "places of {name} in {file}");
        assert!(mutant.instead.contains("MUTANT"), "{name} can be off");
        let row = format!("| `{name}` | {} | ", mutant.does);
        let seeds = page
            .lines()
            .find_map(|line| line.strip_prefix(&*row)?.strip_suffix(" |"));
        let measured = |seeds: &str| {
            let count = seeds.strip_prefix("not in ").unwrap_or(seeds);
            seeds == "not measured" || count.parse::<u64>().is_ok()
        };
        assert!(
            seeds.is_some_and(measured),
            "docs/simulation.md has no {row}and a number of seeds: {seeds:?}"
        );
    }
}
