//! The node itself and what its operators turn.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{Check, key};
use crate::config::file::{self, Advertise, AdvertiseTo, File, ListenAt, MediaAddress, Workers};
use crate::config::resolved::{
    AdminConfig, BanConfig, DnsConfig, Listener, LogConfig, LogFormat, RateConfig, TransportLimits,
};
use crate::engine::ids::{Transport, VIRTUAL_SHARDS};
use crate::engine::settings::{Latch, MediaMode, Reserve, Srtp, TimerSettings};
use crate::engine::time::Millis;

const NAME_MAX: usize = 64;

pub(super) fn node_name(file: &File, check: &mut Check<'_>) -> Box<str> {
    let Some(name) = &file.node.name else {
        return host_name();
    };
    if !is_name(name) {
        check.problem(
            &key("node.name"),
            format!("`{name}` is no name for a node"),
            "up to 64 letters, digits, dots, hyphens and underscores",
        );
    }
    name.as_str().into()
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn host_name() -> Box<str> {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| is_name(name))
        .unwrap_or_else(|| "refork".to_owned())
        .into()
}

pub(super) fn workers(file: &File) -> usize {
    match file.node.workers {
        Workers::Count(count) => count,
        Workers::Auto => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(usize::from(VIRTUAL_SHARDS)),
    }
}

/// Warns of a rate of which not every worker can have a part (`app::share`).
pub(super) fn warn_of_shares(file: &File, check: &mut Check<'_>) {
    let (rate, workers) = (file.restore.rate.0, workers(file));
    if rate < workers as u64 {
        check.warn(format!(
            "`restore.rate`: {rate}/s is {workers}/s with {workers} workers (`node.workers`), one for each"
        ));
    }
}

/// Returns where call records go: a file that is there, or can be begun in a folder that is.
pub(super) fn records(file: &File, directory: &Path, check: &mut Check<'_>) -> Option<PathBuf> {
    let path = directory.join(file.cdr.file.as_ref()?);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let what = if path.is_dir() {
        Some(format!("{} is a folder", path.display()))
    } else {
        let missing = folder.filter(|folder| !folder.is_dir());
        missing.map(|folder| format!("there is no folder {}", folder.display()))
    };
    if let Some(what) = what {
        let mend =
            "name a file in a folder that is there; the path is relative to the configuration file";
        check.key_problem(&key("cdr.file"), what, mend);
    }
    Some(path)
}

pub(super) fn timers(file: &File, check: &mut Check<'_>) -> TimerSettings {
    let timers = &file.timers;
    if timers.t2.0 < timers.t1.0 {
        check.problem(
            &key("timers.t2"),
            format!("t2 ({}) is shorter than t1 ({})", timers.t2, timers.t1),
            "retransmissions begin after t1 and are at most t2 apart",
        );
    }
    TimerSettings {
        t1: Millis(timers.t1.0),
        t2: Millis(timers.t2.0),
        t4: Millis(timers.t4.0),
    }
}

pub(super) fn media_mode(file: &File) -> MediaMode {
    match file.media.mode {
        // The latter has been refused.
        file::MediaMode::Relay | file::MediaMode::Rtpengine => MediaMode::Relay,
        file::MediaMode::Direct => MediaMode::Direct,
    }
}

pub(super) fn srtp(file: &File, listeners: &[Listener], check: &mut Check<'_>) -> Srtp {
    match file.media.srtp {
        file::Srtp::Off => Srtp::Off,
        file::Srtp::Optional => Srtp::Optional,
        file::Srtp::Required => {
            if !listeners.iter().any(|at| at.transport.is_secure()) {
                check.warn(
                    "`media.srtp: required` without a listener for TLS: \
                     whoever can read the signalling has the keys",
                );
            }
            Srtp::Required
        }
    }
}

pub(super) fn latch(file: &File) -> Latch {
    match file.media.latch {
        file::Latch::Signalling => Latch::Signalling,
        file::Latch::Sdp => Latch::Sdp,
    }
}

pub(super) fn reserve(file: &File, check: &mut Check<'_>) -> Reserve {
    let reserve = &file.media.reserve;
    let (standing, known) = (reserve.restorations.0, reserve.users.0);
    if known < standing && check.is_set(&key("media.reserve.users")) {
        check.problem(
            &key("media.reserve.users"),
            format!("{known} is less than `media.reserve.restorations` ({standing})"),
            "it is the share that strangers leave to users and restorations together",
        );
    }
    Reserve { standing, known }
}

/// Pairs of media ports of one call that is restored.
const CALL_PAIRS: usize = 3;

