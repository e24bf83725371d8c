//! SRTP whose keys stand in the session descriptions (RFC 4568). It ends at each leg: each has keys of its
//! own, so that a new phone's keys are no matter of the survivor's, and a leg with keys can be joined to
//! one without.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::refused::Streams;
use crate::engine::conversation::context::Shared;
use crate::engine::conversation::leg::Talk;
use crate::engine::mint::Mint;
use crate::engine::ports::{STREAMS_MAX, SrtpKeys};
use crate::engine::settings::{MediaMode, MediaSettings, Srtp};
use crate::sip::sdp::{Cover, Crypto, Keying, MasterKey, Media, Sdp, Suite};

/// What is offered where the other side says nothing of suites: what every phone with SRTP has.
const COMMON: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

/// Our lines on one leg, by stream: all that we offered, or the one that we answered with. None of a
/// stream that is plain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keyring {
    lines: Vec<Vec<Crypto>>,
    /// The operator has been told that the leg has keys.
    pub(crate) noted: bool,
    /// And that a fax has gone in the clear.
    #[serde(default)]
    pub(crate) fax_noted: bool,
    /// Whether the leg's sound was encrypted when it ran last; none where it never did. It outlasts a fax.
    #[serde(default)]
    pub(crate) ran: Option<bool>,
    /// Streams that were offered with keys which the endpoint may leave out.
    #[serde(default)]
    at_pleasure: BTreeSet<usize>,
}

impl Keyring {
    /// Returns true where every stream is plain.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(Vec::is_empty)
    }

    fn of(&self, at: usize) -> &[Crypto] {
        self.lines.get(at).map_or(&[], Vec::as_slice)
    }

    fn set(&mut self, at: usize, lines: Vec<Crypto>) {
        if at >= self.lines.len() {
            if lines.is_empty() {
                return;
            }
            self.lines.resize_with(at + 1, Vec::new);
        }
        self.lines[at] = lines;
    }

    /// Returns the line of ours that the endpoint's description goes with, and that one of its own
    /// (RFC 4568 5.1.2: they have the tag in common).
    fn agreed(&self, at: usize, said: &Media<'_>) -> Option<(&Crypto, Crypto)> {
        let ours = self.of(at);
        if ours.is_empty() || said.port == 0 || !said.is_rtp() {
            return None;
        }
        said.crypto().into_iter().find_map(|theirs| {
            let same =
                |ours: &&Crypto| ours.tag == theirs.tag && ours.key.suite() == theirs.key.suite();
            ours.iter().find(same).map(|ours| (ours, theirs))
        })
    }

    /// Returns what a stream runs under.
    pub(super) fn keys(&self, at: usize, said: &Media<'_>) -> Option<Box<SrtpKeys>> {
        let (ours, theirs) = self.agreed(at, said)?;
        Some(Box::new(SrtpKeys {
            ours: ours.key.clone(),
            theirs: theirs.key,
        }))
    }

    /// Returns true where a stream must not run: it was told keys, or it names some, and none are agreed.
    pub(super) fn bars(&self, at: usize, said: &Media<'_>) -> bool {
        let wanted = !self.of(at).is_empty() && !self.is_left_plain(at, said)
            || said.keying() == Keying::Sdes && said.must_be_secure();
        wanted && said.port != 0 && said.is_rtp() && self.agreed(at, said).is_none()
    }

    /// Returns true where an endpoint has left out the keys that it was offered, as it may.
    fn is_left_plain(&self, at: usize, said: &Media<'_>) -> bool {
        self.at_pleasure.contains(&at) && said.keying() == Keying::None
    }

    /// Returns true where a stream has keys, by what the endpoint has said last.
    pub(crate) fn covers(&self, said: Option<&str>) -> bool {
        let said = said.and_then(parse);
        let keyed = |(at, lines): (usize, &Vec<Crypto>)| {
            let media = section(&said, at);
            !lines.is_empty() && !media.is_some_and(|media| self.is_left_plain(at, &media))
        };
        self.lines.iter().enumerate().any(keyed)
    }

    /// Returns true where an answer leaves out keys that the offer asked for (RFC 4568 5.1.3).
    pub(crate) fn misses(&self, answer: &str) -> bool {
        !self.is_empty()
            && Sdp::parse(answer.as_bytes()).is_ok_and(|answer| {
                let mut media = answer.media().iter().enumerate();
                media.any(|(at, media)| self.bars(at, media))
            })
    }
}

/// What a description is on the leg that it is told to (RFC 3264).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Offer,
    Answer,
}

