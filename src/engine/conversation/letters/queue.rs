//! Messages on their way to one side: in order, one under way, none lost (RFC 3428).

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::dialog::HOPS;
use crate::engine::ids::LegId;
use crate::engine::ports::Token;
use crate::engine::settings::MessageSettings;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;

/// A phone that lives and does not answer a message for so many tries never will.
pub(super) const TRIES: u32 = 2;
/// How long a letter rests that was sent twice to where nobody takes it; then twice as long each time, at most so
/// often.
const UNREACHED: Millis = Millis::from_secs(1);
const DOUBLED_MAX: u32 = 5;

/// One MESSAGE that waits for its delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) number: u32,
    /// Header lines that cross, each with its line end.
    pub(crate) lines: Bytes,
    pub(crate) content_type: Box<str>,
    pub(crate) body: Bytes,
    pub(crate) received: Time,
    pub(crate) author: Author,
    /// CSeq of the sender's request: after a restart it may come again.
    pub(crate) cseq: u32,
    /// The leg that it came over; CSeq counts within its dialog alone.
    pub(crate) over: Option<LegId>,
    /// Times that it was sent. Where the endpoint never answered, the next one may see it twice.
    pub(crate) tries: u32,
    pub(crate) sent_at: Time,
    /// Tries that had no answer of an endpoint which answered other things.
    #[serde(default)]
    pub(crate) ignored: u32,
    /// Legs that were lost as soon as it had gone out there.
    #[serde(default)]
    pub(crate) fatal: u32,
    /// Was written to who transfers the call away now, and is for nobody else.
    #[serde(default)]
    pub(crate) for_transferor: bool,
    /// When it is worth nothing any more; `messages.queue.max_age` after `received` where none is set.
    #[serde(default)]
    pub(crate) until: Option<Time>,
    /// What is left of its hops.
    #[serde(default = "hops")]
    pub(crate) hops: u8,
    /// Its sender was told that it failed while it was under way: it goes to nobody else.
    #[serde(skip)]
    pub(crate) refused: bool,
    /// Its last try had no answer for too long, and its endpoint is asked whether it is there.
    #[serde(skip)]
    pub(crate) overdue: bool,
    /// Which leg has denied its dialog in answer to it.
    #[serde(skip)]
    pub(crate) denied: Option<LegId>,
    /// The sender's transaction, while it has no final answer.
    #[serde(skip)]
    pub(crate) server: Option<ServerId>,
    /// The store is asked to keep it.
    #[serde(skip)]
    pub(crate) storing: Option<Token>,
}

fn hops() -> u8 {
    HOPS
}

impl Letter {
    /// Returns true for a word of ours that its phone has not had, where that may be found over another flow.
    pub(crate) fn is_said_again(&self) -> bool {
        matches!(self.author, Author::Notice | Author::Undelivered) && self.tries < TRIES
    }

    /// Returns true for what the other side wrote and takes for accepted: it has our 202, and no word since.
    pub(crate) fn is_accepted(&self) -> bool {
        self.author == Author::Other && self.server.is_none() && !self.refused
    }

    /// Returns true for the words of a machine (RFC 5436 2.7.2): another of us may have said them, and would have an
    /// answer of ours for one more message.
    pub(crate) fn is_automatic(&self) -> bool {
        let mut lines = self.lines.split(|byte| *byte == b'\n');
        lines.any(|line| {
            let line = std::str::from_utf8(line).unwrap_or("");
            let (name, value) = line.split_once(':').unwrap_or((line, "no"));
            name.trim().eq_ignore_ascii_case("Auto-Submitted")
                && !value.trim().eq_ignore_ascii_case("no")
        })
    }
}

/// Who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Author {
    /// The other side.
    Other,
    /// We: the conversation goes on at another endpoint.
    Notice,
    /// We: the other side could not be reached again.
    LastWord,
    /// We: what this side wrote was not delivered (RFC 5438).
    Undelivered,
}

impl Author {
    /// Returns true for what tells a survivor of the other side, and goes once more where its phone puts it off.
    pub(crate) fn is_news(self) -> bool {
        match self {
            Self::Notice | Self::LastWord | Self::Undelivered => true,
            Self::Other => false,
        }
    }

