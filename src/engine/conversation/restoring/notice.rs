//! The word to the survivor: exactly one for each change of endpoint, and a last one where nobody came back.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::conversation::carrying::course::Course;
use crate::engine::conversation::context::{Context, Errand, What};
pub(crate) use crate::engine::conversation::letters::queue::{Author, Letter};
use crate::engine::conversation::{Conversation, Party};
use crate::engine::dialog::onward::{By, Known};
use crate::engine::dialog::{Dialog, HOPS};
use crate::engine::endpoint::Identity;
use crate::engine::events::{Ending, GaveUp, Happening, NoticeOutcome};
use crate::engine::ids::Side;
use crate::engine::settings::NoticeSettings;
use crate::engine::{location, routing};
use crate::sip::cpim::is_cpim;
use crate::sip::{Address, Builder, Message, Method, Name, Params, Uri};

/// Marks the words of a machine (RFC 5436 2.7.2): on a two-party leg they would look like the other's.
pub(crate) const MARK: &[u8] = b"Auto-Submitted: auto-generated\r\n";
pub(crate) const NOTICE_TYPE: &str = "text/plain;charset=UTF-8";
pub(super) const CPIM: &str = "message/cpim";
/// Languages of a survivor that are looked at.
const LANGUAGES_MAX: usize = 32;

impl Conversation {
    /// Tells the other side where this one is now, and what has not reached it, once the queue is delivered.
    pub(crate) fn announce(&mut self, context: &mut Context<'_>, side: Side) {
        self.tell_where(context, side);
        self.tell_dropped(context, side);
    }

    /// The first, if it does not know.
    fn tell_where(&mut self, context: &mut Context<'_>, side: Side) {
        let to = side.other();
        let party = self.party(side);
        let believed = party.believed.as_ref();
        let known = party
            .leg
            .as_ref()
            .is_some_and(|leg| believed.is_none_or(|believed| location::same(believed, leg.who())));
        self.withdraw(context, to, known);
        let party = self.party(side);
        let Some(leg) = &party.leg else { return };
        if known || !party.queue.letters.is_empty() {
            return;
        }
        let settings = &context.shared.settings.notice;
        let said = |texts| text(texts, self.party(to), settings);
        let (name, phone) = match self.is_unnamed(context, side) {
            true => (
                said(&settings.anonymous).to_owned(),
                said(&settings.other_phone),
            ),
            false => (participant(party), &*leg.endpoint.name),
        };
        let body = filled(
            said(&settings.continued),
            &[("participant", &name), ("endpoint", phone)],
        );
        self.say(context, to, Author::Notice, body);
    }

    /// Takes back notices that have not been sent: what they said is no longer so. Where it is (`holds`), one
    /// that was put off is yet to be said.
    pub(super) fn withdraw(&mut self, context: &mut Context<'_>, to: Side, holds: bool) {
        let queue = &self.party(to).queue;
        let old: Vec<u32> = queue
            .letters
            .iter()
            .filter(|letter| {
                letter.author == Author::Notice
                    && queue.under_way != Some(letter.number)
                    && !(holds && letter.tries > 0)
            })
            .map(|letter| letter.number)
            .collect();
        for number in old {
            self.dequeue(context, to, number);
        }
    }

    /// The other side is told of the endpoint that this side has now.
    pub(crate) fn believe(&mut self, side: Side) {
        let party = self.party_mut(side);
        party.believed = party
            .leg
            .as_ref()
            .map(|leg| leg.who().clone())
            .or_else(|| party.believed.take());
    }

    /// The last word: nobody came back, or somebody was lost too often.
    pub(crate) fn last_word(&mut self, context: &mut Context<'_>, lost: Side, how: Ending) {
        // Where the other went on once is no news any more.
        self.withdraw(context, lost.other(), false);
        self.party_mut(lost.other()).queue.notice_not_before = None;
        let queue = &self.party(lost).queue;
        let undelivered = queue.waiting() + queue.untold;
        let settings = &context.shared.settings.notice;
        let texts = match how == Ending::Gave(GaveUp::TooManyRestorations) {
            true => &settings.too_often,
            false => &settings.failed,
        };
        let body = self.counted(context, texts, lost, undelivered as usize);
        self.say(context, lost.other(), Author::LastWord, body);
    }

