//! A kill at every point of an attended transfer whose calls are both ours: of each thing that is done, sent or
//! stored, the process dies right after it, and starts anew from what the store has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use refork::engine::mint::{ShardKey, hash_shard};
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::attended::{consulting_under, naming};
use crate::people::*;
use crate::table::*;
use crate::transfer::*;

/// The two calls, as the phones know them.
struct Calls {
    alice: Remote,
    bob: Remote,
    consulting: Remote,
    carol: Remote,
    /// Call-IDs of the dialogs that have not ended for their phones.
    up: BTreeSet<String>,
    /// The highest CSeq that came in each.
    numbers: BTreeMap<String, u32>,
    /// The REFER was taken.
    accepted: bool,
    /// What has reached somebody.
    heard: Vec<(SocketAddr, String)>,
}

fn both(t: &mut Table, second: &str) -> Calls {
    t.register("bob", desk(), "desk");
    t.register("carol", carol(), "carol");
    let (alice, bob) = t.established();
    let (consulting, carol) = consulting_under(t, second);
    let all = [&alice, &bob, &consulting, &carol];
    Calls {
        up: all.iter().map(|dialog| dialog.call_id.clone()).collect(),
        numbers: BTreeMap::new(),
        accepted: false,
        heard: Vec::new(),
        alice,
        bob,
        consulting,
        carol,
    }
}

impl Calls {
    /// Phones answer what they get, until nothing comes any more.
    fn answer(&mut self, t: &mut Table, phones: &[SocketAddr]) {
        let next = |t: &mut Table| phones.iter().find_map(|at| Some((*at, t.any_to(*at)?)));
        while let Some((at, message)) = next(t) {
            if message.is_request() {
                self.answer_one(t, at, &message);
            } else if *message.method() == Method::Refer {
                self.accepted |= message.status() == 202;
            }
        }
    }

    fn answer_one(&mut self, t: &mut Table, at: SocketAddr, request: &Message) {
        let known = self.up.contains(request.call_id());
        let latest = self
            .numbers
            .entry(request.call_id().to_owned())
            .or_default();
        let stale = request.cseq() < *latest;
        *latest = request.cseq().max(*latest);
        match request.method() {
            Method::Ack => {}
            _ if !known => t.reply(request, 481, at),
            // RFC 3261 12.2.2: as a phone does; it does not hear it.
            _ if stale => t.reply(request, 500, at),
            Method::Bye => {
                self.up.remove(request.call_id());
                t.reply(request, 200, at);
            }
            Method::Invite => {
                let ok = response(request, 200, at, "x1");
                t.receive(at, with_sdp(ok, &sdp(at, request.cseq(), "sendrecv")));
            }
            Method::Message => {
                self.heard.push((at, text(request)));
                t.reply(request, 200, at);
            }
            _ => t.reply(request, 200, at),
        }
    }

    fn answer_all(&mut self, t: &mut Table) {
        self.answer(t, &[alice(), desk(), carol()]);
    }

    /// Bob's phone hangs up both calls, and says so again where nobody hears it.
    fn bob_leaves(&mut self, t: &mut Table) -> Vec<bytes::Bytes> {
        let byes = [&mut self.consulting, &mut self.bob].map(|dialog| {
            let bye = dialog.request(Method::Bye).end();
            t.receive(desk(), bye.clone());
            bye
        });
        self.up.remove(&self.consulting.call_id);
        self.up.remove(&self.bob.call_id);
        byes.into()
    }

    /// What one says the other hears, and nobody else.
    fn talk(&mut self, t: &mut Table, from: Who, to: SocketAddr) {
        self.heard.clear();
        let dialog = match from {
            Who::Alice => &mut self.alice,
            Who::Bob => &mut self.bob,
            Who::Consulting => &mut self.consulting,
            Who::Carol => &mut self.carol,
        };
        let message = dialog.message("hello");
        t.receive(dialog.at, message);
        self.answer_all(t);
        assert_eq!(self.heard, [(to, "hello".to_owned())]);
    }
}

enum Who {
    Alice,
    Bob,
    Consulting,
    Carol,
}

/// Returns false once so much is not done in all of it.
fn killed_after(point: usize, workers: u8, leaves: bool) -> bool {
    let worker = |call_id: &str| hash_shard(ShardKey::default(), call_id).0 % 2;
    let mut names = (2..).map(|n| format!("call{n}"));
    let second = names.find(|id| worker(id) != worker("call1")).unwrap();
    let mut t = match workers {
        1 => Table::new(settings()),
        _ => Table::of_two_workers(settings()),
    };
    let mut calls = both(&mut t, &second);
    t.lives_for = Some(point);
    let refer = refer(&mut calls.bob, &naming(&calls.consulting));
    t.receive(desk(), refer);
    calls.answer(&mut t, &[desk()]);
    let mut byes = Vec::new();
    if leaves && calls.accepted {
        byes = calls.bob_leaves(&mut t);
    }
    calls.answer_all(&mut t);
    let killed = t.lives_for == Some(0);
    t.restart();
    for bye in byes {
        t.receive(desk(), bye);
    }
    for _ in 0..60 {
        calls.answer_all(&mut t);
        t.pass(Millis::from_secs(1));
    }
    calls.answer_all(&mut t);
    let ends = [&calls.alice, &calls.carol].map(|dialog| dialog.call_id.clone());
    let joined = calls.up == BTreeSet::from(ends);
    assert!(
        joined || calls.up.len() == 4 && !calls.accepted,
        "{point}: {:?}",
        calls.up
    );
    if joined {
        calls.talk(&mut t, Who::Alice, carol());
        calls.talk(&mut t, Who::Carol, alice());
    } else {
        calls.talk(&mut t, Who::Alice, desk());
        calls.talk(&mut t, Who::Bob, alice());
        calls.talk(&mut t, Who::Carol, desk());
        calls.talk(&mut t, Who::Consulting, carol());
    }
    killed
}

fn at_every_point(workers: u8, leaves: bool) {
    let points = (0..).take_while(|point| killed_after(*point, workers, leaves));
    assert!(points.count() > 15);
}

#[test]
fn no_kill_leaves_anybody_alone() {
    at_every_point(1, false);
}

#[test]
fn no_kill_leaves_anybody_alone_where_the_transferor_is_gone() {
    at_every_point(1, true);
}

#[test]
fn no_kill_leaves_anybody_alone_over_workers() {
    at_every_point(2, false);
    at_every_point(2, true);
}
