//! A server with short timers, and phones that are registered with it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use refork::app::{self, Server};
use refork::config::{self, Config};
use refork::engine::ids;
use refork::sip::Method;
use refork::ua::{
    Burst, Call, Ending, Ladder, Log, Medium, Phase, Phone, Profile, Reaction, Transport, What,
};

use crate::metrics;

/// An event that needs no timer but for retransmissions.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// An event that needs detection, ringing and perhaps a few retries.
pub(crate) const LATER: Duration = Duration::from_secs(15);
/// Transactions live for 64 times T1 (50 ms) and a little more.
const DRAINED_WITHIN: Duration = Duration::from_secs(15);
pub(crate) const PASSWORD: &str = "correct horse";

/// Timers as short as they may be, so that the whole set takes less than a minute.
const CONFIG: &str = r#"
node: { name: stage, workers: 2 }
listen:
  - udp://127.0.0.1:0
  - tcp://127.0.0.1:0
  - udp://[::1]:0
  - tcp://[::1]:0
domains:
  example.org: { realm: example.org, registrar: { min_expires: 1s } }
users:
  sip:alice@example.org: { password: correct horse }
  sip:bob@example.org: { password: correct horse }
  sip:carol@example.org: { password: correct horse }
endpoints:
  - { instance: "urn:uuid:00000000-0000-1000-8000-00000000000d", name: "Bob's desk phone" }
  - { instance: "urn:uuid:00000000-0000-1000-8000-00000000000e", name: "Bob's mobile" }
detect:
  grace: 300ms
  probe: { interval: 15s, timeout: 300ms, tries: 2 }
  media: { silence: 500ms }
restore:
  same_first_for: { audio: 500ms, message: 500ms }
  retry: { first: 100ms, factor: 2, max: 500ms, jitter: 0.2 }
  timeout: 20s
messages: { suspect_after: 500ms }
timers: { t1: 50ms, t2: 200ms, t4: 200ms }
admin: { listen: "127.0.0.1:0" }
"#;

