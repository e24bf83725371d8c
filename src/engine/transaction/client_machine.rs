//! Either of the two client machines, and what happens to it.

use super::table::{ClientAct as Act, Hand};
use super::{invite_client, non_invite_client};
use crate::sip::Method;

#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    Invite(invite_client::State),
    NonInvite(non_invite_client::State),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Response(u16),
    Cancel,
    Due(Hand),
    Broken,
    Hurry,
    Woken,
}

impl Machine {
    pub(super) fn start(method: &Method) -> (Self, &'static [Act]) {
        if *method == Method::Invite {
            let (state, acts) = invite_client::START;
            (Self::Invite(state), acts)
        } else {
            let (state, acts) = non_invite_client::START;
            (Self::NonInvite(state), acts)
        }
    }

    pub(super) fn step(&mut self, input: Input) -> &'static [Act] {
        match self {
            Self::Invite(state) => {
                let (next, acts) = invite_client::step(*state, input.for_invite());
                *state = next;
                acts
            }
            Self::NonInvite(state) => {
                let Some(input) = input.for_non_invite() else {
                    return &[];
                };
                let (next, acts) = non_invite_client::step(*state, input);
                *state = next;
                acts
            }
        }
    }

    pub(super) fn is_over(self) -> bool {
        matches!(
            self,
            Self::Invite(invite_client::State::Terminated)
                | Self::NonInvite(non_invite_client::State::Terminated)
        )
    }

    /// Returns true for an INVITE that is given up and has had no response.
    pub(super) fn is_given_up_unheard(self) -> bool {
        use invite_client::State as S;
        matches!(self, Self::Invite(S::Held | S::Severed | S::Abandoned))
    }

    pub(super) fn minds_transport(self) -> bool {
        match self {
            Self::Invite(state) => state.minds_transport(),
            Self::NonInvite(state) => state.minds_transport(),
        }
    }
}

impl Input {
    fn for_invite(self) -> invite_client::Input {
        use invite_client::Input as I;
        match self {
            Self::Response(..=100) => I::Trying,
            Self::Response(101..=199) => I::Progress,
            Self::Response(200..=299) => I::Success,
            Self::Response(300..) => I::Failure,
            Self::Cancel => I::Cancel,
            Self::Due(Hand::Resend) => I::Resend,
            Self::Due(Hand::Deadline) => I::Deadline,
            Self::Broken => I::Broken,
            Self::Hurry => I::Hurry,
            Self::Woken => I::Woken,
        }
    }

    /// Nothing for a CANCEL: RFC 3261 9.1 knows none of what is no INVITE. That goes out again every 4 s (timer E),
    /// and has nobody to hurry.
    fn for_non_invite(self) -> Option<non_invite_client::Input> {
        use non_invite_client::Input as I;
        Some(match self {
            Self::Response(..=100) => I::Trying,
            Self::Response(101..=199) => I::Progress,
            Self::Response(200..) => I::Final,
            Self::Cancel | Self::Hurry | Self::Woken => return None,
            Self::Due(Hand::Resend) => I::Resend,
            Self::Due(Hand::Deadline) => I::Deadline,
            Self::Broken => I::Broken,
        })
    }
}