    /// Returns what the other side is told of messages to this one that were not delivered, where the call goes on.
    pub(crate) fn undelivered_text(
        &self,
        context: &Context<'_>,
        to: Side,
        undelivered: usize,
    ) -> String {
        let texts = &context.shared.settings.notice.undelivered;
        self.counted(context, texts, to, undelivered)
    }

    fn counted(
        &self,
        context: &Context<'_>,
        texts: &BTreeMap<Box<str>, Box<str>>,
        lost: Side,
        undelivered: usize,
    ) -> String {
        let settings = &context.shared.settings.notice;
        let said = |texts| text(texts, self.party(lost.other()), settings);
        let name = match self.is_unnamed(context, lost) {
            true => said(&settings.anonymous).to_owned(),
            false => participant(self.party(lost)),
        };
        let undelivered = undelivered.to_string();
        filled(
            said(texts),
            &[("participant", &name), ("undelivered", &undelivered)],
        )
    }

    /// Returns true where the operator spares the phone of a side what we have to say.
    fn is_exempt(&self, context: &Context<'_>, to: Side) -> bool {
        let exempt = &context.shared.settings.notice.exempt;
        let Some(leg) = self.party(to).leg.as_ref().filter(|_| !exempt.is_empty()) else {
            return false;
        };
        let name = leg.endpoint.name.to_lowercase();
        let instance = match &**leg.who() {
            Identity::Instance(instance) => Some(&**instance),
            Identity::Epid(_) | Identity::Contact { .. } => None,
        };
        exempt.iter().any(|pattern| {
            let is = |text: &str| routing::matches(pattern, text);
            is(&name) || instance.is_some_and(is) || leg.host_beyond().is_some_and(is)
        })
    }

    /// What we wrote goes another way than into the dialog, or nowhere. Returns false where it goes there.
    pub(crate) fn notice_elsewhere(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
    ) -> bool {
        let letters = &mut self.party_mut(to).queue;
        // What became of its own texts is the phone's to know.
        let told = letters
            .letter(number)
            .is_some_and(|letter| match letter.author {
                Author::Notice | Author::LastWord => true,
                Author::Other | Author::Undelivered => false,
            });
        if told && self.is_exempt(context, to) {
            self.notice_ends(context, to, number, Some(NoticeOutcome::Exempt));
            return true;
        }
        let leg = self.party(to).leg.as_ref();
        let takes = leg.is_none_or(|leg| leg.abilities.message);
        if !takes {
            self.notice_outside(context, to, number);
        }
        !takes
    }

    /// Returns what we wrote as the phone of a side reads it: in an envelope (RFC 3862), where its session
    /// speaks that.
    pub(crate) fn worded(
        &self,
        context: &Context<'_>,
        to: Side,
        kind: &str,
        body: Bytes,
    ) -> (Box<str>, Bytes) {
        if kind != NOTICE_TYPE || !self.reads_envelopes(to) {
            return (kind.into(), body);
        }
        let from = self.shown(context, to.other());
        let mut text = format!("From: {from}\r\nTo: {}\r\n\r\n", self.party(to).address);
        text.push_str(&format!("Content-Type: {kind}\r\n\r\n"));
        let whole = [text.as_bytes(), &body].concat();
        (CPIM.into(), whole.into())
    }

    fn reads_envelopes(&self, to: Side) -> bool {
        let leg = self.party(to).leg.as_ref();
        leg.is_some_and(|leg| {
            leg.abilities.cpim || leg.talk.said.as_deref().is_some_and(takes_cpim_alone)
        })
    }