/// Prints its ladder where a test fails.
pub(crate) struct Stage {
    pub(crate) log: Log,
    server: Server,
    phones: Mutex<Vec<Phone>>,
    /// Phones that register nowhere.
    servers: Mutex<Vec<Phone>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// Starts a server with some settings changed.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config::parse(CONFIG, "scenario", &|_| None).unwrap();
        change(&mut config);
        Self {
            log: Log::start(),
            server: app::start(config).unwrap(),
            phones: Mutex::new(Vec::new()),
            servers: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn sip(&self, transport: Transport, v6: bool) -> SocketAddr {
        let wanted = match transport {
            Transport::Udp => ids::Transport::Udp,
            Transport::Tcp => ids::Transport::Tcp,
            Transport::Tls => ids::Transport::Tls,
            Transport::Ws => ids::Transport::Ws,
            Transport::Wss => ids::Transport::Wss,
        };
        let all = self.server.sip_addresses();
        let found = all
            .iter()
            .find(|(transport, at)| *transport == wanted && at.is_ipv6() == v6);
        found.unwrap().1
    }

    /// Returns the last listener of the configuration.
    pub(crate) fn last_sip(&self) -> SocketAddr {
        self.server.sip_addresses().last().unwrap().1
    }

    /// Returns the UDP listener on an address.
    pub(crate) fn sip_at(&self, ip: IpAddr) -> SocketAddr {
        let all = self.server.sip_addresses();
        let mut found = all.iter().map(|(_, at)| *at);
        found.find(|at| at.ip() == ip).unwrap()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.admin_address()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let samples = metrics::scrape(self.server.admin_address());
        let found = samples.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no metric {name}")).1
    }

    /// Waits until a gauge shows this much.
    pub(crate) fn wait_metric(&self, name: &str, wanted: f64) {
        let ends = self.log.now() + SOON;
        loop {
            let shown = self.metric(name);
            if shown == wanted {
                return;
            }
            assert!(self.log.now() < ends, "{name} is {shown}, not {wanted}");
            pause();
        }
    }

    /// Switches on a phone over UDP and registers it.
    pub(crate) fn phone(&self, label: &str) -> Phone {
        self.phone_with(label, |_| ())
    }

    /// Switches on a phone; the first word of its label names its user.
    pub(crate) fn phone_with(&self, label: &str, change: impl FnOnce(&mut Profile)) -> Phone {
        let user = label.split('-').next().unwrap();
        let mut profile = Profile::new(label, user, "example.org", self.sip(Transport::Udp, false));
        profile.password = PASSWORD.to_owned();
        // Without an instance this is what tells it from others on the same host.
        profile.user_agent = format!("{label}/1");
        profile.t1 = Duration::from_millis(100);
        change(&mut profile);
        let phone = Phone::start(profile, &self.log).unwrap();
        assert_eq!(phone.register().unwrap(), 200, "{label} registers");
        self.keep(&phone);
        phone
    }

    /// Switches on a phone that stands for a server: it registers nowhere.
    pub(crate) fn server(&self, label: &str, transport: Transport, v6: bool) -> Phone {
        let at = self.sip(transport, v6);
        self.stranger(label, |profile| {
            profile.domain = "example.net".into();
            profile.server = at;
            profile.transport = transport;
        })
    }

    /// Switches on a phone that knows no password, and does not register.
    pub(crate) fn stranger(&self, label: &str, change: impl FnOnce(&mut Profile)) -> Phone {
        let at = self.sip(Transport::Udp, false);
        let mut profile = Profile::new(label, label, "example.org", at);
        profile.t1 = Duration::from_millis(100);
        change(&mut profile);
        let phone = Phone::start(profile, &self.log).unwrap();
        self.servers.lock().unwrap().push(phone.clone());
        phone
    }

    /// Bob's phones with the names that the server has for them.
    pub(crate) fn desk(&self) -> Phone {
        self.phone_with("bob-desk", |profile| {
            profile.instance = Some("urn:uuid:00000000-0000-1000-8000-00000000000d".into());
        })
    }

    pub(crate) fn mobile(&self) -> Phone {
        self.phone_with("bob-mobile", |profile| {
            profile.instance = Some("urn:uuid:00000000-0000-1000-8000-00000000000e".into());
        })
    }

    /// Switches a killed phone on again.
    pub(crate) fn restart(&self, phone: &Phone) -> Phone {
        let again = phone.restarted().unwrap();
        self.keep(&again);
        again
    }

    fn keep(&self, phone: &Phone) {
        self.phones.lock().unwrap().push(phone.clone());
    }

    /// Ends a test: nothing rings or stands any more at a phone that lives, and nothing is left in the
    /// server once the phones have gone too.
    pub(crate) fn finish(self) {
        self.finish_refused(0);
    }

    /// The same, where somebody who is no phone of this stage has refused so many INVITEs.
    pub(crate) fn finish_refused(self, by_others: usize) {
        let phones = self.phones.lock().unwrap().clone();
        let mut users = BTreeMap::new();
        for server in &*self.servers.lock().unwrap() {
            for call in server.all_calls() {
                if server.is_awake() {
                    assert!(
                        call.wait_over(SOON).is_ok(),
                        "{} has a call left",
                        server.label()
                    );
                }
            }
        }
        for phone in &phones {
            if !phone.is_awake() {
                let again = self.take_the_place_of(phone);
                users.entry(again.profile().user.clone()).or_insert(again);
                continue;
            }
            for call in phone.all_calls() {
                let over = call.wait_over(SOON);
                let (label, phase) = (phone.label(), call.phase());
                assert!(over.is_ok(), "{label} has a call left: {phase:?}");
            }
            users.insert(phone.profile().user.clone(), phone.clone());
        }
        for phone in users.values() {
            assert_eq!(phone.unregister_all().unwrap(), 200);
        }
        let refused = self.refusals() + by_others;
        self.wait_drained(DRAINED_WITHIN, |name, value| {
            let of_refusals =
                name == "refork_timers" || name == "refork_transactions{role=\"client\"}";
            of_refusals && value <= refused as f64
        });
    }

    /// Waits until the gauges are zero, but for what is allowed to be left.
    pub(crate) fn wait_drained(&self, within: Duration, allowed: impl Fn(&str, f64) -> bool) {
        let admin = self.server.admin_address();
        let ends = self.log.now() + within;
        loop {
            let mut left = metrics::left_over(admin);
            left.retain(|(name, value)| !allowed(name, *value));
            if left.is_empty() {
                break;
            }
            assert!(self.log.now() < ends, "left over: {left:#?}");
            pause();
        }
    }

    /// Counts the INVITEs that phones refused: for 32 s, whatever T1 is, each may come back
    /// (RFC 3261 17.1.1.2, timer D).
    pub(crate) fn refusals(&self) -> usize {
        let entries = self.log.entries();
        let refusals = entries.iter().filter(|entry| match &entry.what {
            What::Sent { message, .. } => {
                !entry.again && *message.method() == Method::Invite && message.status() >= 300
            }
            What::Received { .. } | What::Killed | What::Frozen | What::Thawed | What::Note(_) => {
                false
            }
        });
        refusals.count()
    }

    /// Switches a dead phone on once more, to speak to the registrar in its user's name.
    fn take_the_place_of(&self, phone: &Phone) -> Phone {
        phone.kill();
        phone.restarted().unwrap()
    }

    fn ladder(&self) -> String {
        let mut phones = self.phones.lock().unwrap().clone();
        phones.extend(self.servers.lock().unwrap().iter().cloned());
        let mut labels: Vec<&str> = phones.iter().map(Phone::label).collect();
        labels.dedup();
        let calls: Vec<Call> = phones.iter().flat_map(Phone::all_calls).collect();
        Ladder::new(&labels, "refork", 30 + 24 * labels.len())
            .entries(&self.log.entries())
            .bursts(calls.iter().flat_map(Burst::of))
            .draw(Duration::ZERO)
    }
}

impl Drop for Stage {
    #[expect(
        clippy::print_stdout,
        reason = "the harness shows it where the test fails, or where it is asked to"
    )]
    fn drop(&mut self) {
        println!("{}", self.ladder());
    }
}

