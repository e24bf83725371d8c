//! The phone stands at another address, and mends its calls by itself: by a re-INVITE in the dialog that it has, or
//! by an INVITE that takes its place (RFC 3891).

use std::net::SocketAddr;

use refork::engine::time::Time;

use super::Phone;
use super::call::{Call, Stage};

impl Phone {
    pub(super) fn repair(&mut self, now: Time) {
        for id in self.ids() {
            let Some(at) = self.find(id) else { continue };
            if self.calls[at].stage != Stage::Live {
                continue;
            }
            let port = self.calls[at].session.rtp.port();
            self.calls[at].session.rtp = SocketAddr::new(self.spec.address.ip(), port);
            if self.spec.traits.anew {
                self.call_anew(at, now);
            } else {
                self.change(at, now);
            }
        }
    }

    /// Sends an INVITE that replaces the dialog of a call, and has the session that this has.
    fn call_anew(&mut self, at: usize, now: Time) {
        let replaced = self.calls[at].id;
        let before = |call: &Call| call.stage == Stage::Calling && call.replaces == Some(replaced);
        if self.calls.iter().any(before) {
            return;
        }
        let (id, call_id, local_tag) = (self.number(), self.coin("c"), self.tag());
        let old = &self.calls[at];
        let named = old.remote.rsplit_once('<');
        let target = named.map_or(&*old.remote, |(_, uri)| uri.trim_end_matches('>'));
        let call = Call {
            local: old.local.clone(),
            remote: old.remote.clone(),
            target: target.to_owned(),
            replaces: Some(replaced),
            ..Call::new(id, call_id, local_tag, old.session.clone())
        };
        self.calls.push(call);
        self.invite(self.calls.len() - 1, true, now);
    }

    /// Returns the Replaces of an INVITE that is to take another call's place.
    pub(super) fn replaces_of(&self, at: usize) -> Option<String> {
        let call = &self.calls[at];
        let old = call.replaces.filter(|_| call.stage == Stage::Calling);
        let old = &self.calls[self.find(old?)?];
        let tag = old.remote_tag.as_deref()?;
        Some(format!(
            "{};to-tag={tag};from-tag={}",
            old.call_id, old.local_tag
        ))
    }

    /// The call stands, and its phone ends the one whose place it took (RFC 3891 3).
    pub(super) fn takes_its_place(&mut self, at: usize, now: Time) {
        if let Some(old) = self.calls[at].replaces.take().and_then(|id| self.find(id)) {
            let (texts, at) = (std::mem::take(&mut self.calls[old].texts), at);
            self.calls[at].texts.extend(texts);
            if self.calls[old].stands() {
                self.bye(old, now);
            }
            if let Some(at) = self.live() {
                self.next_text(at, now);
            }
        }
    }

    /// It does not take that place: it asks in the dialog that it has.
    pub(super) fn is_not_replaced(&mut self, call: Call, now: Time) {
        let old = call.replaces.and_then(|id| self.find(id));
        if let Some(at) = old.filter(|at| self.calls[*at].stage == Stage::Live) {
            self.change(at, now);
        }
    }
}
