//! The 2xx to who called, until its ACK is here: a restart does not end its sending. Who has heard it ring says nothing
//! more by itself (RFC 3261 17.1.1.2), and would hear that for ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::{Leg, Unacknowledged};
use crate::engine::dialog::Life;
use crate::engine::ids::{Flow, Side};
use crate::engine::location;
use crate::engine::ports::StreamSettings;
use crate::engine::time::{Millis, Time};

/// Who hears it at once has answered it by then.
const PROMPT: Millis = Millis(150);
/// Whoever hears it at all has answered it by then.
const PATIENCE: Millis = Millis::from_secs(3);

/// Most have their ACK at once, and the store hears nothing of them. What went over a connection may end with that and
/// with us, and nobody says so: it is kept from the answer on, and said again to a caller that is back over another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Success {
    bytes: Bytes,
    flow: Flow,
    cseq: u32,
    /// Who called had registered over that flow.
    #[serde(default)]
    registered: bool,
    /// None: it is kept.
    #[serde(skip)]
    keep_at: Option<Time>,
    /// When no media goes to a caller any more who sends none, as nothing shows that there is one.
    #[serde(skip)]
    hush_at: Option<Time>,
    #[serde(skip)]
    hushed: bool,
}

/// Writes one that is kept.
pub(crate) fn durable<S: Serializer>(
    success: &Option<Box<Success>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let kept = success.as_ref().filter(|success| success.is_kept());
    kept.serialize(serializer)
}

impl Success {
    pub(super) fn of(
        bytes: &Bytes,
        (flow, registered): (Flow, bool),
        cseq: u32,
        context: &Context<'_>,
    ) -> Box<Self> {
        let once = |after| (!flow.transport.is_reliable()).then(|| context.now + after);
        Box::new(Self {
            bytes: bytes.clone(),
            flow,
            cseq,
            registered,
            keep_at: once(PROMPT),
            hush_at: once(PATIENCE),
            hushed: false,
        })
    }

    /// The store is told that it has its ACK. Whoever has had one over a connection says so once more.
    pub(crate) fn is_to_be_forgotten(&self) -> bool {
        self.is_kept() && !self.flow.transport.is_reliable()
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.keep_at.is_none()
    }

    pub(crate) fn is_hushed(&self) -> bool {
        self.hushed
    }
}

impl Leg {
    /// Returns when its 2xx is to be kept, or what goes with it to end, where that has no ACK by then.
    pub(crate) fn success_due_at(&self) -> Option<Time> {
        let success = self.success.as_ref()?;
        success.keep_at.or(success.hush_at)
    }

    /// The relay is told of no address of a caller who is to hear nothing.
    pub(crate) fn hushes(&self, streams: &mut [StreamSettings]) {
        if self.success.as_ref().is_some_and(|sent| sent.is_hushed()) {
            for stream in streams {
                (stream.rtp, stream.rtcp) = (None, None);
            }
        }
    }
}

impl Conversation {
    /// No ACK has come at once.
    pub(crate) fn success_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let leg = self.leg_mut(Side::Caller);
        let success = leg.and_then(|leg| leg.success.as_mut());
        if let Some(success) = success
            && success.keep_at.take_if(|at| *at <= now).is_some()
        {
            self.persist(context);
        }
        let leg = self.leg_mut(Side::Caller);
        let success = leg.and_then(|leg| leg.success.as_mut());
        let due = success.and_then(|success| success.hush_at.take_if(|at| *at <= now));
        // Of whom something should come the relay says whether it does, where it looks for that so soon.
        let silence = context.shared.settings.detect.media_silence;
        let told = silence.is_some_and(|silence| silence <= PATIENCE);
        if due.is_some() && !(told && self.party(Side::Caller).due) {
            self.hush(context, Side::Caller);
        }
    }

    /// No media goes to a caller of whom nothing shows that it is there: until its ACK, or where its own comes from.
    /// Returns false where something does.
    pub(crate) fn hush(&mut self, context: &mut Context<'_>, side: Side) -> bool {
        if !self.may_be_forged(context, side) {
            return false;
        }
        let success = self.leg_mut(side).and_then(|leg| leg.success.as_mut());
        if let Some(success) = success
            && !std::mem::replace(&mut success.hushed, true)
        {
            self.configure(context, side);
        }
        true
    }

    /// Returns true as long as nothing shows that who called is at the address that its INVITE came from: a datagram
    /// names any. It gets the answer, and what ends it (RFC 3261 13.3.1.4): whatever else went there would be sent to
    /// whomever somebody else has named. Who called from where it had registered, and has moved since, is no such.
    pub(crate) fn may_be_forged(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        let Some(leg) = &party.leg else { return false };
        let dialog = &leg.dialog;
        let unheard = leg.life == Life::Answered
            && leg
                .unacknowledged
                .as_ref()
                .is_some_and(|waiting| dialog.remote_cseq <= Some(waiting.cseq));
        let unknown = match party.asker {
            Asker::Unasked(_) | Asker::Says(_) | Asker::Stranger => !leg.is_beyond(),
            Asker::Proven(_) | Asker::Trusted | Asker::Of(_) => false,
        };
        let was_there = leg.success.as_ref().is_some_and(|sent| sent.registered);
        let host = dialog.flow.peer.ip().to_canonical();
        let is_there = |known: &Flow| known.peer.ip().to_canonical() == host;
        unheard
            && unknown
            && !was_there
            && !dialog.flow.transport.is_reliable()
            && !location::has_flow(&party.aor, context.now, context.world, is_there)
    }

    /// After a restart: the 2xx is sent on, for as long as an INVITE waits for it.
    pub(crate) fn success_resumes(&mut self, context: &mut Context<'_>) {
        let leg = self.leg_mut(Side::Caller);
        let Some(flow) = leg.and_then(|leg| leg.success.as_ref().map(|sent| sent.flow)) else {
            return;
        };
        if !flow.transport.is_reliable()
            && self.success_goes(context, flow)
            && let Some(leg) = self.leg_mut(Side::Caller)
        {
            leg.life = Life::Answered;
        }
    }

    /// The caller is back over another connection than that which has ended with us: it may have no answer yet.
    pub(crate) fn success_follows(&mut self, context: &mut Context<'_>, side: Side, flow: Flow) {
        let waits = |leg: &&Leg| leg.unacknowledged.is_none() && leg.success.is_some();
        let leg = self.party(side).leg.as_ref();
        if leg.filter(waits).is_some() {
            self.success_goes(context, flow);
        }
    }

    /// Returns true where an INVITE may wait for it yet.
    fn success_goes(&mut self, context: &mut Context<'_>, flow: Flow) -> bool {
        let (id, now) = (self.id, context.now);
        let lasts = Millis(64 * context.shared.settings.timers.t1.0);
        let waits = self.answered.is_some_and(|at| now < at + lasts);
        let Some(leg) = self.leg_mut(Side::Caller) else {
            return false;
        };
        let Some(success) = leg.success.take().filter(|_| waits) else {
            return false;
        };
        let shared = &mut *context.shared;
        let bytes = success.bytes.clone();
        let server = (shared.transactions).resume(bytes, flow, (id, leg.id), now, &mut shared.out);
        if let Some(server) = server {
            leg.unacknowledged = Some(Unacknowledged {
                server,
                cseq: success.cseq,
                answer_due: false,
            });
            leg.success = Some(success);
        }
        server.is_some()
    }
}
