//! The 2xx to who called, until its ACK is here: a restart does not end its sending. Who has heard it ring says nothing
//! more by itself (RFC 3261 17.1.1.2), and would hear that for ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::{Leg, Unacknowledged};
use crate::engine::dialog::Life;
use crate::engine::ids::{Flow, Side};
use crate::engine::time::{Millis, Time};

/// Who hears it at once has answered it by then.
const PROMPT: Millis = Millis(150);

/// Most have their ACK at once, and the store hears nothing of them. A connection ends with us, and with it the INVITE:
/// of those that came by one nothing is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Success {
    bytes: Bytes,
    flow: Flow,
    cseq: u32,
    /// None: it is kept.
    #[serde(skip)]
    keep_at: Option<Time>,
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
        flow: Flow,
        cseq: u32,
        context: &Context<'_>,
    ) -> Option<Box<Self>> {
        let success = Self {
            bytes: bytes.clone(),
            flow,
            cseq,
            keep_at: Some(context.now + PROMPT),
        };
        (!flow.transport.is_reliable()).then(|| Box::new(success))
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.keep_at.is_none()
    }
}

impl Leg {
    /// Returns when its 2xx is to be kept, where that has no ACK by then.
    pub(crate) fn success_kept_at(&self) -> Option<Time> {
        self.success.as_ref()?.keep_at
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
    }

    /// After a restart: the 2xx is sent on, for as long as an INVITE waits for it.
    pub(crate) fn success_resumes(&mut self, context: &mut Context<'_>) {
        let (id, now) = (self.id, context.now);
        let lasts = Millis(64 * context.shared.settings.timers.t1.0);
        let waits = self.answered.is_some_and(|at| now < at + lasts);
        let Some(leg) = self.leg_mut(Side::Caller) else {
            return;
        };
        let Some(success) = leg.success.take().filter(|_| waits) else {
            return;
        };
        let shared = &mut *context.shared;
        let (bytes, flow) = (success.bytes.clone(), success.flow);
        let server = (shared.transactions).resume(bytes, flow, (id, leg.id), now, &mut shared.out);
        if let Some(server) = server {
            leg.life = Life::Answered;
            leg.unacknowledged = Some(Unacknowledged {
                server,
                cseq: success.cseq,
                answer_due: false,
            });
            leg.success = Some(success);
        }
    }
}