    /// What we wrote is refused, and the phone says that it takes envelopes (RFC 3261 21.4.13): the next one is in
    /// one. Returns false where this one was, or need not be.
    pub(crate) fn asks_for_envelope(&mut self, to: Side, number: u32, response: &Message) -> bool {
        let letter = self.party_mut(to).queue.letter(number);
        let plain = letter.is_some_and(|letter| &*letter.content_type == NOTICE_TYPE);
        let asks = response.status() == 415 && response.values(Name::Accept).any(is_cpim);
        let again = asks && plain && !self.reads_envelopes(to);
        if again && let Some(leg) = self.leg_mut(to) {
            leg.abilities.cpim = true;
        }
        again
    }

    pub(crate) fn say(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        author: Author,
        body: String,
    ) {
        let letter = Letter {
            number: 0,
            lines: Bytes::from_static(MARK),
            content_type: NOTICE_TYPE.into(),
            body: Bytes::from(body),
            received: context.now,
            until: None,
            author,
            cseq: 0,
            over: None,
            tries: 0,
            ignored: 0,
            fatal: 0,
            sent_at: context.now,
            for_transferor: false,
            hops: HOPS,
            refused: false,
            denied: None,
            overdue: false,
            server: None,
            storing: None,
        };
        if self.enqueue(context, to, letter).is_err() {
            self.outcome(context, to, author, NoticeOutcome::Refused);
        }
        self.pump(context, to);
    }

    /// The phone's Allow lacks MESSAGE: to its Contact, outside of the dialog and by the way that the dialog has, or
    /// not at all.
    pub(super) fn notice_outside(&mut self, context: &mut Context<'_>, to: Side, number: u32) {
        let id = self.id;
        let address: Box<str> = self.shown(context, to.other()).into();
        let party = &mut self.parties[to.index()];
        let (Some(letter), Some(_)) = (party.queue.letter(number), &party.leg) else {
            return;
        };
        let author = letter.author;
        if !context.shared.settings.notice.out_of_dialog {
            return self.notice_fails(context, to, number, NoticeOutcome::Refused);
        }
        let lines = letter.lines.clone();
        let (kind, body) = (letter.content_type.clone(), letter.body.clone());
        let (kind, body) = self.worded(context, to, &kind, body);
        let party = &mut self.parties[to.index()];
        let Some(letter) = party.queue.letter(number) else {
            return;
        };
        // Within the dialog or not, no phone is asked more often than that.
        letter.tries += 1;
        letter.sent_at = context.now;
        let tried = letter.tries;
        let Some(leg) = &mut party.leg else { return };
        let course = outside(context, &leg.dialog);
        let via = context.via(id, &course.flow);
        let call_id = context.shared.mint.call_id();
        let tag = context.shared.mint.tag(id.shard());
        let bytes = Builder::request(&Method::Message, &leg.dialog.target)
            .header(Name::Via, via)
            .header(Name::MaxForwards, 70)
            .header(Name::From, format_args!("{address};tag={tag}"))
            .header(Name::To, &party.address)
            .header(Name::CallId, call_id)
            .header(Name::CSeq, "1 MESSAGE")
            .raw_lines(&lines)
            .body(&kind, &body);
        let errand = Errand {
            conversation: id,
            leg: leg.id,
            what: What::Letter(to, number, tried),
        };
        party.queue.under_way = Some(number);
        context.send_on(&mut leg.dialog, course, bytes, errand);
        if author == Author::Notice {
            self.believe(to.other());
            self.persist(context);
        }
    }

    /// The survivor's phone answered the notice, or did not: counted, and no sign of anything.
    pub(crate) fn notice_answered(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        status: u16,
    ) {
        let in_dialog = self
            .party(to)
            .leg
            .as_ref()
            .is_some_and(|leg| leg.abilities.message);
        // 405 and 501 say that the phone has no MESSAGE: once more outside of the dialog.
        if matches!(status, 405 | 501) && in_dialog && context.shared.settings.notice.out_of_dialog
        {
            if let Some(leg) = self.leg_mut(to) {
                leg.abilities.message = false;
            }
            return self.notice_outside(context, to, number);
        }
        match status {
            200..300 if in_dialog => {
                self.notice_ends(context, to, number, Some(NoticeOutcome::Delivered));
            }
            200..300 => {
                let outcome = NoticeOutcome::DeliveredOutOfDialog;
                self.notice_ends(context, to, number, Some(outcome));
            }
            408 => self.notice_fails(context, to, number, NoticeOutcome::Unanswered),
            _ => self.notice_fails(context, to, number, NoticeOutcome::Refused),
        }
    }

