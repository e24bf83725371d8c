//! Which formats two ends have in common, and whether a new answer goes with what a survivor may be sending.

use std::borrow::Cow;

use super::line::{Line, media_words};
use super::parse::{Keying, Media, Payload, Sdp};

pub(super) fn same_format(a: &Payload<'_>, b: &Payload<'_>) -> bool {
    a.clock == b.clock && a.name.eq_ignore_ascii_case(b.name)
}

/// The same where it also matters how each end has it: packets of the one are no packets of the other.
fn goes_with(a: (&Media<'_>, &Payload<'_>), b: (&Media<'_>, &Payload<'_>)) -> bool {
    // RFC 4867 8.1; RFC 6184 8.1: both are 0 where they are not said.
    let telling = match a.1.name.to_ascii_lowercase().as_str() {
        "amr" | "amr-wb" => "octet-align",
        "h264" => "packetization-mode",
        _ => return same_format(a.1, b.1),
    };
    let has = |(media, payload): (&Media<'_>, &Payload<'_>)| {
        let value = media.parameter(payload.number, telling);
        value.is_some_and(|value| value != "0")
    };
    same_format(a.1, b.1) && has(a) == has(b)
}

/// Returns true for what is no sound or picture by itself.
fn is_beside(payload: &Payload<'_>) -> bool {
    ["telephone-event", "CN", "rtx", "red", "ulpfec", "flexfec"]
        .iter()
        .any(|name| payload.name.eq_ignore_ascii_case(name))
}

/// Returns the formats of a section that another one of the same endpoint lacks, and can have under these numbers.
pub(super) fn lacking<'a>(said: &Media<'_>, more: &Media<'a>) -> Vec<Payload<'a>> {
    let both = [said, more];
    if said.kind != more.kind || !both.iter().all(|media| media.port != 0 && media.is_rtp()) {
        return Vec::new();
    }
    // What repairs or repeats another format names it by its number.
    let alone = |payload: &Payload<'_>| {
        !is_beside(payload) || payload.name.eq_ignore_ascii_case("telephone-event")
    };
    let free = |number: u8| said.formats.iter().all(|known| known.parse() != Ok(number));
    let known = |payload: &Payload<'_>| {
        let mut known = said.payloads();
        known.any(|known| goes_with((more, payload), (said, &known)))
    };
    let offered = more.payloads();
    offered
        .filter(|payload| alone(payload) && free(payload.number) && !known(payload))
        .collect()
}

/// Returns what an endpoint may be sending: of what it was told the formats that it has said itself (RFC 3264 5.1,
/// 6.1). Where it has said none of them, all that it was told.
fn may_send<'a>(told: &'a Media<'a>, own: Option<&Media<'_>>) -> Vec<Payload<'a>> {
    let all = || told.payloads().filter(|payload| !is_beside(payload));
    let both: Vec<Payload<'_>> = all()
        .filter(|payload| {
            own.is_none_or(|own| own.payloads().any(|own| same_format(payload, &own)))
        })
        .collect();
    if both.is_empty() {
        all().collect()
    } else {
        both
    }
}

/// Returns how many of the formats that one sends the other takes.
fn taken(of: &Media<'_>, sent: &[Payload<'_>], by: &Media<'_>) -> usize {
    let takes = |payload: &&Payload<'_>| {
        let mut taken = by.payloads();
        taken.any(|taken| goes_with((of, payload), (by, &taken)))
    };
    sent.iter().filter(takes).count()
}

/// Returns true where a new endpoint's answer needs no word to the survivor: each stream that the survivor was told
/// of is there, comes by way of us, and takes every format that the survivor, which has said `own`, may be sending.
/// Keys in the descriptions are each leg's own.
pub fn fits(told: &[u8], own: &[u8], said: &[u8]) -> bool {
    let own = Sdp::parse(own).ok();
    fits_where(told, said, by_us, |at, told, said| {
        let own = own.as_ref().and_then(|own| own.media().get(at));
        let sent = may_send(told, own);
        !sent.is_empty() && taken(told, &sent, said) == sent.len()
    })
}

/// The same where the survivor can be told which of its formats the other one takes.
pub fn shares(told: &[u8], said: &[u8]) -> bool {
    fits_where(told, said, by_us, |_, told, said| shares_one(told, said))
}

/// The same where the survivor is going to be asked: for other formats, and for what is no RTP: MSRP, which may be at
/// another place now, and fax, whose speed and redundancy the other end may have otherwise.
pub fn may_be_asked_for(told: &[u8], said: &[u8]) -> bool {
    let past_us = |told: &Media<'_>, said: &Media<'_>| !told.is_rtp() && !said.is_rtp();
    fits_where(told, said, past_us, |_, _, _| true)
}

/// Returns true where an endpoint that was `told` this and has said `own` could press digits for who says `now`, and
/// does not know (RFC 4733).
pub fn lacks_digits(told: &[u8], own: &[u8], now: &[u8]) -> bool {
    let (Ok(told), Ok(own), Ok(now)) = (Sdp::parse(told), Sdp::parse(own), Sdp::parse(now)) else {
        return false;
    };
    let takes = |media: &Media<'_>| {
        let mut payloads = media.payloads();
        payloads.any(|payload| payload.name.eq_ignore_ascii_case("telephone-event"))
    };
    let mut sections = told.media().iter().zip(own.media()).zip(now.media());
    sections.any(|((told, own), now)| {
        told.port != 0 && now.port != 0 && takes(own) && takes(now) && !takes(told)
    })
}

