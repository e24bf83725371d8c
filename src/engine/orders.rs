//! What the operator orders.

use super::Engine;
use crate::engine::events::Signal;
use crate::engine::ports::{Command, World};
use crate::engine::time::Time;

impl Engine {
    pub(super) fn command(&mut self, command: Command, now: Time, world: &mut dyn World) {
        match command {
            Command::DeclareLost { conversation, side } => {
                self.with(conversation, now, world, |conversation, context| {
                    conversation.lose(context, side, Signal::Operator);
                });
            }
            Command::HangUp { conversation } => {
                self.with(conversation, now, world, |conversation, context| {
                    conversation.hang_up_both(context);
                });
            }
            Command::HangUpAll => {
                for id in Vec::from_iter(self.conversations.keys().copied()) {
                    self.with(id, now, world, |conversation, context| {
                        conversation.hang_up_both(context);
                    });
                }
            }
            Command::Drain => self.draining = true,
        }
    }
}