    /// Returns true for what may have arrived before a restart and is not to be said twice.
    pub(crate) fn is_said_once(self) -> bool {
        match self {
            Self::Notice | Self::Undelivered => true,
            Self::Other | Self::LastWord => false,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// What is durable of them: letters that are stored, or are being stored. The others are their
    /// senders' to send again after a restart.
    #[serde(serialize_with = "durable")]
    pub(crate) letters: VecDeque<Letter>,
    next: u32,
    #[serde(skip)]
    bytes: usize,
    /// The letter that has been sent and not been answered.
    #[serde(skip)]
    pub(crate) under_way: Option<u32>,
    /// The endpoint said «later»: not before then.
    pub(crate) not_before: Option<Time>,
    /// It said so to a notice of ours, which what people write need not wait for.
    #[serde(default)]
    pub(crate) notice_not_before: Option<Time>,
    /// What was under way to a leg that stands aside now, and has no final answer yet.
    #[serde(skip)]
    pub(crate) aside: Option<(LegId, u32)>,
    /// The kept letter that left last: over which leg it came, and its CSeq. Its sender may not have seen our 202
    /// before a restart.
    #[serde(default)]
    pub(crate) left: Option<(Option<LegId>, u32)>,
    /// Accepted letters that left without having arrived.
    #[serde(default)]
    pub(crate) dropped: u32,
    /// Those of them of which their sender does not know.
    #[serde(default)]
    pub(crate) untold: u32,
}

/// A queue that takes memory once something changes in it: few calls carry text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SlimQueue(Option<Box<Queue>>);

static UNUSED: Queue = Queue {
    letters: VecDeque::new(),
    next: 0,
    bytes: 0,
    under_way: None,
    not_before: None,
    notice_not_before: None,
    aside: None,
    left: None,
    dropped: 0,
    untold: 0,
};

impl Deref for SlimQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.0.as_deref().unwrap_or(&UNUSED)
    }
}

impl DerefMut for SlimQueue {
    fn deref_mut(&mut self) -> &mut Queue {
        self.0.get_or_insert_default()
    }
}

fn durable<S: Serializer>(letters: &VecDeque<Letter>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        letters
            .iter()
            .filter(|letter| {
                !letter.refused && (letter.server.is_none() || letter.storing.is_some())
            })
            .collect::<Vec<_>>(),
    )
}

/// Why a letter is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// It alone is larger than a queue: 413.
    TooLarge,
    /// For now: 500 with Retry-After. Never 503, which would stop the client's calls too.
    Full,
}

impl Queue {
    /// Puts a letter behind the others. `total_bytes` is what all queues of the shard hold.
    ///
    /// # Errors
    /// The queue or the node has no room for it.
    pub(crate) fn push(
        &mut self,
        mut letter: Letter,
        total_bytes: usize,
        limits: &MessageSettings,
    ) -> Result<u32, NoRoom> {
        let size = letter.body.len() + letter.lines.len();
        if size > limits.bytes_per_conversation {
            return Err(NoRoom::TooLarge);
        }
        if self.letters.len() >= limits.per_conversation
            || self.bytes + size > limits.bytes_per_conversation
            || total_bytes + size > limits.total_bytes
        {
            return Err(NoRoom::Full);
        }
        self.next += 1;
        letter.number = self.next;
        self.bytes += size;
        self.letters.push_back(letter);
        Ok(self.next)
    }