/// `auto` follows what is told of the signalling, for the relay stands at the same address.
pub(super) fn media_address(
    file: &File,
    listeners: &[Listener],
    check: &mut Check<'_>,
) -> Option<IpAddr> {
    let ports = file.media.ports;
    if file.media.mode == file::MediaMode::Relay {
        for listener in listeners {
            let port = listener.at.port();
            if listener.transport == Transport::Udp && (ports.first..=ports.last).contains(&port) {
                check.warn(format!(
                    "the listener at udp://{} lies within `media.ports` ({ports}): its pair cannot \
                     carry media",
                    listener.at
                ));
            }
        }
    }
    let pairs = usize::from(ports.last.saturating_sub(ports.first) + 1) / 2;
    if file.media.mode == file::MediaMode::Relay && pairs < CALL_PAIRS {
        check.warn(format!(
            "`media.ports` ({ports}) is {pairs} of the pairs of which a call takes two, and a third while its lost \
             phone is sought: name more"
        ));
    }
    match (file.media.address, &file.advertise) {
        (MediaAddress::Ip(ip), _) => Some(ip),
        (MediaAddress::Auto, Advertise::Text(AdvertiseTo::Address(ip, _))) => Some(*ip),
        (MediaAddress::Auto, Advertise::Text(AdvertiseTo::Auto) | Advertise::Map(_)) => None,
    }
}

pub(super) fn limits(file: &File) -> TransportLimits {
    let limits = &file.limits;
    TransportLimits {
        message_size: count(limits.message_size.0),
        receive_buffer: count(limits.receive_buffer.0),
        connections: count(limits.connections.0),
        connections_per_ip: count(limits.connections_per_ip.0),
        idle: Duration::from_millis(limits.idle.0),
        first_message: Duration::from_millis(limits.first_message.0),
        header_timeout: Duration::from_millis(limits.header_timeout.0),
        keepalive: Duration::from_millis(file.nat.keepalive.0),
    }
}

pub(super) fn dns(file: &File) -> DnsConfig {
    let dns = &file.dns;
    DnsConfig {
        servers: dns.servers.iter().map(|server| server.0).collect(),
        timeout: Duration::from_millis(dns.timeout.0),
        attempts: count(dns.attempts.0),
    }
}

pub(super) fn rate(file: &File) -> RateConfig {
    let rate = &file.limits.requests_per_ip;
    RateConfig {
        per_second: number(rate.rate.0),
        burst: number(rate.burst.0),
    }
}

pub(super) fn bans(file: &File) -> BanConfig {
    BanConfig {
        after: number(file.bans.after.0),
        within: Duration::from_millis(file.bans.within.0),
        duration: Duration::from_millis(file.bans.duration.0),
    }
}

fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(super) fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(super) fn admin(file: &File, check: &mut Check<'_>) -> AdminConfig {
    let listen = file.admin.listen.0;
    match &file.admin.token {
        None if !listen.ip().is_loopback() => check.problem(
            &key("admin.listen"),
            format!("{listen} is not on loopback, and there is no token"),
            "set `admin.token`, or listen on 127.0.0.1",
        ),
        Some(token) if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) => check
            .problem(
                &key("admin.token"),
                "this is no token",
                "visible ASCII characters without spaces; `openssl rand -hex 16` makes one",
            ),
        None | Some(_) => {}
    }
    check_taken(listen, check);
    AdminConfig {
        listen,
        token: file.admin.token.clone(),
    }
}

/// A listener for connections may have the port already; UDP is another matter.
fn check_taken(listen: SocketAddr, check: &mut Check<'_>) {
    let same_place = |at: SocketAddr| {
        let all = at.ip().is_unspecified() || listen.ip().is_unspecified();
        at.port() == listen.port()
            && at.is_ipv4() == listen.is_ipv4()
            && (all || at.ip() == listen.ip())
    };
    let streams = check
        .listeners
        .iter()
        .filter(|one| one.transport != Transport::Udp);
    let taken = streams
        .map(|one| ListenAt {
            transport: one.transport,
            at: one.at,
        })
        .find(|one| listen.port() != 0 && same_place(one.at));
    if let Some(other) = taken {
        check.problem(
            &key("admin.listen"),
            format!("{listen} is taken by the listener {other}"),
            "another port, as 127.0.0.1:8080",
        );
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn log(file: &File, check: &mut Check<'_>) -> LogConfig {
    let level = &file.log.level;
    // A filter takes an unknown word for a module's name, and then logs nothing else.
    let bare_words_are_levels = level
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains(['=', '[']))
        .all(|part| LEVELS.contains(&part.to_ascii_lowercase().as_str()));
    if !bare_words_are_levels || EnvFilter::try_new(level).is_err() {
        check.problem(
            &key("log.level"),
            format!("`{level}` is no level"),
            "off, error, warn, info, debug or trace; or by module: info,refork::observe=debug",
        );
    }
    LogConfig {
        level: level.clone(),
        format: match file.log.format {
            file::LogFormat::Text => LogFormat::Text,
            file::LogFormat::Json => LogFormat::Json,
        },
    }
}
