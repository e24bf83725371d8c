//! Offer/answer arithmetic (RFC 3264): what two descriptions have in common.

use std::fmt::Write;
use std::net::IpAddr;

use super::fit::{Common, lacking, same_format};
use super::line::{Line, lines, media_words};
use super::parse::{Direction, Keying, Kind, Media, Payload, Sdp};

/// Makes the offer to a new endpoint out of what the survivor last said: in each section the formats in
/// use come first, under the survivor's own payload numbers; what the survivor was refused is offered to
/// nobody else, for it would not hear of it; everything else stays.
/// `told` is what the survivor was last told, that is, what it sends. None where either is no SDP.
pub fn offer_again(said: &[u8], told: &[u8]) -> Option<Vec<u8>> {
    let (said, told) = (Sdp::parse(said).ok()?, Sdp::parse(told).ok()?);
    let mut out = String::with_capacity(said.text.len());
    for line in lines(said.session()) {
        push(&mut out, line);
    }
    for (at, media) in said.media().iter().enumerate() {
        let in_use: Vec<Payload<'_>> = told
            .media()
            .get(at)
            .map(|t| t.payloads().collect())
            .unwrap_or_default();
        let ordered = reordered(media, &in_use);
        let refused = told.media().get(at).is_some_and(|told| told.port == 0);
        for (at, line) in lines(media.text).enumerate() {
            if at == 0 {
                let (kind, port, _) = media_words(line);
                let port = if refused { "0" } else { port };
                let _ = write!(out, "{kind} {port} {}", media.proto);
                for format in &ordered {
                    let _ = write!(out, " {format}");
                }
                out.push_str("\r\n");
            } else {
                push(&mut out, line);
            }
        }
    }
    Some(out.into_bytes())
}

/// Returns what an endpoint has said with the formats behind it that it has offered before, `more`, and that this
/// lacks, as where it has answered a phone of few. None where there are none, or either is no SDP.
pub fn widened(said: &[u8], more: &[u8]) -> Option<Vec<u8>> {
    let (said, more) = (Sdp::parse(said).ok()?, Sdp::parse(more).ok()?);
    let mut out = String::with_capacity(said.text.len() + more.text.len());
    lines(said.session()).for_each(|line| push(&mut out, line));
    let mut adds = false;
    for (at, media) in said.media().iter().enumerate() {
        let before = more.media().get(at);
        let lacks = before.map_or_else(Vec::new, |before| lacking(media, before));
        adds |= !lacks.is_empty();
        for (at, line) in lines(media.text).enumerate() {
            out.push_str(line);
            for payload in lacks.iter().filter(|_| at == 0) {
                let _ = write!(out, " {}", payload.number);
            }
            out.push_str("\r\n");
        }
        let theirs = |line: &&str| {
            let of = Line::parse(line).and_then(|line| line.of_format());
            of.is_some_and(|(_, number, _)| {
                let mut lacks = lacks.iter();
                lacks.any(|payload| number.parse() == Ok(payload.number))
            })
        };
        let before = before.map_or("", |before| before.text);
        let known = |line: &&str| lines(media.text).any(|known| known == *line);
        lines(before)
            .filter(|line| theirs(line) && !known(line))
            .for_each(|line| push(&mut out, line));
    }
    adds.then(|| out.into_bytes())
}

fn reordered<'a>(media: &Media<'a>, in_use: &[Payload<'_>]) -> Vec<&'a str> {
    let is_used = |format: &&&str| {
        let number: Option<u8> = format.parse().ok();
        let payload =
            number.and_then(|number| media.payloads().find(|payload| payload.number == number));
        payload.is_some_and(|payload| in_use.iter().any(|used| same_format(&payload, used)))
    };
    let (mut first, rest): (Vec<&&str>, Vec<&&str>) = media.formats.iter().partition(is_used);
    // The survivor's peer chose the order of what is in use.
    first.sort_by_key(|format| {
        let number: Option<u8> = format.parse().ok();
        let payload =
            number.and_then(|number| media.payloads().find(|payload| payload.number == number));
        in_use
            .iter()
            .position(|used| payload.is_some_and(|payload| same_format(&payload, used)))
    });
    first.into_iter().chain(rest).copied().collect()
}

/// Returns true where an offer says no more than `before` but that its streams, which all come by way of us, are
/// somewhere else now (RFC 3264 8.3.1), or have other keys that end here. Who answered with some formats and moves offers all it has: no more
/// than that either. A stream that comes, goes, is held by a null address, or is asked for though it was refused
/// by what was `told` last, is.
pub fn only_moves(before: &[u8], told: &[u8], offer: &[u8]) -> bool {
    let parsed = (Sdp::parse(before), Sdp::parse(told), Sdp::parse(offer));
    let (Ok(before), Ok(told), Ok(offer)) = parsed else {
        return false;
    };
    let keys = |media: &Media<'_>| -> Vec<String> {
        let own = lines(media.text).filter(|line| is_key(line));
        own.map(str::to_owned).collect()
    };
    let stands = |(media, told): (&Media<'_>, &Media<'_>)| (media.port == 0) == (told.port == 0);
    let by_us = |media: &Media<'_>| media.is_rtp() && media.keying() != Keying::EndToEnd;
    let sections = || before.media().iter().zip(offer.media());
    before.media().len() == offer.media().len()
        && told.media().len() == offer.media().len()
        && offer.media().iter().zip(told.media()).all(stands)
        && sections().any(|(old, new)| {
            old.port != new.port || is_at(old) != is_at(new) || keys(old) != keys(new)
        })
        && same_but_for_place(before.session(), offer.session(), false)
        && sections().all(|(old, new)| {
            (old.port == 0) == (new.port == 0)
                && old.direction == new.direction
                && (by_us(old) && by_us(new) || (old.text, is_at(old)) == (new.text, is_at(new)))
                && old.keying() == new.keying()
                && (new.keying() != Keying::Sdes || !new.crypto().is_empty())
                && (same_but_for_place(old.text, new.text, true) || moves_on(old, new))
        })
}

