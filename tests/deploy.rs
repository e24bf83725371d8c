//! What `deploy/` and `docs/` say of the metrics is what the program exports.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use refork::engine::events::Event;
use refork::metrics::{Metrics, Readings, names};
use serde_json::Value;

const DASHBOARD: &str = "deploy/grafana/dashboard.json";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const ALERTS_TEST: &str = "deploy/prometheus/alerts_test.yml";
const METRICS_PAGE: &str = "docs/metrics.md";

fn read(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn exported() -> BTreeSet<&'static str> {
    names::ALL.iter().map(|family| family.name).collect()
}

/// Returns every word that looks like a metric of ours, without the suffixes of a histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("refork_") || word.starts_with("process_"))
        .map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word)
                .to_owned()
        })
        .collect()
}

/// Returns every string under a key, at any depth.
fn strings_of(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(map) = value.as_object() {
        for (name, inner) in map {
            if name == key {
                found.extend(inner.as_str().map(str::to_owned));
            }
            found.extend(strings_of(inner, key));
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        found.extend(strings_of(inner, key));
    }
    found
}

fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut all = strings_of(&dashboard, "expr");
    all.extend(strings_of(&yaml(ALERTS), "expr"));
    all
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_exported() {
    let exported = exported();
    for expression in expressions() {
        for metric in metrics_in(&expression) {
            assert!(
                exported.contains(&*metric),
                "{metric} of `{expression}` is not exported"
            );
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown: BTreeSet<_> = expressions().iter().flat_map(|e| metrics_in(e)).collect();
    let hidden: Vec<_> = exported()
        .into_iter()
        .filter(|name| !shown.contains(*name))
        .collect();
    assert!(hidden.is_empty(), "nobody looks at {hidden:?}");
}

#[test]
fn label_values_asked_for_exist() {
    let text = Metrics::new("n1").render(&Readings::default(), Duration::ZERO);
    for expression in expressions() {
        for (metric, label, values) in matchers(&expression) {
            if ["instance", "job"].contains(&label) {
                continue;
            }
            for value in values.split('|') {
                let wanted = format!("{label}=\"{value}\"");
                let found = text
                    .lines()
                    .any(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&wanted));
                assert!(found, "{metric} has no {wanted}, asked by `{expression}`");
            }
        }
    }
}

/// Returns metric, label and value of every `metric{label="value"}` in an expression.
fn matchers(expression: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices('{') {
        let metric = expression[..at]
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .unwrap();
        let inside = expression[at + 1..].split_once('}').unwrap().0;
        for matcher in inside.split(", ") {
            let (label, value) = matcher.split_once('=').unwrap();
            let label = label.trim_end_matches('!');
            let value = value.trim_start_matches('~').trim_matches('"');
            found.push((metric, label, value));
        }
    }
    found
}

#[test]
fn the_page_explains_every_metric_and_no_other() {
    let page = read(METRICS_PAGE);
    let explained: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(explained, exported());
    for named in metrics_in(&page) {
        assert!(exported().contains(&*named), "{named} is not exported");
    }
}

#[test]
fn the_page_names_type_and_labels_as_exported() {
    let metrics = Metrics::new("n1");
    metrics.event(&Event::Stray { what: "x" });
    let text = metrics.render(&Readings::default(), Duration::ZERO);
    for row in read(METRICS_PAGE)
        .lines()
        .filter(|line| line.starts_with("| `"))
    {
        let cells: Vec<_> = row.split(" | ").collect();
        let name = cells[0].trim_start_matches("| ").trim_matches('`');
        assert!(
            text.contains(&format!("# TYPE {name} {}\n", cells[1])),
            "{name} is no {}",
            cells[1]
        );
        let written: BTreeSet<_> = cells[2].split('`').skip(1).step_by(2).collect();
        let sample = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no sample of {name}"));
        let labels: BTreeSet<_> = sample
            .split_once('{')
            .map_or("", |(_, rest)| rest.split_once('}').unwrap().0)
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|label| *label != "le")
            .collect();
        // The table says "as `signal` above" of a label whose values another row lists.
        let missing: Vec<_> = labels.difference(&written).collect();
        assert!(
            missing.is_empty(),
            "{name}: {missing:?} not in `{}`",
            cells[2]
        );
    }
}

#[test]
fn every_alert_is_explained_and_has_a_severity() {
    let page = read(METRICS_PAGE);
    let rules = yaml(ALERTS)["groups"][0]["rules"].clone();
    let rules = rules.as_array().unwrap();
    assert!(rules.len() > 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            page.contains(&format!("`{name}`")),
            "{METRICS_PAGE} lacks {name}"
        );
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
    }
    let known: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    let tested = strings_of(&yaml(ALERTS_TEST), "alertname");
    let tested: BTreeSet<&str> = tested.iter().map(|name| &**name).collect();
    assert_eq!(tested, known, "{ALERTS_TEST} tests each of {ALERTS}");
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["id"]);
        let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in grid("x")..grid("x") + grid("w") {
            assert!(x < 24, "{} is out of the grid", panel["title"]);
            for y in grid("y")..grid("y") + grid("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}

#[test]
fn every_file_that_compose_mounts_is_there() {
    let compose = yaml("docker-compose.yml");
    let mut mounts = 0;
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().unwrap() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if let Some(path) = source.strip_prefix("./") {
                let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
                assert!(full.exists(), "{name} mounts {path}");
                mounts += 1;
            }
        }
    }
    assert!(mounts > 3);
}