/// What may be told of streams and keys.
pub(crate) struct Telling<'a> {
    pub(super) role: Role,
    pub(super) srtp: Srtp,
    /// Whether an endpoint that nothing is agreed with yet is offered SRTP; none: as the other side has it.
    pub(crate) secure: Option<bool>,
    /// For which streams the other side has ports.
    pub(crate) room: Streams,
    pub(super) mint: &'a mut Mint,
}

impl<'a> Telling<'a> {
    pub(crate) fn new(shared: &'a mut Shared, role: Role) -> Self {
        Self {
            role,
            srtp: shared.settings.media.srtp,
            secure: None,
            room: Streams::ALL,
            mint: &mut shared.mint,
        }
    }
}

/// What a stream of an endpoint's own description comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admission {
    Plain,
    /// Under one of these lines of the endpoint.
    Keys(Vec<Crypto>),
    Refused,
}

fn admit(srtp: Srtp, media: &Media<'_>) -> Admission {
    let bound = media.must_be_secure();
    match (media.keying(), srtp) {
        // What the endpoints agree on between them is theirs.
        (Keying::EndToEnd, _) => Admission::Plain,
        (Keying::None, Srtp::Required) if media.is_rtp() => Admission::Refused,
        (Keying::None, _) => Admission::Plain,
        (Keying::Sdes, Srtp::Off) if bound => Admission::Refused,
        (Keying::Sdes, Srtp::Off) => Admission::Plain,
        (Keying::Sdes, Srtp::Optional | Srtp::Required) => {
            let lines = media.crypto();
            match lines.is_empty() {
                false => Admission::Keys(lines),
                true if bound || srtp == Srtp::Required => Admission::Refused,
                true => Admission::Plain,
            }
        }
    }
}

/// Returns why no stream of an offer can be taken; none where one can.
pub(crate) fn refusal(offer: &str, media: &MediaSettings) -> Option<&'static str> {
    let sdp = Sdp::parse(offer.as_bytes()).ok()?;
    let mut active = sdp
        .media()
        .iter()
        .filter(|section| section.port != 0)
        .peekable();
    active.peek()?;
    if media.mode == MediaMode::Direct {
        return (media.srtp == Srtp::Required && active.all(is_bare))
            .then_some("offer without SRTP while media.srtp is required");
    }
    let mut carried = sdp.media().iter().enumerate();
    if !carried
        .any(|(at, section)| section.port != 0 && (at < STREAMS_MAX || !section.is_datagrams()))
    {
        return Some("offer whose only streams are more than the relay carries");
    }
    active
        .all(|section| admit(media.srtp, section) == Admission::Refused)
        .then_some(match media.srtp {
            Srtp::Off => "offer of SRTP alone while media.srtp is off",
            Srtp::Optional => "offer of SRTP without a suite that is known",
            Srtp::Required => "offer without SRTP that is known while media.srtp is required",
        })
}

/// Returns true for RTP that nobody has keys for: nothing says how it would be encrypted.
fn is_bare(media: &Media<'_>) -> bool {
    media.port != 0 && media.is_rtp() && media.keying() == Keying::None
}

/// Returns true where an answer that goes past us has RTP in the clear although `media.srtp` is `required`.
pub(crate) fn is_too_bare(answer: &str, media: &MediaSettings) -> bool {
    media.mode == MediaMode::Direct
        && media.srtp == Srtp::Required
        && Sdp::parse(answer.as_bytes()).is_ok_and(|sdp| sdp.media().iter().any(is_bare))
}

