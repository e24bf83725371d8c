//! The program as it is called.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

#[path = "transport/authority.rs"]
mod authority;
#[path = "cli/certificates.rs"]
mod certificates;
#[path = "cli/logs.rs"]
mod logs;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/running.rs"]
mod running;
#[path = "cli/sinks.rs"]
mod sinks;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn refork() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refork"));
    command.stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn check_tells_that_a_file_is_valid_and_what_has_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(
        directory.path(),
        "ok.yaml",
        "capture: { hep: \"udp://homer:9060\" }\n",
    );
    let (code, stdout, stderr) = output(refork().args(["check", "-c", &path]));
    assert_eq!(code, Some(0));
    assert_eq!(
        stdout,
        format!("warning: `capture.hep` has no effect in this version\n{path} is valid\n")
    );
    assert_eq!(stderr, "");
}

#[test]
fn a_wrong_file_ends_check_and_run_with_two() {
    let directory = tempfile::tempdir().unwrap();
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let text =
        format!("listen: [\"udp://127.0.0.1:{port}\"]\nnode: {{ data_dir: state, wrokers: 1 }}\n");
    let path = write(directory.path(), "bad.yaml", &text);
    for command in ["check", "run"] {
        let (code, stdout, stderr) = output(
            refork()
                .current_dir(directory.path())
                .args([command, "--config", &path]),
        );
        assert_eq!(code, Some(2), "{command}");
        assert_eq!(stdout, "", "{command}");
        assert!(
            stderr.contains("error: `node.wrokers`: no such key"),
            "{stderr}"
        );
        assert!(stderr.contains(&format!("--> {path}:2:")), "{stderr}");
        assert!(stderr.contains("did you mean `workers`?"), "{stderr}");
        assert!(
            stderr.ends_with("1 error in the configuration\n"),
            "{stderr}"
        );
    }
    assert!(
        !directory.path().join("state").exists(),
        "nothing is started"
    );
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let (code, _, stderr) = output(refork().args(["check", "-c", "/nonexistent/refork.yaml"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("/nonexistent/refork.yaml"), "{stderr}");
    assert!(stderr.contains("No such file"), "{stderr}");
}

#[test]
fn schema_is_json() {
    let (code, stdout, _) = output(refork().arg("schema"));
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(schema["title"], "Refork configuration");
    assert_eq!(schema, refork::config::schema());
}

#[test]
fn version_and_help_are_there() {
    let (code, stdout, _) = output(refork().arg("--version"));
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), concat!("refork ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let (code, stdout, _) = output(refork().arg("--help"));
    assert_eq!(code, Some(0));
    for command in ["run", "check", "demo", "schema"] {
        assert!(stdout.contains(command), "{stdout}");
    }
    let (code, _, _) = output(refork().arg("fly"));
    assert_eq!(code, Some(2));
}

/// Starts the server, returns what it prints up to the line with the metrics, and ends it.
fn run_and_end(path: &str) -> String {
    let mut server = refork()
        .args(["run", "-c", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    for line in BufReader::new(server.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        printed.push_str(&line);
        printed.push('\n');
        if line.starts_with("Conversations:") {
            break;
        }
    }
    let ended = Command::new("kill")
        .arg(server.id().to_string())
        .status()
        .unwrap();
    assert!(ended.success(), "{printed}");
    assert_eq!(
        server.wait().unwrap().code(),
        Some(0),
        "SIGTERM ends it in order"
    );
    printed
}

#[test]
fn every_start_prints_the_users_that_the_first_one_made() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "node: {{ data_dir: \"{}\", workers: 1 }}\nlisten: [\"udp://127.0.0.1:0\"]\nadmin: {{ listen: 127.0.0.1:0 }}\n",
        directory.path().join("state").display()
    );
    let path = write(directory.path(), "refork.yaml", &text);
    let users = |printed: &str| -> Vec<String> {
        printed
            .lines()
            .filter(|l| l.contains("password"))
            .map(str::to_owned)
            .collect()
    };
    let first = users(&run_and_end(&path));
    assert_eq!(first.len(), 3, "{first:?}");
    assert!(first[0].contains("sip:alice@refork"), "{first:?}");
    assert_eq!(users(&run_and_end(&path)), first);
}

#[test]
fn a_first_start_that_cannot_be_kept_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let text = format!(
        "node: {{ data_dir: \"{}\" }}\nlisten: [\"udp://127.0.0.1:0\"]\nadmin: {{ listen: 127.0.0.1:0 }}\n",
        state.display()
    );
    let path = write(directory.path(), "refork.yaml", &text);
    // No file may have an octet, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" run -c \"$1\"";
    let program = env!("CARGO_BIN_EXE_refork");
    let (code, _, stderr) = output(Command::new("bash").args(["-c", script, program, &path]));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("cannot keep the users"), "{stderr}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "node: {{ data_dir: \"{}\" }}\nlisten: [\"udp://127.0.0.1:0\"]\nadmin: {{ listen: \"{address}\" }}\n",
        directory.path().display()
    );
    let path = write(directory.path(), "refork.yaml", &text);
    let (code, _, stderr) = output(refork().args(["run", "-c", &path]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&address.to_string()), "{stderr}");
    assert!(stderr.contains("error: "), "{stderr}");
}
