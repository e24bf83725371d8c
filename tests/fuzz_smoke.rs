//! The fuzz targets of `fuzz/` for some seconds on stable Rust: the same mutations at every run.
//! `make fuzz` goes on from there, guided by coverage.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

#[path = "../fuzz/checks.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets use it too")]
mod checks;

#[path = "../fuzz/engine/mod.rs"]
#[allow(
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "the fuzz target uses it too; of what happens a few things are counted"
)]
mod engine;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// What breaks parsers.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n ",
    b"\t",
    b" ",
    b"\0",
    b"\xff",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"%",
    b"%00",
    b"@",
    b"=",
    b"?",
    b"[",
    b"]",
    b"[::1]",
    b"/",
    b"*",
    b"SIP/2.0",
    b"sip:",
    b"tel:",
    b"Via: ",
    b"v:",
    b"l: 0",
    b"Content-Length : 5",
    b"Content-Length:\r\n 3",
    b"-1",
    b"+1",
    b"65535",
    b"65536",
    b"2147483648",
    b"4294967296",
    b"18446744073709551615",
    b";branch=",
    b";tag=",
    b";rport",
    b"v=0\r\n",
    b"m=",
    b"c=IN IP4 ",
    b"a=",
    b"o=",
    b"m=audio 0 RTP/AVP 0\r\n",
    b"\"Digest ",
    b"nonce=\"",
    b"algorithm=",
];

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.one_of(corpus).clone();
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len() + 1);
        let to = at + random.below((bytes.len() - at).min(64) + 1);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                // The end of another one.
                let other = random.one_of(corpus);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 => {
                // One of a line's neighbours takes its place.
                let piece = random.one_of(PIECES);
                bytes.splice(at..to, piece.iter().copied());
            }
            _ => {
                let piece = random.one_of(PIECES);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn torture() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut files: Vec<_> = ["rfc4475", "rfc5118"]
        .iter()
        .flat_map(|rfc| std::fs::read_dir(root.join(rfc)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

type Check = fn(&[u8]);

fn run(check: Check, corpus: &[Vec<u8>], seed: u64, times: usize) {
    assert!(!corpus.is_empty());
    corpus.iter().for_each(|bytes| check(bytes));
    let mut random = Random(seed);
    for round in 0..times {
        let bytes = mutated(&mut random, corpus);
        if catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_err() {
            panic!("seed {seed:#x}, round {round}: {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn messages() {
    run(checks::message, &torture(), 0x5eed_0001, 40_000);
}

#[test]
fn streams() {
    let mut corpus = torture();
    // Several in one stream, behind the four bytes that say where it is cut.
    for at in 0..20 {
        let mut stream = vec![at as u8, 7, 200, 90];
        stream.extend(corpus[at..at + 3].concat());
        corpus.push(stream);
    }
    run(checks::stream, &corpus, 0x5eed_0002, 30_000);
}

#[test]
fn descriptions() {
    let mut corpus: Vec<Vec<u8>> = torture()
        .into_iter()
        .filter_map(|message| {
            let at = message.windows(5).position(|w| w == b"\r\nv=0")?;
            Some(message[at + 2..].to_vec())
        })
        .collect();
    assert!(corpus.len() > 10, "{}", corpus.len());
    let pairs: Vec<_> = corpus.windows(2).map(|pair| pair.join(&0)).collect();
    corpus.extend(pairs);
    run(checks::sdp, &corpus, 0x5eed_0003, 30_000);
}

#[test]
fn authentication() {
    let corpus = [
        "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\", stale=true",
        "Digest username=\"bob\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", algorithm=MD5, cnonce=\"c\", qop=auth-int, nc=00000001",
        "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256, qop=\"auth,auth-int\"",
    ];
    let corpus = corpus.map(|text| text.as_bytes().to_vec());
    run(checks::digest, &corpus, 0x5eed_0004, 20_000);
}

/// Inputs with a name: what a target begins with, and what once went wrong.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    inputs(&folder.join(target))
}

/// All files of a folder, smallest first.
fn inputs(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut inputs: Vec<_> = entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    inputs.sort_by_key(|input| (input.len(), input.clone()));
    inputs
}

const TARGETS: [(&str, Check); 9] = [
    ("message", checks::message),
    ("stream", checks::stream),
    ("sdp", checks::sdp),
    ("digest", checks::digest),
    ("rtcp", checks::rtcp),
    ("relay", into_the_relay),
    ("config", checks::config),
    ("engine", into_the_engine),
    ("stun", checks::stun),
];

fn all_pass(target: &str, check: Check, inputs: &[Vec<u8>]) {
    for bytes in inputs {
        let sound = catch_unwind(AssertUnwindSafe(|| check(bytes))).is_ok();
        assert!(sound, "{target}: {}", bytes.escape_ascii());
    }
}

#[test]
fn named_inputs() {
    for (target, check) in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        all_pass(target, check, &seeds);
    }
}

/// What coverage chose in the long runs. Of `engine`, where an input is hundreds of steps, every
/// sixteenth.
#[test]
fn kept_inputs() {
    for (target, check) in TARGETS {
        let kept = kept(target);
        assert!(kept.len() > 20, "{target}: {}", kept.len());
        if target == "engine" {
            let some: Vec<_> = kept.into_iter().step_by(16).collect();
            all_pass(target, check, &some);
        } else {
            all_pass(target, check, &kept);
        }
    }
}

/// The archive of a target, smallest first.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/kept/{target}.tar.gz"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{target}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&folder)
        .status();
    assert!(unpacked.unwrap().success(), "{}", archive.display());
    inputs(&folder)
}

#[test]
fn compound_rtcp() {
    run(checks::rtcp, &seeds("rtcp"), 0x5eed_0005, 60_000);
}

fn into_the_relay(bytes: &[u8]) {
    let _ = checks::relay(bytes);
}

/// Packets through a session, in the clear and under keys.
#[test]
fn packets() {
    let corpus = seeds("relay");
    let mut reached = refork::media::Passed::default();
    for bytes in &corpus {
        let passed = checks::relay(bytes);
        reached.forwarded += passed.forwarded;
        reached.opened += passed.opened;
        reached.filled += passed.filled;
    }
    // Without these the choices no longer reach what they are to try.
    let enough = reached.forwarded >= 40 && reached.opened >= 15 && reached.filled >= 10;
    assert!(enough, "{reached:?}");
    run(into_the_relay, &corpus, 0x5eed_000a, 20_000);
}

#[test]
fn configuration() {
    run(checks::config, &seeds("config"), 0x5eed_0006, 1_500);
}

fn into_the_engine(bytes: &[u8]) {
    let _ = engine::run(bytes);
}

/// Sequences of messages, answers, losses and time into the engine.
#[test]
fn conversations() {
    let mut random = Random(0x5eed_0007);
    let mut corpus = seeds("engine");
    for _ in 0..30 {
        let length = 200 + random.below(3000);
        corpus.push((0..length).map(|_| random.below(256) as u8).collect());
    }
    let mut reached = engine::Reached::new();
    for bytes in &corpus {
        for (what, times) in engine::run(bytes) {
            *reached.entry(what).or_default() += times;
        }
    }
    // Without these the choices no longer reach what they are to try.
    for (what, times) in [
        ("answered", 50),
        ("lost", 20),
        ("restored", 20),
        ("rebuilt", 5),
        ("keyed", 1),
        ("put off", 1),
        ("redirected", 1),
        ("transferred", 1),
        ("took an UPDATE", 5),
        ("sent a PRACK", 5),
        ("sent a NOTIFY", 5),
        ("carried a REGISTER", 5),
        ("challenged", 5),
        ("refused a timer", 1),
    ] {
        let reached = reached.get(what).copied().unwrap_or_default();
        assert!(reached >= times, "{what}: {reached}");
    }
    run(into_the_engine, &corpus, 0x5eed_0008, 60);
}

#[test]
fn stun() {
    let mut request = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    request.extend(1..=12);
    let bare = [&[0, 1, 0, 0], &request[4..]].concat();
    request.extend([0x80, 0x22, 0, 2, b'a', b'b', 0, 0, 0, 3, 0, 0]);
    run(checks::stun, &[bare, request], 0x5eed_0009, 20_000);
}
