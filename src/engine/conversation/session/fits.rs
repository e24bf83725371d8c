//! Whether a session that a new leg brings goes with what the survivor was told.

use super::media;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, Shared};
use crate::engine::conversation::leg::Talk;
use crate::engine::ids::Side;
use crate::engine::settings::MediaMode;
use crate::sip::sdp;

/// What becomes of a session by which a phone repairs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It goes with what the survivor was told.
    Stands,
    /// The survivor must agree to it first.
    Asked,
    /// Neither: it is refused.
    Never,
}

impl Conversation {
    /// Judges the session by which a phone repairs itself; without one it agrees to what stands. The survivor is asked
    /// where it may be sending what the phone does not take, as for the answer of a re-fork.
    pub(crate) fn fits_again(&self, context: &Context<'_>, side: Side, said: Option<&str>) -> Fit {
        let survivor = self.party(side.other());
        // It wins over an answer that waits for the survivor's consent.
        let lost = self.party(side).lost.as_ref();
        let asked = lost.and_then(|lost| lost.joining.as_ref()?.asked.as_ref());
        let talk = asked.map(|(_, before)| before).or_else(|| survivor.talk());
        let Some(told) = talk.and_then(|talk| talk.told.as_deref()) else {
            return Fit::Stands;
        };
        let own = talk.and_then(|talk| talk.said.as_deref());
        let own = own.unwrap_or_default().as_bytes();
        let said = said.unwrap_or(told);
        let relayed = context.shared.settings.media.mode == MediaMode::Relay;
        let (told, offer) = (told.as_bytes(), said.as_bytes());
        if media::is_all_signalling(said) || relayed && sdp::fits(told, own, offer) {
            return Fit::Stands;
        }
        if relayed && !sdp::may_be_asked_for(told, offer) {
            return Fit::Never;
        }
        // Who is lost itself is told when it is found.
        match survivor.is_up() {
            true => Fit::Asked,
            false => Fit::Stands,
        }
    }

    /// Returns true where a session goes with the survivor's, or nobody is there to be asked.
    pub(crate) fn fits(&self, context: &Context<'_>, survivor: Side, said: Option<&str>) -> bool {
        let relayed = context.shared.settings.media.mode == MediaMode::Relay;
        let party = self.party(survivor);
        let told = party.talk().and_then(|talk| talk.told.as_deref());
        let own = party.talk().and_then(|talk| talk.said.as_deref());
        let own = own.unwrap_or_default();
        let fits = match (told, said) {
            (Some(told), Some(said)) => {
                relayed && sdp::fits(told.as_bytes(), own.as_bytes(), said.as_bytes())
                    || media::is_all_signalling(said)
            }
            // Who says nothing to an offer has no media (RFC 3261 13.2.1).
            (Some(_), None) => false,
            (None, _) => true,
        };
        // Whom the other has put on hold that is gone now is told that this is over.
        let side = survivor.other();
        let both = told.zip(said);
        let changes = both.is_some_and(|(told, said)| !media::same_directions(told, said));
        // Where the target of a transfer allows less, it was offered less: the survivor has resumed meanwhile.
        // Who holds by itself would do no more for that.
        let opens = both.is_some_and(|(told, said)| {
            let all_one = |talk| media::same_directions_for(talk, told, said);
            media::opens(None, told, said) && !party.talk().is_some_and(all_one)
        });
        // It may have taken back a hold of its own since, and been told that the other's lasts.
        let held = both.is_some_and(|(told, said)| media::opens(Some(own), told, said));
        let unheld = self.party(side).lost.is_some() && self.resumed(side).is_some();
        let resumes = self.is_transferring(side) && opens || unheld && changes || held;
        let deaf = party.talk().is_some_and(is_deaf);
        fits && !resumes && !deaf || !party.is_up()
    }
}

impl Talk {
    /// Returns true where it takes some of the formats that it was told of, and not all.
    pub(crate) fn chooses(&self) -> bool {
        let both = self.told.as_deref().zip(self.said.as_deref());
        let both = both.map(|(told, said)| (told.as_bytes(), said.as_bytes()));
        both.is_some_and(|(told, said)| sdp::takes_some(told, told, said))
    }

    /// Returns something that it might say, with what it has offered before.
    pub(crate) fn widened(&self, said: &str) -> Option<Box<str>> {
        let wider = sdp::widened(said.as_bytes(), self.more.as_ref()?.as_bytes())?;
        String::from_utf8(wider).ok().map(String::into_boxed_str)
    }
}

/// Returns true where an endpoint need not hear of a session, by what it was told of another before the answer. What
/// it has not been told of at all it cannot send: nor the digits that the other takes.
pub(crate) fn suits(shared: &Shared, talk: &Talk, said: &str) -> bool {
    let (Some(told), Some(own)) = (talk.told.as_deref(), talk.said.as_deref()) else {
        return false;
    };
    if media::is_all_signalling(said) {
        return true;
    }
    let texts = [told, own, said].map(str::as_bytes);
    let [told_bytes, own_bytes, said_bytes] = texts;
    shared.settings.media.mode == MediaMode::Relay
        && sdp::fits(told_bytes, own_bytes, said_bytes)
        && !sdp::lacks_digits(told_bytes, own_bytes, said_bytes)
        && !media::opens(Some(own), told, said)
        && !is_deaf(talk)
}

/// Returns true where an endpoint takes none of the streams that it was told of.
pub(crate) fn is_deaf(talk: &Talk) -> bool {
    let both = talk.told.as_deref().zip(talk.said.as_deref());
    both.is_some_and(|(told, said)| sdp::is_mute(told.as_bytes(), said.as_bytes()))
}
