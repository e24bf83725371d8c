//! The order of service records: NAPTR by order and preference (RFC 3403 4.1), SRV by priority and, within
//! it, by weight and chance (RFC 2782).

use crate::engine::ids::Transport;

/// One NAPTR record (RFC 3403 4.1). Names have no final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: Box<str>,
    pub service: Box<str>,
    pub replacement: Box<str>,
}

impl Naptr {
    /// Returns the transport of a SIP service (RFC 3263 4.1, RFC 7118 7). None for another application's.
    pub(super) fn transport(&self) -> Option<Transport> {
        const SERVICES: [(&str, Transport); 5] = [
            ("SIP+D2U", Transport::Udp),
            ("SIP+D2T", Transport::Tcp),
            ("SIPS+D2T", Transport::Tls),
            ("SIP+D2W", Transport::Ws),
            ("SIPS+D2W", Transport::Wss),
        ];
        let mut services = SERVICES.iter();
        let found = services.find(|(service, _)| service.eq_ignore_ascii_case(&self.service));
        found.map(|(_, transport)| *transport)
    }
}

/// One SRV record (RFC 2782). Names have no final dot; the root is an empty name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: Box<str>,
}

/// Sorts by priority, and within it by weight: each record is drawn by a throw of the dice, which return
/// a number from zero up to the one that they are given.
pub(super) fn by_weight(mut records: Vec<Srv>, dice: &mut dyn FnMut(u32) -> u32) -> Vec<Srv> {
    // RFC 2782: those of no weight stand first, and are drawn by a zero alone.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut sorted = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let same = records.iter().take_while(|r| r.priority == priority);
        let sum: u32 = same.map(|record| u32::from(record.weight)).sum();
        let thrown = dice(sum);
        let mut running = 0;
        let drawn = records.iter().position(|record| {
            running += u32::from(record.weight);
            running >= thrown
        });
        sorted.push(records.remove(drawn.unwrap_or(0)));
    }
    sorted
}
