//! Who is registered where: one map for all shards, with an index by expiry and one by flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::{DashMap, Entry};

use crate::engine::endpoint::Binding;
use crate::engine::ids::{Aor, Flow, ListenerId, Transport};
use crate::engine::mint::hash64;
use crate::engine::time::Time;

/// AORs returned by one look for expired ones: a storm is worked off in parts.
const EXPIRED_MAX: usize = 256;

/// So many lines of a phone are looked at for what it does with its flow.
const SHARING_MAX: usize = 8;

type ByExpiry = BTreeSet<(Time, Aor)>;
/// Whose bindings name a flow, and how many of each. Many phones are behind one edge: nothing here takes longer for
/// every one of them.
type ByFlow = BTreeMap<Flow, BTreeMap<Aor, usize>>;

/// Bindings by AOR. The act of a change runs while its AOR is locked, so it must be short, and must not
/// look into the map.
pub struct Bindings {
    by_aor: DashMap<Aor, Vec<Binding>>,
    count: AtomicUsize,
    /// By worker: each AOR's earliest expiry, for the worker that its hash names.
    by_expiry: Box<[Mutex<ByExpiry>]>,
    /// By worker: whose bindings name a flow, for the worker that the hash of its peer names.
    by_flow: Box<[Mutex<ByFlow>]>,
}

impl Bindings {
    /// Makes an empty map for a number of workers.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            by_aor: DashMap::new(),
            count: AtomicUsize::new(0),
            by_expiry: (0..workers).map(|_| Mutex::default()).collect(),
            by_flow: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Returns how many bindings there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the bindings of an AOR.
    pub fn of(&self, aor: &Aor) -> Vec<Binding> {
        self.by_aor
            .get(aor)
            .map_or_else(Vec::new, |held| held.clone())
    }

    /// Returns up to `limit` bindings in the order of AORs.
    pub fn list(&self, limit: usize) -> Vec<(Aor, Binding)> {
        let mut aors: Vec<_> = self.by_aor.iter().map(|held| held.key().clone()).collect();
        aors.sort_unstable();
        aors.into_iter()
            .flat_map(|aor| {
                let bindings = self.of(&aor);
                bindings.into_iter().map(move |held| (aor.clone(), held))
            })
            .take(limit)
            .collect()
    }