/// How the streams of a description are covered on one leg. Nothing where all stay as they are.
#[derive(Debug, Default)]
pub(super) struct Covers(Vec<Told>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    AsItStands,
    /// Under our keys on the ring; plain where it has none.
    Under(&'static str),
    Refused(&'static str),
}

impl Covers {
    pub(super) fn with<'a>(&self, keys: &'a Keyring) -> Vec<Cover<'a>> {
        let cover = |(at, told): (usize, &Told)| match *told {
            Told::AsItStands => Cover::Keep,
            Told::Under(profile) => Cover::Ours {
                profile,
                keys: keys.of(at),
            },
            Told::Refused(profile) => Cover::Refused { profile },
        };
        self.0.iter().enumerate().map(cover).collect()
    }

    /// Finds what of a description may be told where media goes past us: its keys are the phones' own, but
    /// nothing in the clear crosses where `media.srtp` is `required`.
    pub(super) fn past_us(said: &Sdp<'_>, telling: &Telling<'_>) -> Self {
        if telling.srtp != Srtp::Required || !said.media().iter().any(is_bare) {
            return Self::default();
        }
        let covers = said.media().iter().map(|media| match is_bare(media) {
            true => Told::Refused(profile(false, media)),
            false => Told::AsItStands,
        });
        Self(covers.collect())
    }

    /// Finds how a description of the other side is told to a leg, and puts the keys for it on the leg's
    /// ring. An answer goes with what the endpoint said last.
    pub(super) fn find(talk: &mut Talk, said: &Sdp<'_>, telling: &mut Telling<'_>) -> Self {
        let plain = talk.keys.is_empty()
            && telling.srtp != Srtp::Required
            && telling.secure != Some(true)
            && !said
                .media()
                .iter()
                .any(|media| media.keying() == Keying::Sdes)
            && !talk.said.as_deref().is_some_and(names_keys);
        if plain {
            return Self::default();
        }
        let Talk {
            keys,
            said: heard,
            told,
            ..
        } = talk;
        // What was a fax, or text, or under keys of the phones' own, says nothing of how the sound in its place is to be.
        let ends = |media: &Media<'_>| media.keying() == Keying::EndToEnd;
        let runs = |media: &Media<'_>| media.port != 0 && media.is_rtp() && !ends(media);
        let heard = heard.as_deref().and_then(parse);
        let told = told.as_deref().and_then(parse);
        let mut leg = OneLeg {
            keys,
            lasting: (0..said.media().len())
                .map(|at| Some((section(&heard, at)?, section(&told, at)?)))
                .map(|both| both.filter(|(heard, told)| runs(heard) && runs(told)))
                .collect(),
        };
        let sections = said.media().iter().enumerate();
        let covers = sections.map(|(at, media)| {
            let heard = section(&heard, at);
            if !media.is_rtp() {
                return Told::AsItStands;
            }
            let asked = heard.as_ref().filter(|_| telling.role == Role::Answer);
            if ends(media) || asked.is_some_and(ends) {
                // Keys of ours are over where the phones agree on some between them.
                leg.keys.set(at, Vec::new());
                return Told::AsItStands;
            }
            match (telling.role, heard) {
                (Role::Answer, Some(heard)) => leg.answer(at, media, &heard, telling),
                (Role::Answer, None) => Told::AsItStands,
                (Role::Offer, _) => leg.offer(at, said, telling),
            }
        });
        Self(covers.collect())
    }
}

/// Covers an answer that is made of what was told to the leg before.
pub(crate) fn cover(
    talk: &mut Talk,
    answer: Vec<u8>,
    telling: &mut Telling<'_>,
) -> Option<Vec<u8>> {
    let parsed = Sdp::parse(&answer).ok()?;
    let covers = Covers::find(talk, &parsed, telling);
    if covers.0.is_empty() {
        return Some(answer);
    }
    Some(parsed.covered(&covers.with(&talk.keys)))
}

/// What stands on a leg while something is told to it.
struct OneLeg<'a> {
    keys: &'a mut Keyring,
    /// By stream: what the endpoint said and was told of one that runs, by RTP.
    lasting: Vec<Option<(Media<'a>, Media<'a>)>>,
}

