//! Who has its 202 for a text that is dropped then is told so: once, with the right number, and of nothing else.

use refork::engine::ids::Side;
use refork::engine::time::Time;

use super::legs::{Leg, Request};
use super::texts::number_of;
use super::{Case, FLIGHT, UNDELIVERED};

/// A word of texts that were dropped.
struct Word {
    at: Time,
    phone: usize,
    count: usize,
}

impl Case<'_> {
    /// Returns of how many of a side's texts it was told that they were dropped.
    pub(super) fn told_undelivered(&self, talk: usize, side: Side) -> usize {
        let words = self.words(talk, side);
        words.iter().map(|word| word.count).sum()
    }

    /// Judges what a side is told of its texts.
    pub(super) fn undelivered(&mut self, talk: usize, side: Side) {
        let (mut found, mut told) = (Vec::new(), 0);
        let mut before: Option<Word> = None;
        for word in self.words(talk, side) {
            // One that was not answered when the server died may come again.
            let again = before.as_ref().is_some_and(|before| {
                before.count == word.count && self.restarted(before.at, word.at)
            });
            if !again {
                told += word.count;
            }
            let dropped = self.texts_of(talk, side).filter(|(_, text)| {
                // Whoever has not heard of its 202 yet may have it.
                let accepted = text
                    .answer
                    .is_none_or(|(at, status)| at > word.at || status == 202);
                accepted && text.at <= word.at && !self.is_taken(talk, side, text, word.at)
            });
            let sure = self.texts_of(talk, side).filter(|(_, text)| {
                let accepted = matches!(text.answer, Some((at, 202)) if at + FLIGHT < word.at);
                accepted && !self.is_taken(talk, side, text, Time(u64::MAX))
            });
            let (least, most) = (sure.count(), dropped.count());
            if !(least..=most).contains(&told) {
                let what = format!("told of {told} texts that were dropped, of {least} to {most}");
                found.push((word.at, word.phone, what));
            }
            before = Some(word);
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    fn words(&self, talk: usize, side: Side) -> Vec<Word> {
        let got = self.side(talk, side).flat_map(|leg| {
            let word = |got: &Request| {
                let count = got.body.strip_prefix(UNDELIVERED)?.parse().ok()?;
                let (at, phone) = (got.at, leg.phone);
                Some(Word { at, phone, count })
            };
            leg.got.iter().filter_map(word)
        });
        let mut words: Vec<_> = got.collect();
        words.sort_by_key(|word| word.at);
        words
    }

    fn texts_of(&self, talk: usize, side: Side) -> impl Iterator<Item = (&Leg, &Request)> {
        let sent = self
            .side(talk, side)
            .flat_map(|leg| leg.sent.iter().map(move |sent| (leg, sent)));
        sent.filter(move |(_, sent)| number_of(&sent.body, talk, side).is_some())
    }

    /// Returns true where a phone of the other side has said by then that it has a text, and was heard.
    fn is_taken(&self, talk: usize, side: Side, text: &Request, by: Time) -> bool {
        self.side(talk, side.other()).any(|peer| {
            let mut got = peer.got.iter().filter(|got| got.body == text.body);
            got.any(|got| {
                let Some((at, 200..300)) = got.answer else {
                    return false;
                };
                let mut unheard = self.unheard[peer.phone].iter();
                at <= by && !unheard.any(|(begin, until)| (*begin..=*until).contains(&at))
            })
        })
    }
}
