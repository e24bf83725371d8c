//! Random REGISTERs against a model of what a registrar is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::Registrar;
use super::super::testing::{Book, START, aor, message, settings, udp};
use crate::engine::endpoint::{BindingChange, BindingsChanged, Identity};
use crate::engine::ports::World;
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Name};

const OPEN: &str = "sip:bob@open.example";
const MAX: usize = 3;

#[derive(Clone, Debug)]
enum Act {
    /// A phone binds itself, those with an instance under a Contact of that moment.
    Register {
        phone: usize,
        seconds: u64,
    },
    Remove {
        phone: usize,
    },
    RemoveAll,
    /// With the order of its last request.
    Late {
        phone: usize,
    },
    Wait {
        seconds: u64,
    },
    Sweep,
}

fn act() -> impl Strategy<Value = Act> {
    let phone = 0..6usize;
    prop_oneof![
        6 => (phone.clone(), 30..300u64)
            .prop_map(|(phone, seconds)| Act::Register { phone, seconds }),
        2 => phone.clone().prop_map(|phone| Act::Remove { phone }),
        1 => Just(Act::RemoveAll),
        1 => phone.prop_map(|phone| Act::Late { phone }),
        3 => (1..200u64).prop_map(|seconds| Act::Wait { seconds }),
        1 => Just(Act::Sweep),
    ]
}

/// What a binding is known by: even phones have an instance, odd ones a Contact.
fn key(identity: &Identity, contact: &str) -> String {
    match identity {
        Identity::Instance(instance) => instance.to_string(),
        Identity::Epid(_) | Identity::Contact { .. } => contact.to_string(),
    }
}

fn key_of(phone: usize) -> String {
    if phone.is_multiple_of(2) {
        format!("urn:x:{phone}")
    } else {
        format!("sip:phone{phone}@h{phone}")
    }
}

fn contact(phone: usize, turn: usize) -> String {
    if phone.is_multiple_of(2) {
        format!("<sip:phone{phone}-{turn}@h>;+sip.instance=\"<urn:x:{phone}>\"")
    } else {
        format!("<sip:phone{phone}@h{phone}>")
    }
}

/// The registrar, the model, and what another shard knows from what it was told.
struct Trial {
    registrar: Registrar,
    book: Book,
    now: Time,
    /// When each phone's binding ends.
    model: BTreeMap<String, Time>,
    told: BTreeMap<String, Time>,
}

impl Trial {
    fn send(&mut self, phone: usize, cseq: usize, lines: &str) -> u16 {
        let text = format!(
            "REGISTER sip:open.example SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\n\
             From: <{OPEN}>;tag=1\nTo: <{OPEN}>\nCall-ID: phone{phone}\n\
             CSeq: {cseq} REGISTER\n{lines}\n"
        );
        let flow = udp("192.0.2.1:5060");
        let done = self.registrar.register(
            &message(&text),
            &flow,
            self.now,
            &settings(),
            &mut self.book,
        );
        if done.status == 200 {
            self.check_shown(&Message::parse(done.response).unwrap());
        }
        self.hear(done.changed.as_slice());
        done.status
    }

    fn hear(&mut self, changed: &[BindingsChanged]) {
        for change in changed.iter().flat_map(|changed| &changed.changes) {
            match change {
                BindingChange::Registered { binding, .. } => {
                    let key = key(&binding.endpoint.identity, &binding.endpoint.contact);
                    self.told.insert(key, binding.expires);
                }
                BindingChange::Removed { binding, expired } => {
                    let key = key(&binding.endpoint.identity, &binding.endpoint.contact);
                    assert_eq!(*expired, binding.expires <= self.now);
                    assert_eq!(self.told.remove(&key), Some(binding.expires));
                }
            }
        }
    }

    /// The 200 shows what lives and how long it does.
    fn check_shown(&self, response: &Message) {
        let mut shown: Vec<String> = response
            .values(Name::Contact)
            .filter_map(|value| value.rsplit("expires=").next().map(str::to_owned))
            .collect();
        let bindings = self.book.bindings(&aor(OPEN));
        let mut left: Vec<String> = bindings
            .iter()
            .filter(|binding| binding.expires > self.now)
            .map(|binding| binding.expires.since(self.now).as_secs_ceil().to_string())
            .collect();
        shown.sort();
        left.sort();
        assert_eq!(shown, left);
    }

    fn check(&self) {
        let bindings = self.book.bindings(&aor(OPEN));
        let all: BTreeMap<String, Time> = bindings
            .iter()
            .map(|b| (key(&b.endpoint.identity, &b.endpoint.contact), b.expires))
            .collect();
        assert_eq!(all.len(), bindings.len(), "no phone twice");
        assert_eq!(all, self.told, "others know what there is");
        let live: BTreeMap<String, Time> = all
            .into_iter()
            .filter(|(_, ends)| *ends > self.now)
            .collect();
        assert_eq!(live, self.model);
        assert!(live.len() <= MAX);
    }

    fn live(&mut self) {
        let now = self.now;
        self.model.retain(|_, ends| *ends > now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn bindings_are_what_the_model_says(acts in prop::collection::vec(act(), 1..60)) {
        let mut trial = Trial {
            registrar: Registrar::new([3; 32], 0),
            book: Book::default(),
            now: START,
            model: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        // The turn at which each binding was last made is the CSeq it has.
        let mut made: BTreeMap<String, usize> = BTreeMap::new();
        for (turn, act) in acts.into_iter().enumerate() {
            let turn = turn + 1;
            trial.now = trial.now + Millis(1);
            trial.live();
            match act {
                Act::Register { phone, seconds } => {
                    let lines = format!("Contact: {};expires={seconds}", contact(phone, turn));
                    let status = trial.send(phone, turn, &lines);
                    let key = key_of(phone);
                    let fits = trial.model.contains_key(&key) || trial.model.len() < MAX;
                    prop_assert_eq!(status, if seconds < 60 { 423 } else { 200 });
                    if status == 200 {
                        let oldest = trial.model.keys().min_by_key(|known| made.get(*known));
                        if let Some(oldest) = oldest.filter(|_| !fits).cloned() {
                            trial.model.remove(&oldest);
                        }
                        trial.model.insert(key.clone(), trial.now + Millis::from_secs(seconds));
                        made.insert(key, turn);
                    }
                }
                Act::Remove { phone } => {
                    let lines = format!("Contact: {};expires=0", contact(phone, turn));
                    prop_assert_eq!(trial.send(phone, turn, &lines), 200);
                    trial.model.remove(&key_of(phone));
                }
                Act::RemoveAll => {
                    prop_assert_eq!(trial.send(0, turn, "Contact: *\nExpires: 0"), 200);
                    trial.model.clear();
                }
                Act::Late { phone } => {
                    let key = key_of(phone);
                    let cseq = made.get(&key).copied().unwrap_or(1);
                    if trial.model.contains_key(&key) {
                        let lines = format!("Contact: {};expires=0", contact(phone, turn));
                        prop_assert_eq!(trial.send(phone, cseq, &lines), 500);
                    }
                }
                Act::Wait { seconds } => {
                    trial.now = trial.now + Millis::from_secs(seconds);
                    trial.live();
                }
                Act::Sweep => {
                    let (changed, _) = trial.registrar.sweep(trial.now, &mut trial.book);
                    trial.hear(&changed);
                    prop_assert!(trial.book.expired(trial.now).is_empty());
                }
            }
            trial.check();
        }
    }
}
