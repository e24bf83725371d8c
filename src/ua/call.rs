//! A call or IM session as its user has it.

use std::time::Duration;

use crate::sip::{Method, Name};

use super::UaError;
use super::dialog::{Dialog, Ending, Phase, Text};
use super::phone::Phone;
use super::request::Ticket;
use super::rtp::Packet;

/// How long it waits where two offers have met, and how often.
const GLARE: Duration = Duration::from_millis(500);
const GLARES_MAX: usize = 3;

/// One call of a phone. It may be held on to after its end.
#[derive(Clone, Debug)]
pub struct Call {
    phone: Phone,
    index: usize,
}

impl Call {
    pub(super) fn new(phone: Phone, index: usize) -> Self {
        Self { phone, index }
    }

    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    pub fn phase(&self) -> Phase {
        self.look(|call| call.phase)
    }

    /// Returns how it ended; nothing while it has not.
    pub fn ending(&self) -> Option<Ending> {
        ending(self.phase())
    }

    pub fn call_id(&self) -> String {
        self.look(|call| call.call_id.clone())
    }

    /// Returns what the other end last described.
    pub fn remote_sdp(&self) -> Vec<u8> {
        self.look(|call| call.remote_sdp.clone())
    }

    /// Returns the URI that the other end is reached by.
    pub fn target(&self) -> String {
        self.look(|call| call.target.clone())
    }

    /// Returns the texts that came within it, in their order.
    pub fn texts(&self) -> Vec<Text> {
        self.look(|call| call.texts.clone())
    }

    /// Returns the RTP packets of its sound that came, in their order.
    pub fn heard(&self) -> Vec<Packet> {
        self.look(|call| call.rtp.first().map(|rtp| rtp.received.clone()))
            .unwrap_or_default()
    }

    /// Returns those of its pictures.
    pub fn seen(&self) -> Vec<Packet> {
        self.look(|call| call.rtp.get(1).map(|rtp| rtp.received.clone()))
            .unwrap_or_default()
    }

    /// Returns the RTP packets of its sound that were sent.
    pub fn said(&self) -> Vec<Packet> {
        self.look(|call| call.rtp.first().map(|rtp| rtp.sent.clone()))
            .unwrap_or_default()
    }

    /// Returns how many packets came that could not be deciphered, or plain where they must not be.
    pub fn undeciphered(&self) -> usize {
        self.look(|call| call.rtp.iter().map(|rtp| rtp.undeciphered).sum())
    }

    /// Sends 180.
    pub fn ring(&self) -> Result<(), UaError> {
        self.phone.0.act(|agent| {
            agent.check_awake()?;
            agent.ring(self.index);
            Ok(())
        })
    }

    /// Sends 200 with a description.
    pub fn answer(&self) -> Result<(), UaError> {
        self.phone.0.act(|agent| agent.answer(self.index))
    }

    /// Sends a final refusal.
    pub fn refuse(&self, status: u16) -> Result<(), UaError> {
        self.phone.0.act(|agent| agent.refuse(self.index, status))
    }

    /// Sends 302 with whom the caller is to call instead.
    pub fn forward(&self, to: &str) -> Result<(), UaError> {
        self.phone.0.act(|agent| agent.forward(self.index, to))
    }

    /// Asks by REFER that the other end goes on with somebody else.
    pub fn transfer(&self, to: &str) -> Result<u16, UaError> {
        let to = format!("<{to}>");
        self.request(Method::Refer, vec![(Name::ReferTo, to)], None)
    }

    /// Asks by REFER that the other end goes on with that of another call of this phone (RFC 3891, 5589 7).
    pub fn transfer_to(&self, other: &Self) -> Result<u16, UaError> {
        let named = other.look(|call| {
            format!(
                "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
                call.call_id.replace('@', "%40"),
                call.remote_tag.as_deref().unwrap_or(""),
                call.local_tag
            )
        });
        let target = other.target();
        self.transfer(&format!("{target}?Replaces={named}"))
    }

    /// Waits for the final status of what was asked by REFER.
    pub fn wait_transferred(&self, within: Duration) -> Result<u16, UaError> {
        self.wait(within, "the outcome of a transfer", |call| {
            call.reports.iter().copied().find(|status| *status >= 200)
        })
    }

    /// Sends CANCEL, as soon as there was a provisional response.
    pub fn cancel(&self) -> Result<(), UaError> {
        self.phone.0.act(|agent| agent.cancel(self.index))
    }

    /// Sends BYE, and waits for its response.
    pub fn hang_up(&self) -> Result<u16, UaError> {
        self.request(Method::Bye, Vec::new(), None)
    }

    /// Sends BYE with a Reason (RFC 3326).
    pub fn hang_up_because(&self, reason: &str) -> Result<u16, UaError> {
        self.request(Method::Bye, vec![(Name::Reason, reason.to_owned())], None)
    }

    /// Puts it on hold by re-INVITE, and waits for the response.
    pub fn hold(&self) -> Result<u16, UaError> {
        self.change(true)
    }