fn is_at<'a>(media: &Media<'a>) -> (Option<IpAddr>, Option<&'a str>) {
    (media.address, media.host)
}

/// From another address, with all that was agreed on and perhaps more.
fn moves_on(old: &Media<'_>, new: &Media<'_>) -> bool {
    let nowhere = |media: &Media<'_>| {
        media.host.is_none() && media.address.is_none_or(|ip| ip.is_unspecified())
    };
    let agreed = |format: Payload<'_>| {
        let mut offered = new.payloads();
        offered.any(|new| new.number == format.number && same_format(&new, &format))
    };
    old.kind == Kind::Audio
        && (new.kind, new.proto, new.ptime) == (Kind::Audio, old.proto, old.ptime)
        && is_at(old) != is_at(new)
        && !nowhere(old)
        && !nowhere(new)
        && ![old, new].map(Media::keying).contains(&Keying::EndToEnd)
        && old.payloads().all(agreed)
}

/// `keyed` where keys end here (RFC 4568): those of one leg are no matter of the other's.
fn same_but_for_place(one: &str, other: &str, keyed: bool) -> bool {
    let minds = |line: &&str| !(line.starts_with("o=") || keyed && is_key(line));
    let said = |text| lines(text).filter(minds);
    let rtcp = |line: &str| Line::parse(line).and_then(|line| line.attribute("rtcp").map(drop));
    said(one).count() == said(other).count()
        && said(one).zip(said(other)).all(|(one, other)| {
            match (one.split_at_checked(2), other.split_at_checked(2)) {
                // A null address was a hold once (RFC 3264 8.4).
                (Some(("c=", one)), Some(("c=", other))) => is_null(one) == is_null(other),
                (Some(("m=", _)), Some(("m=", _))) => {
                    let ((kind, _, rest), (other, _, more)) =
                        (media_words(one), media_words(other));
                    (kind, rest) == (other, more)
                }
                _ => one == other || rtcp(one).is_some() && rtcp(other).is_some(),
            }
        })
}

fn is_key(line: &str) -> bool {
    line.starts_with("a=crypto:")
}

