//! Requests for a domain that is not served here: a phone whose server or domain is not what the operator thinks, or
//! somebody who tries. The operator is told which it was and which there are, of a flood now and then.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::engine::Engine;
use crate::engine::events::Event;
use crate::engine::ids::Flow;
use crate::engine::location;
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Method, Uri};

/// A domain is told of once in this time.
const ONCE_IN: Millis = Millis::from_secs(3600);
/// No more of them in that time, by one shard.
const DOMAINS_MAX: usize = 8;
/// Characters of a domain that are told, and domains of ours.
const TOLD_MAX: usize = 100;
const SERVED_MAX: usize = 8;

/// Which have been told of lately, the oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct WrongDomains(VecDeque<(Box<str>, Time)>);

impl WrongDomains {
    fn tells(&mut self, domain: &str, now: Time) -> bool {
        while self
            .0
            .front()
            .is_some_and(|(_, told)| now.since(*told) >= ONCE_IN)
        {
            self.0.pop_front();
        }
        let known = self.0.iter().any(|(told, _)| **told == *domain);
        let tells = !known && self.0.len() < DOMAINS_MAX;
        if tells {
            self.0.push_back((domain.into(), now));
        }
        tells
    }
}

impl Engine {
    /// Takes note of a request that found nobody, where that is since its domain is none of ours.
    pub(in crate::engine) fn misdirected(
        &mut self,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &dyn World,
    ) {
        let settings = &self.shared.settings;
        let (told, source) = (world.advertised(&flow).ip(), flow.peer.ip());
        let is_ours = |ip: IpAddr| ip == told.to_canonical() || world.is_ours(ip);
        let by_upstream = self.shared.peers.knows(source) || self.shared.doubted.knows(source);
        if is_at_us(request, is_ours, by_upstream) {
            return;
        }
        let Some(domain) = wrong_domain(request, settings) else {
            return;
        };
        let tell = self.wrong_domains.tells(&domain, now);
        let served = settings.domains.iter().take(SERVED_MAX);
        let served: Vec<&str> = served
            .filter(|_| tell)
            .map(|served| &*served.host)
            .collect();
        let event = Event::WrongDomain {
            method: request.method().as_str().into(),
            domain,
            served: served.join(", ").into(),
            peer: flow.to_string().into(),
            tell,
        };
        self.emit(event);
    }
}

/// Returns true where a request is for somebody at an address of ours, or for a number that an upstream asks for at any
/// host: that needs no domain, it is the user or the number that nobody has.
fn is_at_us(request: &Message, is_ours: impl Fn(IpAddr) -> bool, by_upstream: bool) -> bool {
    let uri = Uri::parse(request.uri());
    let uri = uri.ok().filter(|_| *request.method() != Method::Register);
    uri.is_some_and(|uri| {
        let address = uri.host_ip().map(|ip| ip.to_canonical());
        address.is_some_and(&is_ours) || by_upstream && uri.user_unescaped().starts_with('+')
    })
}

/// Returns the domain of a request that is not served here: of its Request-URI, or of whom it registers.
fn wrong_domain(request: &Message, settings: &Settings) -> Option<Box<str>> {
    let uri = Uri::parse(request.uri()).ok();
    let to = request.to().uri_parsed().ok();
    let hosts = if *request.method() == Method::Register {
        // A phone may have an address for its registrar, whatever its domain is.
        [to, uri.filter(|uri| uri.host_ip().is_none())]
    } else {
        [uri, None]
    };
    let mut hosts = hosts
        .into_iter()
        .flatten()
        .map(|uri| uri.host.to_ascii_lowercase());
    let wrong = |host: &String| !host.is_empty() && location::domain(host, settings).is_none();
    let domain = hosts.find(wrong)?;
    Some(domain.chars().take(TOLD_MAX).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_once_an_hour_and_eight_at_most() {
        let mut domains = WrongDomains::default();
        let hour = ONCE_IN.0;
        assert!(domains.tells("a", Time(0)));
        assert!(!domains.tells("a", Time(hour - 1)));
        for number in 1..8 {
            assert!(domains.tells(&number.to_string(), Time(1_000)));
        }
        assert!(!domains.tells("9", Time(hour - 1)));
        assert!(domains.tells("a", Time(hour)));
        assert!(!domains.tells("9", Time(hour)));
        assert!(domains.tells("9", Time(hour + 1_000)));
    }
}
