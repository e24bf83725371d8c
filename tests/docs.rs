//! What the pages say is there is there.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// Returns everything below a folder, itself among it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Returns what stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_map_names_every_folder() {
    let map = read("ARCHITECTURE.md");
    let named: Vec<&str> = quoted(&map).collect();
    let folders: Vec<String> = below(&root().join("src"))
        .iter()
        .filter(|path| path.is_dir() && !path.ends_with("src") && !path.ends_with("tests"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert!(folders.len() > 15, "{folders:?}");
    for folder in &folders {
        assert!(
            named.contains(&&**folder),
            "ARCHITECTURE.md lacks `{folder}`"
        );
    }
    for path in named.iter().filter(|path| path.starts_with("src/")) {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page));
    let more = [below(&root().join("docs")), below(&root().join("deploy"))].concat();
    for page in pages.into_iter().chain(more) {
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = read(&page);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if !link.contains("://") {
                let target = page.parent().unwrap().join(link);
                assert!(target.exists(), "{} links to {link}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 20);
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = read("README.md");
    let yaml = readme.split("```yaml\n").nth(1).unwrap();
    let yaml = yaml.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refork.yaml");
    fs::write(&file, yaml).unwrap();
    let config = refork::config::check(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

/// Each row's last cell: `not yet`, or paths, each followed by tests that are in it.
#[test]
fn tests_that_show_conformance_exist() {
    let mut tests = 0;
    for row in read("docs/conformance.md")
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(|c: char| c.is_ascii_digit()))
    {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if shown == "not yet" {
            continue;
        }
        let mut text = String::new();
        let mut path = "";
        for word in quoted(shown) {
            if word.contains('/') {
                (path, text) = (word, read(word));
                continue;
            }
            assert!(
                ["fn", "def"]
                    .iter()
                    .any(|begin| text.contains(&format!("{begin} {word}("))),
                "{path} has no test {word}: {row}"
            );
            tests += 1;
        }
        assert!(!text.is_empty(), "no test, and not `not yet`: {row}");
    }
    assert!(tests > 80, "{tests}");
}

/// The RFCs that a B2BUA is measured by here.
const RFCS: [u32; 74] = [
    3261, 6026, 3263, 3264, 6337, 8866, 5057, 5407, 6141, 3262, 3311, 4028, 5626, 6223, 3581, 5923,
    3327, 5627, 3428, 3994, 4320, 4321, 3326, 3891, 3515, 3892, 6665, 7092, 5853, 3323, 3325, 7332,
    5393, 7616, 8760, 4475, 5118, 3550, 3605, 5761, 4733, 4961, 7118, 6455, 7989, 3862, 5438, 4975,
    4976, 6135, 6714, 7044, 6228, 7339, 6357, 8599, 3711, 4568, 5763, 5764, 8445, 8839, 8224, 8225,
    5658, 3725, 3665, 5359, 3903, 3856, 4235, 6140, 7315, 7433,
];

#[test]
fn each_rfc_has_its_row() {
    let page = read("docs/conformance.md");
    let first = |row: &str| row.split('|').nth(1).unwrap_or("").to_owned();
    let rows: Vec<String> = page.lines().map(first).collect();
    let named = |rfc: &u32| {
        let rfc = rfc.to_string();
        rows.iter()
            .any(|cell| cell.split(',').any(|named| named.trim() == rfc))
    };
    let missing: Vec<_> = RFCS.iter().filter(|rfc| !named(rfc)).collect();
    assert!(missing.is_empty(), "docs/conformance.md lacks {missing:?}");
}