    /// Changes the bindings of an AOR as one act.
    pub fn change(&self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>)) {
        match self.by_aor.entry(aor.clone()) {
            Entry::Occupied(mut held) => {
                let old = Marks::of(held.get());
                act(held.get_mut());
                self.index(aor, &old, &Marks::of(held.get()));
                if held.get().is_empty() {
                    held.remove();
                }
            }
            Entry::Vacant(free) => {
                let mut bindings = Vec::new();
                act(&mut bindings);
                self.index(aor, &Marks::of(&[]), &Marks::of(&bindings));
                if !bindings.is_empty() {
                    free.insert(bindings);
                }
            }
        }
    }

    /// Returns AORs of a worker's part whose earliest binding expires at or before `now`, the earliest
    /// first; not all where there are many. They are returned again until they are changed.
    pub fn expired(&self, worker: usize, now: Time) -> Vec<Aor> {
        lock(&self.by_expiry[worker])
            .iter()
            .take_while(|(expires, _)| *expires <= now)
            .take(EXPIRED_MAX)
            .map(|(_, aor)| aor.clone())
            .collect()
    }

    /// Returns true where a binding names the flow.
    pub fn names(&self, flow: &Flow) -> bool {
        lock(self.flows(flow)).contains_key(flow)
    }

    /// Returns up to `limit` AORs with a binding that names the flow.
    pub fn over(&self, flow: &Flow, limit: usize) -> Vec<Aor> {
        let flows = lock(self.flows(flow));
        let aors = flows.get(flow).into_iter().flat_map(BTreeMap::keys);
        aors.take(limit).cloned().collect()
    }

    /// Returns true where a phone that is connected to us was asked by a Flow-Timer to keep the flow alive
    /// (RFC 5626 4.4).
    pub fn keeps(&self, flow: &Flow) -> bool {
        let own = |binding: &Binding| {
            let ours = binding.token.is_none() && binding.endpoint.path.is_empty();
            ours && binding.timed && binding.endpoint.flow.as_ref() == Some(flow)
        };
        let mut over = self.over(flow, SHARING_MAX).into_iter();
        over.any(|aor| self.of(&aor).iter().any(own))
    }

    /// Returns how many flows a worker keeps alive.
    pub fn flows_of(&self, worker: usize) -> usize {
        lock(&self.by_flow[worker]).len()
    }

    /// Returns up to `limit` UDP flows of a worker's part that come after `last`, in their order.
    pub fn udp_flows(&self, worker: usize, last: Option<Flow>, limit: usize) -> Vec<Flow> {
        let first = Flow {
            transport: Transport::Udp,
            listener: ListenerId(0),
            peer: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            connection: None,
        };
        let from = last.map_or(Bound::Included(first), Bound::Excluded);
        lock(&self.by_flow[worker])
            .range((from, Bound::Unbounded))
            .map(|(flow, _)| *flow)
            .take_while(|flow| flow.transport == Transport::Udp)
            .take(limit)
            .collect()
    }

    fn flows(&self, flow: &Flow) -> &Mutex<ByFlow> {
        let hash = hash64(flow.peer) as usize;
        &self.by_flow[hash % self.by_flow.len()]
    }

    fn index(&self, aor: &Aor, old: &Marks, new: &Marks) {
        if old.expires != new.expires {
            let hash = hash64(aor) as usize;
            let mut by_expiry = lock(&self.by_expiry[hash % self.by_expiry.len()]);
            if let Some(expires) = old.expires {
                by_expiry.remove(&(expires, aor.clone()));
            }
            if let Some(expires) = new.expires {
                by_expiry.insert((expires, aor.clone()));
            }
        }
        self.count.fetch_add(new.count, Ordering::Relaxed);
        self.count.fetch_sub(old.count, Ordering::Relaxed);
        if old.flows == new.flows {
            return;
        }
        for flow in &new.flows {
            let mut flows = lock(self.flows(flow));
            let aors = flows.entry(*flow).or_default();
            *aors.entry(aor.clone()).or_default() += 1;
        }
        for flow in &old.flows {
            let mut flows = lock(self.flows(flow));
            if let Some(aors) = flows.get_mut(flow) {
                if let Some(named) = aors.get_mut(aor) {
                    *named -= 1;
                    if *named == 0 {
                        aors.remove(aor);
                    }
                }
                if aors.is_empty() {
                    flows.remove(flow);
                }
            }
        }
    }
}

/// What the indices know of an AOR's bindings.
struct Marks {
    count: usize,
    expires: Option<Time>,
    flows: Vec<Flow>,
}

