//! Whether a session that a new leg brings goes with what the survivor was told.

use super::Conversation;
use super::context::Context;
use super::leg::Talk;
use super::media;
use crate::engine::ids::Side;
use crate::engine::settings::MediaMode;
use crate::sip::sdp;

impl Conversation {
    /// Returns true where a session goes with the survivor's, or nobody is there to be asked.
    pub(super) fn fits(&self, context: &Context<'_>, survivor: Side, said: Option<&str>) -> bool {
        let relayed = context.shared.settings.media.mode == MediaMode::Relay;
        let party = self.party(survivor);
        let told = party.talk().and_then(|talk| talk.told.as_deref());
        let fits = match (told, said) {
            (Some(told), Some(said)) => {
                relayed && sdp::fits(told.as_bytes(), said.as_bytes())
                    || media::is_all_signalling(said)
            }
            (None, _) | (_, None) => true,
        };
        // Whom the other has put on hold that is gone now is told that this is over.
        let side = survivor.other();
        let both = told.zip(said);
        let changes = both.is_some_and(|(told, said)| !media::same_directions(told, said));
        // Where the target of a transfer allows less, it was offered less: the survivor has resumed meanwhile.
        let opens = both.is_some_and(|(told, said)| media::opens(told, said));
        let resumes =
            self.is_transferring(side) && opens || self.resumed(side).is_some() && changes;
        let deaf = party.talk().is_some_and(is_deaf);
        fits && !resumes && !deaf || !party.is_up()
    }
}

/// Returns true where an endpoint takes none of the streams that it was told of.
pub(super) fn is_deaf(talk: &Talk) -> bool {
    let both = talk.told.as_deref().zip(talk.said.as_deref());
    both.is_some_and(|(told, said)| sdp::is_mute(told.as_bytes(), said.as_bytes()))
}