/// Waits a moment between two looks at something that tells nobody when it changes.
pub(crate) fn pause() {
    let (_held, never) = channel::<()>();
    let waited = never.recv_timeout(Duration::from_millis(50));
    assert_eq!(waited, Err(RecvTimeoutError::Timeout));
}

/// How a phone is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
}

impl Loss {
    pub(crate) fn happens_to(self, phone: &Phone) {
        match self {
            Self::Kill => phone.kill(),
            Self::Freeze => phone.freeze(),
        }
    }

    /// The lost phone is there again while it is sought: switched on and registered anew, or thawed with
    /// all that it knew.
    pub(crate) fn comes_back(self, stage: &Stage, phone: &Phone) -> Phone {
        match self {
            Self::Kill => {
                let again = stage.restart(phone);
                answers(&again);
                assert_eq!(again.register().unwrap(), 200);
                again
            }
            Self::Freeze => {
                stage.wait_metric("refork_conversations{state=\"restoring\"}", 1.0);
                phone.thaw();
                phone.clone()
            }
        }
    }

    /// The conversation goes on elsewhere, or is over: brought back to life, the lost phone finds no call
    /// left on it.
    pub(crate) fn is_over_for(self, phone: &Phone) {
        match self {
            // Whatever it held went with it.
            Self::Kill => {}
            Self::Freeze => {
                phone.thaw();
                for call in phone.all_calls() {
                    call.wait_over(SOON).unwrap();
                }
            }
        }
    }
}

/// Runs a test of a loss twice: as `killed` and as `frozen`.
macro_rules! killed_and_frozen {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            #[test]
            fn killed() {
                super::$test($crate::stage::Loss::Kill);
            }

            #[test]
            fn frozen() {
                super::$test($crate::stage::Loss::Freeze);
            }
        })*
    };
}
pub(crate) use killed_and_frozen;

/// Lets a phone answer by itself.
pub(crate) fn answers(phone: &Phone) {
    phone.script(|script| script.invite = Reaction::Answer(Duration::from_millis(50)));
}

/// Lets a phone ring.
pub(crate) fn rings(phone: &Phone) {
    phone.script(|script| script.invite = Reaction::Ring);
}

/// Calls and waits until both ends are up.
pub(crate) fn connect(caller: &Phone, callee: &Phone, medium: Medium) -> (Call, Call) {
    answers(callee);
    let call = caller.call(&callee.profile().aor(), medium).unwrap();
    let taken = callee.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    (call, taken)
}

/// Waits until each hears so much of the other.
pub(crate) fn talk(a: &Call, b: &Call) {
    for (hears, speaks) in [(a, b), (b, a)] {
        let voice = speaks.phone().profile().voice;
        let heard = hears.heard();
        let so_far = heard
            .iter()
            .filter(|packet| packet.payload.first() == Some(&voice));
        hears.wait_voice(voice, so_far.count() + 15, SOON).unwrap();
    }
}

/// Hangs up, and waits until the other end knows.
pub(crate) fn hang_up(who: &Call, other: &Call) {
    assert_eq!(who.hang_up().unwrap(), 200);
    assert_eq!(other.wait_over(SOON).unwrap(), Ending::HungUpThere);
}

/// Returns the requests that a phone received since, but for ACK.
pub(crate) fn requests_since(log: &Log, phone: &Phone, since: Duration) -> Vec<Method> {
    log.of(phone.label())
        .iter()
        .filter(|entry| entry.at >= since)
        .filter_map(|entry| entry.received())
        .filter(|message| message.is_request())
        .map(|message| message.method().clone())
        .filter(|method| *method != Method::Ack)
        .collect()
}

/// On the wire, the survivor has got so many MESSAGEs since, and no other request.
#[track_caller]
pub(crate) fn only_told(log: &Log, survivor: &Phone, since: Duration, messages: usize) {
    let seen = requests_since(log, survivor, since);
    assert_eq!(seen, vec![Method::Message; messages]);
}

/// Returns the calls of a phone that stand.
pub(crate) fn standing(phone: &Phone) -> usize {
    let calls = phone.all_calls();
    let standing = calls
        .iter()
        .filter(|call| !matches!(call.phase(), Phase::Over(_)));
    standing.count()
}