impl Marks {
    fn of(bindings: &[Binding]) -> Self {
        Self {
            count: bindings.len(),
            expires: bindings.iter().map(|binding| binding.expires).min(),
            flows: bindings.iter().filter_map(|b| b.endpoint.flow).collect(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::endpoint::{Endpoint, Identity};

    pub(crate) fn binding(port: u16, expires: u64) -> Binding {
        Binding {
            endpoint: Endpoint {
                identity: Identity::Instance("urn:uuid:1".into()).into(),
                contact: "sip:a@127.0.0.1".into(),
                flow: Some(flow(port)),
                path: Vec::new(),
                through: None,
                name: "a".into(),
            },
            reg_id: None,
            q: 1000,
            expires: Time(expires),
            call_id: "c".into(),
            cseq: 1,
            user_agent: "".into(),
            params: "".into(),
            allow: "".into(),
            registered: Time(0),
            token: None,
            gruu: None,
            timed: false,
        }
    }

    fn flow(port: u16) -> Flow {
        Flow {
            transport: Transport::Udp,
            listener: ListenerId(0),
            peer: ([127, 0, 0, 1], port).into(),
            connection: None,
        }
    }

    pub(crate) fn aor(user: &str) -> Aor {
        Aor::from_canonical(format!("sip:{user}@example.org"))
    }

    /// Over all workers.
    fn expired(bindings: &Bindings, now: u64) -> BTreeSet<Aor> {
        (0..bindings.by_expiry.len())
            .flat_map(|worker| bindings.expired(worker, Time(now)))
            .collect()
    }

    #[test]
    fn indices_follow_the_map_and_end_empty() {
        let bindings = Bindings::new(3);
        let (a, b) = (aor("a"), aor("b"));
        bindings.change(&a, &mut |held| {
            held.extend([binding(1, 50), binding(2, 20)]);
        });
        bindings.change(&b, &mut |held| held.push(binding(1, 30)));
        assert_eq!(bindings.count(), 3);
        assert_eq!(bindings.list(2).len(), 2);
        assert!(expired(&bindings, 19).is_empty());
        assert_eq!(expired(&bindings, 20), BTreeSet::from([a.clone()]));
        assert_eq!(
            expired(&bindings, 30),
            BTreeSet::from([a.clone(), b.clone()])
        );
        bindings.change(&a, &mut |held| held.retain(|b| b.expires > Time(20)));
        assert_eq!(expired(&bindings, 30), BTreeSet::from([b.clone()]));
        assert!(bindings.names(&flow(1)) && !bindings.names(&flow(2)));
        let over: BTreeSet<Aor> = bindings.over(&flow(1), 8).into_iter().collect();
        assert_eq!(over, BTreeSet::from([a.clone(), b.clone()]));
        assert_eq!(bindings.over(&flow(1), 1).len(), 1);
        assert!(bindings.over(&flow(2), 8).is_empty());
        bindings.change(&a, &mut Vec::clear);
        assert!(bindings.names(&flow(1)), "b still names it");
        bindings.change(&b, &mut Vec::clear);
        assert!(!bindings.names(&flow(1)));
        bindings.change(&b, &mut |_| {});
        assert_eq!(bindings.count(), 0);
        assert!(bindings.by_aor.is_empty());
        assert!(expired(&bindings, u64::MAX).is_empty());
        assert!((0..3).all(|worker| bindings.flows_of(worker) == 0));
    }

    #[test]
    fn a_flow_that_many_phones_share_is_named_by_each() {
        let bindings = Bindings::new(1);
        let phones = 5_000;
        let mut aors: Vec<_> = (0..phones).map(|n| aor(&format!("{n:06}"))).collect();
        for aor in &aors {
            bindings.change(aor, &mut |held| held.extend([binding(1, 9), binding(1, 9)]));
        }
        assert_eq!(bindings.over(&flow(1), 2), aors[..2]);
        for aor in aors.iter().rev() {
            bindings.change(aor, &mut |held| held.truncate(1));
        }
        assert_eq!(bindings.over(&flow(1), phones), aors, "one of each is left");
        let last = aors.remove(0);
        for aor in aors.iter().rev() {
            bindings.change(aor, &mut Vec::clear);
        }
        assert_eq!(bindings.over(&flow(1), 8), std::slice::from_ref(&last));
        bindings.change(&last, &mut Vec::clear);
        assert!(!bindings.names(&flow(1)));
    }

    #[test]
    fn udp_flows_are_gone_through_in_parts() {
        let bindings = Bindings::new(2);
        let mut over_tcp = binding(9, 10);
        over_tcp.endpoint.flow = Some(Flow {
            transport: Transport::Tcp,
            ..flow(9)
        });
        bindings.change(&aor("a"), &mut |held| {
            held.extend((1..=5).map(|port| binding(port, 10)));
            held.push(over_tcp.clone());
        });
        let mut seen = BTreeSet::new();
        for worker in 0..2 {
            let mut last = None;
            loop {
                let part = bindings.udp_flows(worker, last, 2);
                assert!(part.len() <= 2);
                let Some(newest) = part.last() else { break };
                last = Some(*newest);
                seen.extend(part);
            }
        }
        assert_eq!(seen, (1..=5).map(flow).collect());
    }
}
