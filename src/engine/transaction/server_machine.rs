//! One server transaction's machine, with or without INVITE, by the same inputs.

use super::table::{Hand, ServerAct as Act};
use super::{invite_server, non_invite_server};
use crate::sip::Method;

#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    Invite(invite_server::State),
    NonInvite(non_invite_server::State),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Request,
    Ack,
    Cancel,
    Respond(u16),
    Acknowledged,
    Due(Hand),
}

impl Machine {
    pub(super) fn start(method: &Method) -> (Self, &'static [Act]) {
        if *method == Method::Invite {
            let (state, acts) = invite_server::START;
            (Self::Invite(state), acts)
        } else {
            let (state, acts) = non_invite_server::START;
            (Self::NonInvite(state), acts)
        }
    }

    pub(super) fn step(&mut self, input: Input) -> &'static [Act] {
        match self {
            Self::Invite(state) => {
                let (next, acts) = invite_server::step(*state, input.for_invite());
                *state = next;
                acts
            }
            Self::NonInvite(state) => {
                let Some(input) = input.for_non_invite() else {
                    return &[];
                };
                let (next, acts) = non_invite_server::step(*state, input);
                *state = next;
                acts
            }
        }
    }

    pub(super) fn is_over(self) -> bool {
        matches!(
            self,
            Self::Invite(invite_server::State::Terminated)
                | Self::NonInvite(non_invite_server::State::Terminated)
        )
    }
}

impl Input {
    fn for_invite(self) -> invite_server::Input {
        use invite_server::Input as I;
        match self {
            Self::Request => I::Invite,
            Self::Ack => I::Ack,
            Self::Cancel => I::Cancel,
            Self::Respond(..=199) => I::Provisional,
            Self::Respond(200..=299) => I::Success,
            Self::Respond(300..) => I::Failure,
            Self::Acknowledged => I::Acknowledged,
            Self::Due(Hand::Resend) => I::Resend,
            Self::Due(Hand::Deadline) => I::Deadline,
        }
    }

    /// Nothing where it means nothing without an INVITE.
    fn for_non_invite(self) -> Option<non_invite_server::Input> {
        use non_invite_server::Input as I;
        Some(match self {
            Self::Request => I::Request,
            Self::Respond(..=100) => I::Provisional,
            // RFC 4320 4.1: no provisional but a 100 goes out, and no 408.
            Self::Respond(101..=199) => return None,
            Self::Respond(408) => I::Withheld,
            Self::Respond(200..) => I::Final,
            Self::Due(Hand::Resend) => I::Resend,
            Self::Due(Hand::Deadline) => I::Deadline,
            Self::Ack | Self::Cancel | Self::Acknowledged => return None,
        })
    }
}