    /// The letter is done with. Without an outcome, that is still to come.
    pub(super) fn notice_ends(
        &mut self,
        context: &mut Context<'_>,
        to: Side,
        number: u32,
        outcome: Option<NoticeOutcome>,
    ) {
        let Some(letter) = self.dequeue(context, to, number) else {
            return;
        };
        if letter.author == Author::Notice {
            self.believe(to.other());
        }
        if let Some(outcome) = outcome {
            self.outcome(context, to, letter.author, outcome);
        }
        self.persist(context);
        if letter.author == Author::LastWord {
            return self.last_word_said(context);
        }
        self.pump(context, to);
        // A word about this side may have waited for its queue.
        self.announce(context, to);
    }

    /// What became of a word of ours to a side.
    pub(crate) fn outcome(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        author: Author,
        outcome: NoticeOutcome,
    ) {
        let endpoint = self.endpoint_of(side);
        let told = match author {
            Author::Notice => Happening::Notice {
                side,
                endpoint,
                outcome,
            },
            Author::LastWord => Happening::LastWord {
                side,
                endpoint,
                outcome,
            },
            Author::Other | Author::Undelivered => return,
        };
        self.note(context, told);
    }
}

/// Returns where a new request to the far end of a dialog goes. Its Contact may name anybody, who would take the request
/// for a call of ours: another host than the one that is heard gets none, but at the word of a peer that is trusted.
fn outside(context: &Context<'_>, dialog: &Dialog) -> Course {
    let (by, hop) = dialog.next_hop();
    let heard = dialog.flow.peer.ip().to_canonical();
    let host = Uri::parse(hop).ok().and_then(|uri| uri.host_ip());
    let there = host.is_some_and(|host| host.to_canonical() == heard);
    let shared = &*context.shared;
    let trusted = dialog.known == Known::Peer
        && (shared.peers).trusts(&dialog.flow, &shared.settings, &*context.world);
    match by {
        By::Target if there || trusted => context.course(dialog),
        By::Target | By::Route => Course::over(dialog.flow, dialog.security()),
    }
}

/// Returns the words for a survivor: in the language that it likes best of those that there is a text for
/// (RFC 3261 20.3, RFC 4647 3.4).
fn text<'a>(
    texts: &'a BTreeMap<Box<str>, Box<str>>,
    survivor: &Party,
    settings: &'a NoticeSettings,
) -> &'a str {
    let find = |language: &str| {
        let language = language.trim().to_ascii_lowercase();
        let primary = language.split('-').next().unwrap_or("").to_owned();
        texts
            .get(language.as_str())
            .or_else(|| texts.get(primary.as_str()))
            .filter(|_| !language.is_empty())
    };
    liked(&survivor.languages)
        .into_iter()
        .find_map(find)
        .or_else(|| find(&settings.language))
        .or_else(|| texts.get(""))
        .or_else(|| texts.values().next())
        .map_or("", |text| text)
}

/// Reads an Accept-Language: the best liked first; what is not wanted at all (`q=0`) is left out.
fn liked(languages: &str) -> Vec<&str> {
    let mut liked: Vec<(u16, &str)> = languages
        .split(',')
        .take(LANGUAGES_MAX)
        .map(|value| {
            let (tag, params) = value.split_once(';').unwrap_or((value, ""));
            let q = Params::new(params).value("q");
            let q = q.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
            ((q.clamp(0.0, 1.0) * 1000.0) as u16, tag)
        })
        .filter(|(q, _)| *q > 0)
        .collect();
    liked.sort_by_key(|(q, _)| Reverse(*q));
    liked.into_iter().map(|(_, tag)| tag).collect()
}