/// Returns true where who says `now` takes some of what an endpoint may be sending that was `told` this and has said
/// `own`, and not all. An answer with nothing of its offer says nothing.
pub fn takes_some(told: &[u8], own: &[u8], now: &[u8]) -> bool {
    let (Ok(told), Ok(own), Ok(now)) = (Sdp::parse(told), Sdp::parse(own), Sdp::parse(now)) else {
        return false;
    };
    let mut sections = told.media().iter().zip(own.media()).zip(now.media());
    sections.any(|((told, own), now)| {
        let goes_on = [told, own, now].iter().all(|media| media.port != 0) && told.is_rtp();
        let sent = may_send(told, Some(own));
        goes_on && (1..sent.len()).contains(&taken(told, &sent, now))
    })
}

/// MSRP goes to another place now, and fax to a machine with ways of its own; text within the dialog has neither.
fn by_us(told: &Media<'_>, said: &Media<'_>) -> bool {
    told.is_sip_message() && said.is_sip_message()
}

fn shares_one(told: &Media<'_>, said: &Media<'_>) -> bool {
    said.payloads()
        .filter(|payload| !payload.name.eq_ignore_ascii_case("telephone-event"))
        .any(|payload| told.payloads().any(|told| same_format(&payload, &told)))
}

/// `past_us` tells whether two sections that are no RTP go together, `sounds` whether two that are do.
fn fits_where(
    told: &[u8],
    said: &[u8],
    past_us: impl Fn(&Media<'_>, &Media<'_>) -> bool,
    sounds: impl Fn(usize, &Media<'_>, &Media<'_>) -> bool,
) -> bool {
    let (Ok(told), Ok(said)) = (Sdp::parse(told), Sdp::parse(said)) else {
        return false;
    };
    told.media().iter().enumerate().all(|(at, told)| {
        if told.port == 0 {
            return true;
        }
        let Some(said) = said.media().get(at) else {
            return false;
        };
        if said.port == 0 || said.kind != told.kind {
            return false;
        }
        if !told.is_rtp() {
            return past_us(told, said);
        }
        // The survivor must agree on new keys between the endpoints.
        let ends = [told.keying(), said.keying()];
        !ends.contains(&Keying::EndToEnd) && sounds(at, told, said)
    })
}

/// The formats of a section that an offer has too, each with its number there.
pub(super) struct Common<'a> {
    /// Ours, and the offer's. None where all stay as they are.
    numbers: Option<Vec<(&'a str, String)>>,
}

impl<'a> Common<'a> {
    /// None where both are RTP and there is nothing to be heard in common.
    pub(super) fn of(ours: &Media<'a>, offered: &Media<'_>) -> Option<Self> {
        if !ours.is_rtp() || !offered.is_rtp() {
            return Some(Self { numbers: None });
        }
        let known: Vec<Payload<'_>> = ours.payloads().collect();
        let there = |format: &str| {
            let number: Option<u8> = format.parse().ok();
            match known.iter().find(|payload| Some(payload.number) == number) {
                Some(payload) => {
                    let mut offers = offered.payloads();
                    let same = |offer: &Payload<'_>| goes_with((ours, payload), (offered, offer));
                    offers.find(same).map(|offer| offer.number.to_string())
                }
                // Of a number that nobody explains the number is all there is.
                None => offered.formats.contains(&format).then(|| format.to_owned()),
            }
        };
        let formats = ours.formats.iter();
        let numbers: Vec<(&str, String)> = formats
            .filter_map(|format| Some((*format, there(format)?)))
            .collect();
        let heard = |payload: &Payload<'_>| {
            !is_beside(payload)
                && numbers
                    .iter()
                    .any(|(ours, _)| ours.parse() == Ok(payload.number))
        };
        if known.iter().any(|payload| !is_beside(payload)) && !known.iter().any(heard) {
            return None;
        }
        let same = numbers.len() == ours.formats.len()
            && numbers.iter().all(|(ours, theirs)| ours == theirs);
        Some(Self {
            numbers: (!same).then_some(numbers),
        })
    }

    /// Returns a line of our section as it is with these formats alone.
    pub(super) fn line<'l>(&self, line: &'l str) -> Option<Cow<'l, str>> {
        let Some(numbers) = &self.numbers else {
            return Some(line.into());
        };
        if line.starts_with("m=") {
            let (kind, port, rest) = media_words(line);
            let proto = rest.split(' ').next().unwrap_or("");
            let formats: Vec<&str> = numbers.iter().map(|(_, theirs)| &**theirs).collect();
            return Some(format!("{kind} {port} {proto} {}", formats.join(" ")).into());
        }
        let Some((name, number, rest)) = Line::parse(line).and_then(|line| line.of_format()) else {
            return Some(line.into());
        };
        let (_, theirs) = numbers.iter().find(|(ours, _)| *ours == number)?;
        Some(format!("a={name}:{theirs} {rest}").into())
    }
}
