//! The configuration as operators meet it.

use refork::config;

fn nothing(_: &str) -> Option<String> {
    None
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = config::parse("", "refork.yaml", &nothing).unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(&*config.engine.domains[0].realm, "refork");
    assert_eq!(config.warnings, Vec::<String>::new());
}