/// Fills in a template, each placeholder once and by what it stands for: a name may hold braces.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let known = after.split_once('}').and_then(|(name, after)| {
            let value = values.iter().find(|(known, _)| *known == name)?;
            Some((value.1, after))
        });
        match known {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

/// Returns true for a session of texts that come in envelopes only (RFC 4975 8.6).
fn takes_cpim_alone(said: &str) -> bool {
    let types = said
        .lines()
        .filter_map(|line| line.strip_prefix("a=accept-types:"));
    let mut types = types.flat_map(str::split_whitespace);
    let plain = ["text/plain", "text/*", "*"];
    types.clone().any(|known| known.eq_ignore_ascii_case(CPIM))
        && !types.any(|known| plain.iter().any(|plain| known.eq_ignore_ascii_case(plain)))
}

/// Returns the name of a participant: display name, else the user of the address.
fn participant(party: &Party) -> String {
    Address::parse(&party.address)
        .ok()
        .and_then(|address| address.display.map(|display| display.into_owned()))
        .filter(|display| !display.is_empty())
        .unwrap_or_else(|| party.aor.user().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::asker::Asker;
    use crate::engine::ids::Aor;

    #[test]
    fn the_survivors_language_chooses_the_text() {
        let texts: BTreeMap<Box<str>, Box<str>> =
            [("", "any"), ("de", "deutsch"), ("en", "english")]
                .map(|(k, v)| (k.into(), v.into()))
                .into();
        let settings = NoticeSettings {
            continued: texts.clone(),
            failed: texts.clone(),
            language: "fr".into(),
            ..NoticeSettings::default()
        };
        let mut party = Party::new(
            Aor::from_canonical("sip:a@b"),
            Asker::Stranger,
            "<sip:a@b>".into(),
        );
        for (languages, expected) in [
            ("", "any"),
            ("de-AT, en;q=0.8", "deutsch"),
            ("it, EN;q=0.5", "english"),
            ("en;q=0.2, de;q=0.7", "deutsch"),
            ("de;q=0, en;q=0.1", "english"),
            ("de;q=x", "deutsch"),
        ] {
            party.languages = languages.into();
            assert_eq!(text(&texts, &party, &settings), expected, "{languages}");
        }
        party.languages = "".into();
        let settings = NoticeSettings {
            language: "en".into(),
            ..settings
        };
        assert_eq!(text(&texts, &party, &settings), "english");
    }

    #[test]
    fn a_name_with_braces_fills_in_nothing() {
        let values = [("participant", "{endpoint} {"), ("endpoint", "desk")];
        for (template, expected) in [
            (
                "{participant} is at {endpoint}.",
                "{endpoint} { is at desk.",
            ),
            ("{other} {participant", "{other} {participant"),
            ("", ""),
        ] {
            assert_eq!(filled(template, &values), expected);
        }
    }

    #[test]
    fn which_sessions_want_envelopes() {
        for (types, expected) in [
            ("a=accept-types:message/cpim\r\n", true),
            ("a=accept-types:Message/CPIM image/png\r\n", true),
            ("a=accept-types:message/cpim text/plain\r\n", false),
            ("a=accept-types:message/cpim *\r\n", false),
            ("a=accept-types:text/plain\r\n", false),
            ("", false),
        ] {
            assert_eq!(takes_cpim_alone(&format!("v=0\r\n{types}")), expected);
        }
    }

    #[test]
    fn a_participant_is_called_by_the_display_name() {
        let party = Party::new(
            Aor::from_canonical("sip:bob@b"),
            Asker::Stranger,
            "\"Bob \\\"B\\\" Lee\" <sip:bob@b>".into(),
        );
        assert_eq!(participant(&party), "Bob \"B\" Lee");
        let party = Party::new(
            Aor::from_canonical("sip:bob@b"),
            Asker::Stranger,
            "<sip:bob@b>".into(),
        );
        assert_eq!(participant(&party), "bob");
    }
}