impl OneLeg<'_> {
    /// `media`: what the other side says; `heard`: the endpoint's offer.
    fn answer(
        &mut self,
        at: usize,
        media: &Media<'_>,
        heard: &Media<'_>,
        telling: &mut Telling<'_>,
    ) -> Told {
        self.keys.at_pleasure.remove(&at);
        let profile = profile(heard.must_be_secure(), heard);
        match admit(telling.srtp, heard) {
            Admission::Refused => return Told::Refused(profile),
            // What is turned down by the other side may be offered again under the same keys.
            Admission::Plain | Admission::Keys(_) if media.port == 0 => {}
            Admission::Plain => self.keys.set(at, Vec::new()),
            Admission::Keys(lines) => {
                // What runs goes on under the key that it has, as far as the endpoint lets it.
                let ours = self.keys.of(at);
                let known =
                    |line: &&Crypto| ours.iter().any(|ours| ours.key.suite() == line.key.suite());
                let Some(chosen) = lines.iter().find(known).or_else(|| lines.first()) else {
                    return Told::Refused(profile);
                };
                let suite = chosen.key.suite();
                let same = ours.iter().find(|ours| ours.key.suite() == suite);
                let key = same.map_or_else(
                    || MasterKey::fresh(suite, |octets| telling.mint.fill(octets)),
                    |ours| ours.key.clone(),
                );
                let tag = chosen.tag;
                self.keys.set(at, vec![Crypto { tag, key }]);
            }
        }
        Told::Under(profile)
    }

    fn offer(&mut self, at: usize, said: &Sdp<'_>, telling: &mut Telling<'_>) -> Told {
        let media = &said.media()[at];
        if media.port != 0
            && (admit(telling.srtp, media) == Admission::Refused
                || is_spare(said, at, telling.srtp))
        {
            return Told::Refused(profile(false, media));
        }
        if let Some((heard, told)) = self.lasting.get(at).and_then(Option::as_ref) {
            if let Some((ours, _)) = self.keys.agreed(at, heard) {
                let ours = ours.clone();
                self.keys.set(at, vec![ours]);
            } else if self.keys.is_left_plain(at, heard) {
                self.keys.set(at, Vec::new());
            }
            self.keys.at_pleasure.remove(&at);
            let secure = told.must_be_secure() && !self.keys.of(at).is_empty();
            return Told::Under(profile(secure, media));
        }
        let known = self.is_secure().or(telling.secure).or(self.keys.ran);
        let secure = match telling.srtp {
            Srtp::Off => false,
            Srtp::Required => true,
            Srtp::Optional => known.unwrap_or_else(|| media.keying() == Keying::Sdes),
        };
        let may_be_plain = telling.srtp == Srtp::Optional;
        // Who offers keys under the plain profile leaves it to the other side: so is that one asked.
        let bound = !may_be_plain || known.is_some() || media.must_be_secure();
        if !secure {
            self.keys.set(at, Vec::new());
        } else if self.keys.of(at).is_empty() && media.port != 0 {
            self.keys.set(at, fresh(media, telling.mint));
        }
        if secure && may_be_plain {
            self.keys.at_pleasure.insert(at);
        } else {
            self.keys.at_pleasure.remove(&at);
        }
        Told::Under(profile(secure && bound, media))
    }

    /// Returns whether the leg's streams are encrypted; none where no stream runs yet.
    fn is_secure(&self) -> Option<bool> {
        let lasting = self.lasting.iter().enumerate();
        let secure = lasting.filter_map(|(at, both)| {
            let (heard, _) = both.as_ref()?;
            Some(self.keys.agreed(at, heard).is_some())
        });
        secure.reduce(|one, other| one || other)
    }
}

/// Makes the lines of an offer: the suites that the other side names, and the one that every phone has.
fn fresh(media: &Media<'_>, mint: &mut Mint) -> Vec<Crypto> {
    let mut suites: Vec<Suite> = Vec::new();
    let theirs = media.crypto().into_iter().map(|line| line.key.suite());
    for suite in theirs.chain(COMMON) {
        if !suites.contains(&suite) {
            suites.push(suite);
        }
    }
    let line = |(tag, suite)| Crypto {
        tag,
        key: MasterKey::fresh(suite, |octets| mint.fill(octets)),
    };
    (1..).zip(suites).map(line).collect()
}

/// Returns true for the plain one of two sections by which a phone offers the same stream with SRTP and
/// without: the one with SRTP is taken.
fn is_spare(said: &Sdp<'_>, at: usize, srtp: Srtp) -> bool {
    let spare = &said.media()[at];
    let formats = |media: &Media<'_>| {
        let mut formats: Vec<String> = media.formats.iter().map(|f| (*f).to_owned()).collect();
        formats.sort_unstable();
        formats
    };
    srtp != Srtp::Off
        && spare.keying() == Keying::None
        && said.media().iter().any(|other| {
            other.port != 0
                && other.kind == spare.kind
                && other.must_be_secure()
                && matches!(admit(srtp, other), Admission::Keys(_))
                && formats(other) == formats(spare)
        })
}

/// Returns the profile of RTP (RFC 3551, RFC 3711, RFC 4585, RFC 5124), with the feedback of what is told.
fn profile(secure: bool, media: &Media<'_>) -> &'static str {
    match (secure, media.proto.ends_with('F')) {
        (false, false) => "RTP/AVP",
        (false, true) => "RTP/AVPF",
        (true, false) => "RTP/SAVP",
        (true, true) => "RTP/SAVPF",
    }
}

fn section<'a>(sdp: &Option<Sdp<'a>>, at: usize) -> Option<Media<'a>> {
    sdp.as_ref()?.media().get(at).cloned()
}

fn parse(text: &str) -> Option<Sdp<'_>> {
    Sdp::parse(text.as_bytes()).ok()
}

/// Returns true where what was offered has keys that cannot be left out.
pub(crate) fn demands_keys(told: &str) -> bool {
    parse(told).is_some_and(|sdp| {
        let bound = |media: &Media<'_>| media.must_be_secure() && media.keying() == Keying::Sdes;
        sdp.media()
            .iter()
            .any(|media| media.port != 0 && bound(media))
    })
}

/// A look that costs less than reading the description.
fn names_keys(said: &str) -> bool {
    said.contains("SAVP") || said.contains("a=crypto")
}