    /// Takes a letter out.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Letter> {
        let at = self
            .letters
            .iter()
            .position(|letter| letter.number == number)?;
        let letter = self.letters.remove(at)?;
        self.bytes = self
            .bytes
            .saturating_sub(letter.body.len() + letter.lines.len());
        Some(letter)
    }

    pub(crate) fn letter(&mut self, number: u32) -> Option<&mut Letter> {
        self.letters
            .iter_mut()
            .find(|letter| letter.number == number)
    }

    /// Returns true where no try of a letter came after this one. It was sent once more where its phone is found to
    /// be elsewhere, and the failure of the try before says nothing then.
    pub(crate) fn is_latest(&self, number: u32, tried: u32) -> bool {
        let mut letters = self.letters.iter();
        let letter = letters.find(|letter| letter.number == number);
        letter.is_none_or(|letter| letter.tries == tried)
    }

    /// The same, and its answer is waited for.
    pub(crate) fn is_out(&self, number: u32, tried: u32) -> bool {
        self.under_way == Some(number) && self.is_latest(number, tried)
    }

    /// Returns the letter whose answer is waited for, and whose endpoint has not been asked for that. What we wrote
    /// ourselves finds other ways (`notice.fallback`).
    fn unanswered(&self) -> Option<&Letter> {
        let out = self.under_way?;
        let mut letters = self.letters.iter();
        let letter = letters.find(|letter| letter.number == out)?;
        (letter.author == Author::Other && !letter.overdue).then_some(letter)
    }

    /// Returns when its answer has taken too long.
    pub(crate) fn overdue_at(&self, after: Millis) -> Option<Time> {
        self.unanswered().map(|letter| letter.sent_at + after)
    }

    /// Returns when the letter under way was sent, once for each of its tries, where that is too long ago.
    pub(crate) fn falls_overdue(&mut self, after: Millis, now: Time) -> Option<Time> {
        self.overdue_at(after).filter(|at| *at <= now)?;
        let letter = self.letter(self.under_way?)?;
        letter.overdue = true;
        Some(letter.sent_at)
    }

    /// Returns the number of the letter that is to go now, if any may.
    pub(crate) fn due(&self, now: Time) -> Option<u32> {
        if self.under_way.is_some() || self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        let waits = self.notice_not_before.is_some_and(|at| at > now);
        let mut letters = self.letters.iter();
        let next = letters.find(|letter| !waits || !letter.author.is_news());
        next.map(|letter| letter.number)
    }

    /// A letter was not taken where its phone is said to be, for so many times by now: after the first it goes again
    /// as soon as the phone is found, and then more and more seldom.
    pub(crate) fn is_not_reached(&mut self, tries: u32, now: Time) {
        if let Some(doubled) = tries.checked_sub(2) {
            let at = now + UNREACHED.times(1 << doubled.min(DOUBLED_MAX));
            self.not_before = self.not_before.max(Some(at));
        }
    }

    /// A notice goes once more when its phone has had time to be found over another flow.
    pub(crate) fn notice_rests(&mut self, now: Time) {
        self.notice_not_before = Some(now + UNREACHED);
    }

    /// Returns when what was put off may go, where anything was.
    pub(crate) fn next_try(&self) -> Option<Time> {
        let mut authors = self.letters.iter().map(|letter| letter.author);
        let notice = self
            .notice_not_before
            .filter(|_| authors.any(Author::is_news));
        let all = self.not_before.filter(|_| !self.letters.is_empty());
        all.into_iter().chain(notice).min()
    }

    /// Forgets the pauses that are over.
    pub(crate) fn end_pauses(&mut self, now: Time) {
        self.not_before.take_if(|at| *at <= now);
        self.notice_not_before.take_if(|at| *at <= now);
    }

    /// Returns the numbers of those that have waited for too long. What is under way may yet be answered.
    pub(crate) fn expired(&self, max_age: Millis, now: Time) -> Vec<u32> {
        let until = |letter: &Letter| letter.until.unwrap_or(letter.received + max_age);
        let old = self.letters.iter().filter(|letter| until(letter) <= now);
        let numbers = old.map(|letter| letter.number);
        numbers
            .filter(|number| self.under_way != Some(*number))
            .collect()
    }

    /// Returns when the next one has waited for too long.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let waiting = self.letters.iter();
        let waiting = waiting.filter(|letter| self.under_way != Some(letter.number));
        waiting.filter_map(|letter| letter.until).min()
    }

    /// Counts the other side's letters; what we wrote ourselves is no message of anyone.
    pub(crate) fn waiting(&self) -> u32 {
        self.letters
            .iter()
            .filter(|letter| letter.author == Author::Other && !letter.refused)
            .count() as u32
    }

    /// Counts anew after a restart: not every letter was durable.
    pub(crate) fn recount(&mut self) {
        self.bytes = self
            .letters
            .iter()
            .map(|letter| letter.body.len() + letter.lines.len())
            .sum();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an endpoint's answer to a MESSAGE means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    /// It refuses this message, not the conversation: the next one may go.
    Rejected,
    /// The dialog is gone (RFC 5057).
    DialogGone,
    /// Not now.
    Later,
}

