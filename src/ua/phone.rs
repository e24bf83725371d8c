//! A phone as its user holds it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::sip::{Message, Name};

use super::UaError;
use super::agent::Agent;
use super::call::Call;
use super::description::Medium;
use super::dialog::Text;
use super::log::Log;
use super::net::Net;
use super::profile::{Profile, Script};
use super::request::Ticket;

/// The kernel counts milliseconds in 31 bits.
const SLEEP_MAX: Duration = Duration::from_secs(60);
const BELL: Token = Token(0);
/// A final response comes within 64 times T1 or never.
const RESPONSE_WITHIN: Duration = Duration::from_secs(35);

/// A phone on loopback. Cloning shares it; it is killed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Phone(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    agent: Mutex<Agent>,
    changed: Condvar,
    waker: Waker,
    log: Log,
    profile: Profile,
}

impl Phone {
    /// Switches a phone on: binds its sockets and starts its thread.
    pub fn start(profile: Profile, log: &Log) -> Result<Self, UaError> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), BELL)?;
        let registry = poll.registry().try_clone()?;
        let net = Net::bind(profile.transport, profile.address, registry)?;
        let shared = Arc::new(Shared {
            agent: Mutex::new(Agent::new(profile.clone(), log.clone(), net)),
            changed: Condvar::new(),
            waker,
            log: log.clone(),
            profile,
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name(format!("ua-{}", shared.profile.label))
            .spawn(move || live(poll, || weak.upgrade()))?;
        Ok(Self(shared))
    }

    /// Switches on a new phone of the same profile: what a restarted device is. It has other ports and,
    /// where the profile names one, the same instance.
    pub fn restarted(&self) -> Result<Self, UaError> {
        Self::start(self.0.profile.clone(), &self.0.log)
    }

    pub fn label(&self) -> &str {
        &self.0.profile.label
    }

    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// Returns where its SIP socket is bound.
    pub fn local(&self) -> SocketAddr {
        self.0.lock().local
    }

    /// Changes what it does by itself from now on.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().profile.script);
    }

    /// Registers, with digest where it is asked for. Returns the final status.
    pub fn register(&self) -> Result<u16, UaError> {
        let expires = self.0.profile.expires;
        self.register_for(expires)
    }

    /// Registers for so many seconds; 0 takes the binding away.
    pub fn register_for(&self, expires: u32) -> Result<u16, UaError> {
        let ticket = self.0.act(|agent| agent.register(expires))?;
        Ok(self.response(ticket, "REGISTER")?.status())
    }

    /// Takes all bindings of its user away, those of other phones too (RFC 3261 10.2.2).
    pub fn unregister_all(&self) -> Result<u16, UaError> {
        let ticket = self.0.act(Agent::unregister_all)?;
        Ok(self.response(ticket, "REGISTER")?.status())
    }

    /// Asks which Contacts its user has, and changes none (RFC 3261 10.2.3). Returns the final response.
    pub fn registered(&self) -> Result<Message, UaError> {
        let ticket = self.0.act(Agent::ask_registered)?;
        self.response(ticket, "REGISTER")
    }

    /// Returns true while it is neither killed nor frozen.
    pub fn is_awake(&self) -> bool {
        self.0.lock().check_awake().is_ok()
    }

    /// Calls somebody, by URI or as `"Name" <uri>`; the call goes on by itself.
    pub fn call(&self, to: &str, medium: Medium) -> Result<Call, UaError> {
        let index = self.0.act(|agent| agent.place(to, medium))?;
        Ok(Call::new(self.clone(), index))
    }

    /// Calls somebody with further headers in the INVITE.
    pub fn call_with(
        &self,
        to: &str,
        medium: Medium,
        headers: Vec<(Name, String)>,
    ) -> Result<Call, UaError> {
        let place = |agent: &mut Agent| agent.place_with(to, medium, headers);
        Ok(Call::new(self.clone(), self.0.act(place)?))
    }

    /// Waits for a call that nobody has taken by this method yet.
    pub fn incoming(&self, within: Duration) -> Result<Call, UaError> {
        let index = self.0.wait(within, "a call", |agent| {
            let index = agent.calls.iter().position(|call| !call.seen)?;
            agent.calls[index].seen = true;
            Some(index)
        })?;
        Ok(Call::new(self.clone(), index))
    }

    /// Returns how many calls it ever had, placed or taken.
    pub fn calls(&self) -> usize {
        self.0.lock().calls.len()
    }

    /// Returns every call it ever had, in order.
    pub fn all_calls(&self) -> Vec<Call> {
        (0..self.calls())
            .map(|index| Call::new(self.clone(), index))
            .collect()
    }

    /// Sends a text outside of any dialog (RFC 3428), and waits for what becomes of it.
    pub fn page(&self, to: &str, text: &str) -> Result<u16, UaError> {
        let ticket = self.0.act(|agent| agent.page(to, text))?;
        Ok(self.response(ticket, "MESSAGE")?.status())
    }

    /// Returns the texts that came outside of any dialog.
    pub fn texts(&self) -> Vec<Text> {
        self.0.lock().texts.clone()
    }

    /// Waits until something is true of the messages that this phone received for the first time.
    pub fn wait_received(
        &self,
        within: Duration,
        what: &str,
        mut seen: impl FnMut(&[Message]) -> bool,
    ) -> Result<Vec<Message>, UaError> {
        let (log, label) = (&self.0.log, self.label());
        self.0.wait(within, what, |_| {
            let messages: Vec<Message> = log
                .of(label)
                .iter()
                .filter_map(|entry| entry.received().cloned())
                .collect();
            seen(&messages).then_some(messages)
        })
    }

    /// Closes its sockets at once, as SIGKILL does: what is sent to it later draws ICMP, or a reset.
    pub fn kill(&self) {
        self.0.lock().kill();
        self.0.rouse();
    }

    /// Does nothing more, with its sockets open, as SIGSTOP does: what is sent to it waits.
    pub fn freeze(&self) {
        self.0.lock().freeze();
        self.0.rouse();
    }

    /// Goes on, as SIGCONT does.
    pub fn thaw(&self) {
        self.0.lock().thaw();
        self.0.rouse();
    }

    /// Waits for the final response of a request.
    pub(super) fn response(&self, ticket: Ticket, method: &str) -> Result<Message, UaError> {
        let what = format!("the final response to {method}");
        let outcome = self.0.wait(RESPONSE_WITHIN, &what, |agent| {
            agent.outcomes.get(&ticket).cloned()
        })?;
        outcome.ok_or_else(|| UaError::NoAnswer {
            phone: self.label().to_owned(),
            method: method.to_owned(),
        })
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in the phone's name, and lets its thread look at its deadlines again.
    pub(super) fn act<T>(
        &self,
        act: impl FnOnce(&mut Agent) -> Result<T, UaError>,
    ) -> Result<T, UaError> {
        let result = act(&mut self.lock());
        self.rouse();
        result
    }

    fn rouse(&self) {
        // It fails only where the thread has ended with its poll, and then nobody needs to be told.
        let _: io::Result<()> = self.waker.wake();
        self.changed.notify_all();
    }

    /// Waits for something to be there, with a deadline.
    pub(super) fn wait<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&mut Agent) -> Option<T>,
    ) -> Result<T, UaError> {
        let ends = self.log.now() + within;
        let mut agent = self.lock();
        loop {
            if let Some(found) = look(&mut agent) {
                return Ok(found);
            }
            let now = self.log.now();
            if now >= ends {
                return Err(UaError::InVain {
                    phone: self.profile.label.clone(),
                    what: what.to_owned(),
                    within,
                });
            }
            agent = match self.changed.wait_timeout(agent, ends - now) {
                Ok((agent, _)) => agent,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread finds nobody left to work for.
        let _: io::Result<()> = self.waker.wake();
    }
}

/// The phone's thread.
fn live(mut poll: Poll, phone: impl Fn() -> Option<Arc<Shared>>) {
    let mut events = Events::with_capacity(16);
    loop {
        let timeout = {
            let Some(shared) = phone() else { return };
            let mut agent = shared.lock();
            agent.work();
            if agent.net.is_none() {
                return;
            }
            shared.changed.notify_all();
            let now = shared.log.now();
            agent
                .deadline()
                .map(|deadline| deadline.saturating_sub(now).min(SLEEP_MAX))
        };
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
