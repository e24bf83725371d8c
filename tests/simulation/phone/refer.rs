//! The phone hands its call to somebody else (RFC 3515, RFC 5589 6).

use refork::engine::settings::Kind;
use refork::engine::time::Time;
use refork::sip::{Message, Method, Name};

use super::call::{Call, Stage};
use super::{DOMAIN, Phone, What};

impl Phone {
    /// Sends a REFER with this Refer-To.
    pub(super) fn send_refer(&mut self, at: usize, to: &str, now: Time) {
        let contact = self.contact();
        let from = self.calls[at].local.clone();
        let bytes = self
            .next_within(at, &Method::Refer)
            .header(Name::Contact, contact)
            .header(Name::ReferTo, to)
            .header(Name::ReferredBy, from)
            .end();
        let id = self.calls[at].id;
        self.begin(bytes, Some(id), now);
    }

    /// Its user transfers the call that stands to another user. Returns false where none does.
    pub(crate) fn refer(&mut self, user: &str, now: Time) -> bool {
        let Some(at) = self.live() else { return false };
        self.send_refer(at, &format!("<sip:{user}@{DOMAIN}>"), now);
        true
    }

    /// Its user puts the other on hold, and calls somebody else meanwhile (RFC 5589 7).
    pub(crate) fn consult(&mut self, user: &str, now: Time) {
        if self.live().is_some() {
            self.hold(true, now);
            self.call(user, Kind::Call, now);
        }
    }

    /// Its user has the two others talk to one another.
    pub(crate) fn join(&mut self, now: Time) {
        let live = |call: &&Call| call.stage == Stage::Live;
        let mut calls = self.calls.iter().filter(live);
        let (Some(first), Some(second)) = (calls.next(), calls.next()) else {
            return;
        };
        let Some(tag) = &second.remote_tag else {
            return;
        };
        let replaces = format!(
            "{}%3Bto-tag%3D{tag}%3Bfrom-tag%3D{}",
            second.call_id, second.local_tag
        );
        let user = second.remote.trim_end_matches('>');
        let (id, to) = (first.id, format!("{user}?Replaces={replaces}>"));
        if let Some(at) = self.find(id) {
            self.send_refer(at, &to, now);
        }
    }

    /// The word of how the new call goes: where it stands, this one is done.
    pub(super) fn notified(&mut self, notify: &Message, at: usize, now: Time) {
        self.respond(notify, 200, None, now);
        let said = String::from_utf8_lossy(notify.body()).into_owned();
        let status = said.split_ascii_whitespace().nth(1);
        let status = status.and_then(|status| status.parse::<u16>().ok());
        if matches!(status, Some(200..300)) && self.calls[at].stands() {
            self.note(What::Transferred);
            self.bye(at, now);
        }
    }
}
