//! An upstream that asks us for proof: we answer with the account that we have there.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::LegId;
use crate::engine::routing;
use crate::engine::settings::{Account, Settings};
use crate::sip::{Message, Name, digest};

impl Conversation {
    /// An upstream challenges the INVITE of a branch. Returns true where it is to go out again, with
    /// credentials; once, since who takes the first ones for wrong will not take others for right.
    pub(crate) fn answers_challenge(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let (asked, name) = match response.status() {
            401 => (Name::WwwAuthenticate, Name::Authorization),
            407 => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
            _ => return false,
        };
        let cnonce = context.shared.mint.hex(8);
        let Some(branch) = self.branch_mut(leg) else {
            return false;
        };
        let endpoint = &branch.leg.endpoint;
        let through = endpoint.through.as_deref();
        let account = through.and_then(|through| account(through, &context.shared.settings));
        let Some(account) = account.filter(|_| branch.proof.is_none()) else {
            return false;
        };
        let (user, password) = (&account.user, &account.password);
        let answer = response.fields(asked).find_map(|challenge| {
            digest::answer(
                challenge,
                user,
                password,
                "INVITE",
                &endpoint.contact,
                &cnonce,
            )
        });
        let Some(answer) = answer else { return false };
        branch.call_again();
        branch.proof = Some((name, answer.into()));
        true
    }
}

fn account<'s>(through: &str, settings: &'s Settings) -> Option<&'s Account> {
    let mut upstreams = settings.upstreams.iter();
    let (_, upstream) =
        upstreams.find(|(name, _)| routing::hops(name, settings).any(|hop| hop == through))?;
    upstream.account.as_ref()
}
