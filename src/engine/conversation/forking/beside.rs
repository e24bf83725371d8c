//! The early dialogs of one INVITE: a proxy beyond us may have forked it (RFC 3261 12.1). Who speaks has the
//! branch's leg, the others stand beside it.

use std::mem;

use super::Branch;
use crate::engine::conversation::leg::Talk;
use crate::engine::dialog::Dialog;

/// Those beside the one that spoke last: who spoke before all of them is forgotten first.
const BESIDE_MAX: usize = 7;

/// One that does not speak now.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    dialog: Dialog,
    talk: Talk,
    settled: bool,
}

impl Branch {
    /// Who has this tag speaks now, or is spoken to: the leg is its dialog from here on, with what was said in
    /// it. One that is new has heard no more than the INVITE.
    pub(crate) fn turn_to(&mut self, tag: Option<&str>) {
        let known = self.leg.dialog.remote_tag.as_deref();
        let (Some(tag), Some(known)) = (tag, known) else {
            return;
        };
        if tag == known {
            return;
        }
        let mut beside = self.beside.iter();
        let next = match beside.position(|beside| beside.has(tag)) {
            Some(at) => self.beside.remove(at),
            None => self.unheard(tag),
        };
        let before = self.is_now(next);
        if self.beside.len() >= BESIDE_MAX {
            self.beside.remove(0);
        }
        self.beside.push(before);
    }

    /// Who speaks has hung up: it is the one that spoke before who is spoken to from here on. Returns false where
    /// there is none.
    pub(crate) fn hangs_up(&mut self) -> bool {
        let Some(next) = self.beside.pop() else {
            return false;
        };
        self.is_now(next);
        true
    }

    fn is_now(&mut self, next: Beside) -> Beside {
        let leg = &mut self.leg;
        let mut dialog = mem::replace(&mut leg.dialog, next.dialog);
        // We count, and prove ourselves, as one in all of them.
        leg.dialog.local_cseq = dialog.local_cseq;
        leg.dialog.proofs = mem::take(&mut dialog.proofs);
        Beside {
            dialog,
            talk: mem::replace(&mut leg.talk, next.talk),
            settled: mem::replace(&mut self.settled, next.settled),
        }
    }

    /// The same where the tag is known.
    pub(crate) fn turn_back_to(&mut self, tag: Option<&str>) {
        let known = |tag: &&str| self.beside.iter().any(|beside| beside.has(tag));
        self.turn_to(tag.filter(known));
    }

    /// One of them is about to be told something: who is new has heard the INVITE alone.
    pub(crate) fn keep_invited(&mut self) {
        if self.invited.is_none() {
            self.invited = Some(Box::new(self.leg.talk.clone()));
        }
    }

    fn unheard(&self, tag: &str) -> Beside {
        let invited = self.invited.as_deref().unwrap_or(&self.leg.talk);
        Beside {
            dialog: Dialog {
                remote_tag: Some(tag.into()),
                remote_cseq: None,
                target: self.leg.endpoint.contact.clone(),
                ..self.leg.dialog.clone()
            },
            talk: Talk {
                said: None,
                wishes: Vec::new(),
                whole: false,
                more: None,
                ..invited.clone()
            },
            settled: false,
        }
    }
}

impl Beside {
    fn has(&self, tag: &str) -> bool {
        self.dialog.remote_tag.as_deref() == Some(tag)
    }
}