fn is_null(connection: &str) -> bool {
    let address = connection.split_ascii_whitespace().last().unwrap_or("");
    address.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// Returns true where an answer refuses every stream of an offer that had some.
pub fn is_mute(offer: &[u8], answer: &[u8]) -> bool {
    let (Ok(offer), Ok(answer)) = (Sdp::parse(offer), Sdp::parse(answer)) else {
        return false;
    };
    offer.media().iter().any(|media| media.port != 0)
        && answer.media().iter().all(|media| media.port == 0)
}

/// Returns an answer with the sections of its offer (RFC 3264 6). Those that are missing, or are of another
/// transport, which the offerer can do nothing with, are refused; those that nobody asked for are left out.
/// None where it is so already, or either is no SDP.
pub fn answer_to(offer: &[u8], said: &[u8]) -> Option<Vec<u8>> {
    let (said, offer) = (Sdp::parse(said).ok()?, Sdp::parse(offer).ok()?);
    let answers =
        |(asked, said): &(&Media<'_>, &Media<'_>)| said.port == 0 || asked.is_carried_as(said);
    if said.media().len() == offer.media().len()
        && offer
            .media()
            .iter()
            .zip(said.media())
            .all(|both| answers(&both))
    {
        return None;
    }
    let mut out = String::with_capacity(said.text.len() + 64);
    lines(said.session()).for_each(|line| push(&mut out, line));
    for (at, asked) in offer.media().iter().enumerate() {
        match said.media().get(at).filter(|said| answers(&(asked, said))) {
            Some(said) => lines(said.text).for_each(|line| push(&mut out, line)),
            None => refused(&mut out, asked),
        }
    }
    Some(out.into_bytes())
}

/// Returns true where an offer wants a stream that its author did not want `before`.
pub fn wants_more(before: &[u8], offer: &[u8]) -> bool {
    let (Ok(before), Ok(offer)) = (Sdp::parse(before), Sdp::parse(offer)) else {
        return true;
    };
    let had = |at: usize| before.media().get(at).is_some_and(|media| media.port != 0);
    let mut wanted = offer.media().iter().enumerate();
    wanted.any(|(at, media)| media.port != 0 && !had(at))
}

/// Returns an offer with so many sections (RFC 3264 8: a session never has fewer than before). Those that are
/// missing are refused ones of `like`. None where it has as many, or either is no SDP.
pub fn with_sections(said: &[u8], count: usize, like: &[u8]) -> Option<Vec<u8>> {
    let (said, like) = (Sdp::parse(said).ok()?, Sdp::parse(like).ok()?);
    if said.media().len() == count {
        return None;
    }
    let mut out = String::with_capacity(said.text.len() + 64);
    let kept = said.media().iter().take(count).map(|media| media.text);
    for text in std::iter::once(said.session()).chain(kept) {
        lines(text).for_each(|line| push(&mut out, line));
    }
    let missing = like.media().iter().take(count).skip(said.media().len());
    for media in missing {
        refused(&mut out, media);
    }
    Some(out.into_bytes())
}

/// Returns what was told without the streams that who was told it refused. None where it refused none, or
/// either is no SDP.
pub fn without_refused(told: &[u8], said: &[u8]) -> Option<Vec<u8>> {
    let (told, said) = (Sdp::parse(told).ok()?, Sdp::parse(said).ok()?);
    let both = || told.media().iter().zip(said.media());
    let is_over = |(told, said): &(&Media<'_>, &Media<'_>)| told.port != 0 && said.port == 0;
    if !both().any(|both| is_over(&both)) {
        return None;
    }
    let mut out = String::with_capacity(told.text.len());
    lines(told.session()).for_each(|line| push(&mut out, line));
    for (at, media) in told.media().iter().enumerate() {
        match said.media().get(at).filter(|said| is_over(&(media, said))) {
            Some(_) => refused(&mut out, media),
            None => lines(media.text).for_each(|line| push(&mut out, line)),
        }
    }
    Some(out.into_bytes())
}

/// Answers an offer with the session that stands: our sections with the formats that are in the offer too, under its
/// numbers, each direction as far as the offer allows it (RFC 3264 6.1: so a hold is a hold, of either end), sections
/// that are new or have no format in common, or are carried in another way, refused. None where either is no SDP.
pub fn answer_with(standing: &[u8], offer: &[u8]) -> Option<Vec<u8>> {
    answer(standing, offer, |ours, asked| ours.within(asked))
}

/// The same where nobody is at the other end for now, and what stands says what was: each direction is what the
/// offer asks for.
pub fn answer_as_asked(standing: &[u8], offer: &[u8]) -> Option<Vec<u8>> {
    answer(standing, offer, |_, asked| asked)
}

/// `direct` tells the direction of a section by ours and by the mirror of the offer's.
fn answer(
    standing: &[u8],
    offer: &[u8],
    direct: impl Fn(Direction, Direction) -> Direction,
) -> Option<Vec<u8>> {
    let (standing, offer) = (Sdp::parse(standing).ok()?, Sdp::parse(offer).ok()?);
    let mut out = String::with_capacity(standing.text.len() + 32);
    for line in lines(standing.session()) {
        let directed = Line::parse(line).is_some_and(|line| {
            line.letter == b'a' && Direction::parse(line.value.trim()).is_some()
        });
        if !directed {
            push(&mut out, line);
        }
    }
    for (at, offered) in offer.media().iter().enumerate() {
        let ours = standing.media().get(at);
        let goes_with = |ours: &&Media<'_>| {
            let both = ours.port != 0 && offered.port != 0;
            both && ours.kind == offered.kind && ours.is_carried_as(offered)
        };
        let ours = ours.filter(goes_with);
        let common = ours.and_then(|ours| Some((ours, Common::of(ours, offered)?)));
        match common {
            Some((ours, common)) => {
                let direction = direct(ours.direction, offered.direction.mirrored());
                directed(&mut out, ours, &common, direction);
            }
            None => refused(&mut out, offered),
        }
    }
    Some(out.into_bytes())
}

fn directed(out: &mut String, media: &Media<'_>, common: &Common<'_>, direction: Direction) {
    for line in lines(media.text) {
        let is_direction = Line::parse(line).is_some_and(|line| {
            line.letter == b'a' && Direction::parse(line.value.trim()).is_some()
        });
        if !is_direction && let Some(line) = common.line(line) {
            push(out, &line);
        }
    }
    // sendrecv is the default (RFC 3264 5.1): said only where it was said before, so that a session that
    // has not changed reads the same.
    let said = lines(media.text).any(|line| line == "a=sendrecv");
    if direction != Direction::SendRecv || said {
        let _ = write!(out, "a={}\r\n", direction.as_str());
    }
}

fn refused(out: &mut String, media: &Media<'_>) {
    let first = lines(media.text).next().unwrap_or("");
    let (kind, _, rest) = media_words(first);
    let _ = write!(out, "{kind} 0 {rest}\r\n");
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}