/// Reads the status of a MESSAGE's final answer.
pub(crate) fn reply(status: u16) -> Reply {
    match status {
        200..=299 => Reply::Taken,
        _ if crate::engine::conversation::doubting::outcome::ends_dialog(status) => {
            Reply::DialogGone
        }
        408 | 480 | 486 | 491 | 500 | 502..=504 | 600 => Reply::Later,
        _ => Reply::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: &'static [u8]) -> Letter {
        Letter {
            number: 0,
            lines: Bytes::new(),
            content_type: "text/plain".into(),
            body: Bytes::from_static(body),
            received: Time(0),
            until: None,
            author: Author::Other,
            cseq: 1,
            over: None,
            tries: 0,
            ignored: 0,
            fatal: 0,
            sent_at: Time(0),
            overdue: false,
            for_transferor: false,
            hops: HOPS,
            refused: false,
            denied: None,
            server: None,
            storing: None,
        }
    }

    fn limits() -> MessageSettings {
        MessageSettings {
            suspect_after: Millis(2000),
            per_conversation: 2,
            bytes_per_conversation: 10,
            total_bytes: 15,
            max_age: Millis(1000),
        }
    }

    #[test]
    fn order_is_kept_and_one_is_under_way() {
        let mut queue = Queue::default();
        let first = queue.push(letter(b"a"), 0, &limits()).unwrap();
        let second = queue.push(letter(b"b"), 0, &limits()).unwrap();
        assert_eq!(queue.due(Time(0)), Some(first));
        queue.under_way = Some(first);
        assert_eq!(queue.due(Time(0)), None);
        queue.under_way = None;
        queue.remove(first);
        assert_eq!(queue.due(Time(0)), Some(second));
        queue.not_before = Some(Time(5));
        assert_eq!(queue.due(Time(4)), None);
        assert_eq!(queue.due(Time(5)), Some(second));
    }

    #[test]
    fn what_people_write_passes_a_notice_that_was_put_off() {
        let mut queue = Queue::default();
        let mut notice = letter(b"a");
        notice.author = Author::Notice;
        let notice = queue.push(notice, 0, &limits()).unwrap();
        queue.notice_not_before = Some(Time(5));
        assert_eq!(
            (queue.due(Time(4)), queue.next_try()),
            (None, Some(Time(5)))
        );
        let theirs = queue.push(letter(b"b"), 0, &limits()).unwrap();
        assert_eq!(queue.due(Time(4)), Some(theirs));
        assert_eq!(queue.due(Time(5)), Some(notice));
        queue.not_before = Some(Time(3));
        assert_eq!(
            (queue.due(Time(2)), queue.next_try()),
            (None, Some(Time(3)))
        );
        queue.end_pauses(Time(4));
        assert_eq!(queue.next_try(), Some(Time(5)));
        queue.remove(notice);
        assert_eq!(queue.next_try(), None);
    }

    #[test]
    fn bytes_are_counted_anew_after_a_restart() {
        let mut queue = Queue::default();
        queue.push(letter(b"abc"), 0, &limits()).unwrap();
        queue.push(letter(b"de"), 0, &limits()).unwrap();
        let stored = rmp_serde::to_vec(&queue).unwrap();
        let mut queue: Queue = rmp_serde::from_slice(&stored).unwrap();
        queue.letters.pop_front();
        queue.recount();
        assert_eq!(queue.bytes(), 2);
    }

    #[test]
    fn limits_hold() {
        let mut queue = Queue::default();
        assert_eq!(
            queue.push(letter(b"01234567890"), 0, &limits()),
            Err(NoRoom::TooLarge)
        );
        queue.push(letter(b"012345"), 0, &limits()).unwrap();
        assert_eq!(
            queue.push(letter(b"012345"), 6, &limits()),
            Err(NoRoom::Full)
        );
        assert_eq!(
            queue.push(letter(b"0123"), 12, &limits()),
            Err(NoRoom::Full)
        );
        queue.push(letter(b"0"), 6, &limits()).unwrap();
        assert_eq!(queue.push(letter(b"0"), 7, &limits()), Err(NoRoom::Full));
        assert_eq!(queue.bytes(), 7);
        queue.remove(1);
        assert_eq!(queue.bytes(), 1);
    }

    #[test]
    fn what_an_answer_means() {
        for (status, meaning) in [
            (200, Reply::Taken),
            (202, Reply::Taken),
            (400, Reply::Rejected),
            (413, Reply::Rejected),
            (415, Reply::Rejected),
            (488, Reply::Rejected),
            (606, Reply::Rejected),
            (405, Reply::Rejected),
            (481, Reply::DialogGone),
            (404, Reply::DialogGone),
            (480, Reply::Later),
            (500, Reply::Later),
            (503, Reply::Later),
        ] {
            assert_eq!(reply(status), meaning, "{status}");
        }
    }
}