    /// Takes it back from hold.
    pub fn resume(&self) -> Result<u16, UaError> {
        self.change(false)
    }

    /// Asks once more, after a pause, where that meets what the other side has open (RFC 3261 14.1).
    fn change(&self, on_hold: bool) -> Result<u16, UaError> {
        let ask = || {
            let ticket = self.phone.0.act(|agent| agent.hold(self.index, on_hold))?;
            Ok(self.phone.response(ticket, "INVITE")?.status())
        };
        for _ in 0..GLARES_MAX {
            match ask()? {
                491 => std::thread::sleep(GLARE),
                status => return Ok(status),
            }
        }
        ask()
    }

    /// Offers pictures beside the sound by re-INVITE, or takes them out, and waits for the response.
    pub fn show(&self, pictures: bool) -> Result<u16, UaError> {
        let ticket = self.phone.0.act(|agent| agent.show(self.index, pictures))?;
        Ok(self.phone.response(ticket, "INVITE")?.status())
    }

    /// Sends a text within the dialog, and waits for what becomes of it.
    pub fn message(&self, text: &str) -> Result<u16, UaError> {
        let ticket = self.post(text)?;
        self.outcome(ticket)
    }

    /// Sends a text within the dialog, without waiting.
    pub fn post(&self, text: &str) -> Result<Ticket, UaError> {
        let body = Some(("text/plain", text.as_bytes().to_vec()));
        self.phone
            .0
            .act(|agent| agent.in_dialog(self.index, Method::Message, Vec::new(), body))
    }

    /// Waits for the final status of what was posted.
    pub fn outcome(&self, ticket: Ticket) -> Result<u16, UaError> {
        Ok(self.phone.response(ticket, "MESSAGE")?.status())
    }

    /// Sends any request within the dialog, and waits for its final status.
    pub fn request(
        &self,
        method: Method,
        headers: Vec<(Name, String)>,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<u16, UaError> {
        let name = method.as_str().to_owned();
        let ticket = self
            .phone
            .0
            .act(|agent| agent.in_dialog(self.index, method, headers, body))?;
        Ok(self.phone.response(ticket, &name)?.status())
    }

    /// Waits until it rings there or here, or more.
    pub fn wait_ringing(&self, within: Duration) -> Result<(), UaError> {
        self.wait(within, "ringing", |call| {
            (call.phase != Phase::Calling).then_some(())
        })
    }

    /// Waits until it is answered and acknowledged.
    pub fn wait_up(&self, within: Duration) -> Result<(), UaError> {
        self.wait(within, "an answered call", |call| {
            (call.phase == Phase::Up).then_some(())
        })
    }

    /// Waits for its end.
    pub fn wait_over(&self, within: Duration) -> Result<Ending, UaError> {
        self.wait(within, "the end of the call", |call| ending(call.phase))
    }

    /// Waits until so many texts have come.
    pub fn wait_texts(&self, count: usize, within: Duration) -> Result<Vec<Text>, UaError> {
        let what = format!("{count} texts");
        self.wait(within, &what, |call| {
            (call.texts.len() >= count).then(|| call.texts.clone())
        })
    }

    /// Waits until something is true of the RTP packets that have come.
    pub fn wait_heard(
        &self,
        within: Duration,
        what: &str,
        mut enough: impl FnMut(&[Packet]) -> bool,
    ) -> Result<(), UaError> {
        self.wait(within, what, |call| {
            let heard = call.rtp.first().map_or(&[][..], |rtp| &rtp.received);
            enough(heard).then_some(())
        })
    }

    /// Waits until so many packets of its pictures came of the phone with this voice.
    pub fn wait_pictures(&self, voice: u8, count: usize, within: Duration) -> Result<(), UaError> {
        let what = format!("{count} pictures of {voice:#04x}");
        self.wait(within, &what, |call| {
            let seen = call.rtp.get(1).map_or(&[][..], |rtp| &rtp.received);
            let of_voice = seen
                .iter()
                .filter(|packet| packet.payload.first() == Some(&voice));
            (of_voice.count() >= count).then_some(())
        })
    }

    /// Waits until so many packets came of the phone with this voice.
    pub fn wait_voice(&self, voice: u8, count: usize, within: Duration) -> Result<(), UaError> {
        let what = format!("{count} packets of voice {voice:#04x}");
        self.wait_heard(within, &what, |heard| {
            let of_voice = heard
                .iter()
                .filter(|packet| packet.payload.first() == Some(&voice));
            of_voice.count() >= count
        })
    }

    fn look<T>(&self, look: impl FnOnce(&Dialog) -> T) -> T {
        look(&self.phone.0.lock().calls[self.index])
    }

    fn wait<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Dialog) -> Option<T>,
    ) -> Result<T, UaError> {
        self.phone
            .0
            .wait(within, what, |agent| look(&agent.calls[self.index]))
    }
}

fn ending(phase: Phase) -> Option<Ending> {
    match phase {
        Phase::Over(ending) => Some(ending),
        Phase::Calling | Phase::Ringing | Phase::Answered | Phase::Up => None,
    }
}
