//! Payload numbers, as the relay must know them: in what a side has said, and beyond it.

use super::media::{self, PortState};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::Side;
use crate::engine::ports::{MediaCommand, PayloadFormat, StreamSettings};
use crate::sip::sdp::Media;

/// The formats of one stream of a side.
pub(super) struct Formats {
    pub(super) said: Vec<PayloadFormat>,
    pub(super) besides: Vec<PayloadFormat>,
    pub(super) told: Vec<PayloadFormat>,
}

impl Formats {
    /// Takes them of what a side says, of an offer of its own that says `more`, and of what it was `told`.
    pub(super) fn of(said: &Media<'_>, more: Option<&Media<'_>>, told: Option<&Media<'_>>) -> Self {
        let alike = |other: &&Media<'_>| said.kind == other.kind && other.is_rtp();
        let own = all(said);
        let among = |format: &PayloadFormat| own.contains(format);
        let mut besides = more.filter(alike).map(all).unwrap_or_default();
        besides.retain(|format| own.iter().all(|known| known.number != format.number));
        let told = told.filter(alike).map(explained).unwrap_or_default();
        // Mostly the numbers are the same both ways.
        let told = match told.iter().all(among) {
            true => Vec::new(),
            false => told,
        };
        Self {
            said: own,
            besides,
            told,
        }
    }
}

impl Conversation {
    /// A side's offer goes across: from now on it takes what that names, and whoever agrees may send it before the relay
    /// hears of the answer (RFC 3264 5.1).
    pub(super) fn awaits(&mut self, context: &mut Context<'_>, side: Side, offer: &str) {
        let ports = &self.ports[side.index()];
        let Some(leg) = &self.party(side).leg else {
            return;
        };
        let Some(said) = leg
            .talk
            .said
            .as_deref()
            .filter(|_| ports.state == PortState::Open)
        else {
            return;
        };
        let heard = self.party(side.other()).talk();
        let heard = heard.and_then(|talk| talk.said.as_deref());
        let mut talk = leg.talk.clone();
        let before = media::streams(said, &talk, heard);
        talk.more = Some(offer.into());
        let (streams, _) = context.streams_of(leg, (said, &talk), heard);
        let known = |stream: &StreamSettings, format: &PayloadFormat| {
            stream.besides.contains(format) || format.number <= PayloadFormat::FIXED_MAX
        };
        let mut both = before.iter().zip(&streams);
        if both.all(|(before, now)| now.besides.iter().all(|format| known(before, format))) {
            return;
        }
        let command = MediaCommand::Configure {
            media: self.id,
            side,
            generation: ports.generation,
            signalling: leg.dialog.flow.peer.ip(),
            streams,
        };
        self.media(context, command);
    }
}

fn explained(media: &Media<'_>) -> Vec<PayloadFormat> {
    let payloads = media.payloads();
    let formats = payloads.map(|payload| PayloadFormat {
        number: payload.number,
        name: payload.name.to_ascii_uppercase().into(),
        clock: payload.clock,
    });
    formats.collect()
}

/// With those of which the number is all that is said.
fn all(media: &Media<'_>) -> Vec<PayloadFormat> {
    let mut formats = explained(media);
    let numbers = media.formats.iter().filter(|_| media.is_rtp());
    let numbers = numbers.filter_map(|number| number.parse::<u8>().ok());
    for number in numbers.filter(|number| *number < 128) {
        if formats.iter().all(|known| known.number != number) {
            formats.push(PayloadFormat {
                number,
                name: "".into(),
                clock: 8000,
            });
        }
    }
    formats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::sdp::Sdp;

    fn text(media: &str) -> String {
        format!(
            "v=0\r\no=- 7 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n{media}"
        )
    }

    #[test]
    fn what_is_offered_besides_and_told_otherwise() {
        const OPUS: &str = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n";
        const TWO: &str = "m=audio 4000 RTP/AVP 96 97 0\r\na=rtpmap:96 iLBC/8000\r\n\
                           a=rtpmap:97 speex/8000\r\n";
        const OTHER: &str = "m=audio 4000 RTP/AVP 111\r\na=rtpmap:111 OPUS/48000/2\r\n";
        const BARE: &str = "m=audio 4000 RTP/AVP 96 98\r\na=rtpmap:96 opus/48000/2\r\n";
        for (said, more, told, expected) in [
            (
                OPUS,
                None,
                None,
                ([96].as_slice(), [].as_slice(), [].as_slice()),
            ),
            (OPUS, None, Some(OPUS), (&[96], &[], &[])),
            // What a number means in the side's last word counts.
            (OPUS, Some(TWO), Some(OPUS), (&[96], &[97, 0], &[])),
            (OPUS, None, Some(OTHER), (&[96], &[], &[111])),
            (BARE, None, Some(OPUS), (&[96, 98], &[], &[])),
        ] {
            let texts = [Some(said), more, told].map(|media| media.map(text));
            let parsed = texts.each_ref().map(|text| {
                let text = text.as_ref()?;
                Sdp::parse(text.as_bytes()).ok()
            });
            let [Some(said), more, told] = &parsed else {
                panic!("{texts:?}");
            };
            let more = more.as_ref().map(|more| &more.media()[0]);
            let told = told.as_ref().map(|told| &told.media()[0]);
            let formats = Formats::of(&said.media()[0], more, told);
            let numbers = |formats: &[PayloadFormat]| -> Vec<u8> {
                formats.iter().map(|format| format.number).collect()
            };
            let (own, besides, told) = expected;
            assert_eq!(numbers(&formats.said), own);
            assert_eq!(numbers(&formats.besides), besides);
            assert_eq!(numbers(&formats.told), told);
        }
    }
}
