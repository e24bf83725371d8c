//! The log, sorted by dialog.

use refork::engine::ids::Side;
use refork::engine::time::Time;
use refork::sip::sdp::{Direction, Kind, Media, Sdp};
use refork::sip::{Message, Method, Name};

use super::FLIGHT;
use crate::log::{Fault, Log, PhoneId, What};

/// Of each stream whether it is refused, its direction and its formats.
type Outline = Vec<(bool, Direction, Vec<String>)>;

/// A request within a dialog, or a MESSAGE outside of one, at its first coming or going.
pub(super) struct Request {
    pub(super) at: Time,
    /// When it came or went last.
    pub(super) last: Time,
    pub(super) method: Method,
    pub(super) branch: String,
    pub(super) to_tag: Option<String>,
    pub(super) body: String,
    /// Brings a session description that its sender has not sent before.
    pub(super) news: bool,
    /// Its final response, when and what.
    pub(super) answer: Option<(Time, u16)>,
    cseq: u32,
    /// Of a re-INVITE: the 2xx has its ACK.
    pub(super) acked: bool,
}

/// What a phone saw of one dialog with the server, from the INVITE on.
pub(super) struct Leg {
    pub(super) phone: PhoneId,
    pub(super) talk: usize,
    pub(super) side: Side,
    pub(super) call_id: String,
    /// The phone sent the INVITE.
    pub(super) outgoing: bool,
    /// It did so in place of a dialog that it had (RFC 3891).
    pub(super) replaces: bool,
    pub(super) invited: Time,
    branch: String,
    cseq: u32,
    /// Of the latest 2xx.
    pub(super) remote_tag: Option<String>,
    /// First and last 2xx.
    pub(super) answered: Option<Time>,
    answered_again: Option<Time>,
    /// All of them.
    pub(super) successes: Vec<Time>,
    pub(super) acked: Option<Time>,
    /// Final response that is no success.
    pub(super) refused: Option<(Time, u16)>,
    pub(super) refusal_acked: bool,
    pub(super) cancelled: bool,
    pub(super) bye_got: Option<Time>,
    bye_number: u32,
    pub(super) bye_sent: Option<Time>,
    /// Its BYE went out again, and was answered.
    pub(super) bye_again: Option<Time>,
    pub(super) bye_heard: Option<Time>,
    /// Its branch, and that of the dialog which the same INVITE began before, where nobody had heard of that.
    bye: Option<String>,
    bye_before: Option<String>,
    /// The phone lost its memory.
    pub(super) died: Option<Time>,
    pub(super) got: Vec<Request>,
    pub(super) sent: Vec<Request>,
    /// Success with another tag than before.
    pub(super) second_success: Option<Time>,
    /// Its own session timer ran out.
    pub(super) expired: Option<Time>,
    /// It rang reliably (RFC 3262), or at all.
    pub(super) rang: bool,
    pub(super) alerted: bool,
    /// When it said, as it rang, which session it would have.
    pub(super) promised: Option<Time>,
    /// The o= lines that it got, and the descriptions that it sent.
    shown: [Vec<String>; 2],
    /// What it was told of its session, and what it said, when.
    told: Vec<(Time, String)>,
    said: Vec<(Time, String)>,
    /// The description in its own 2xx to the INVITE.
    agreed: String,
    pub(super) scarred: bool,
}

impl Leg {
    fn new(log: &Log, phone: PhoneId, outgoing: bool, at: Time, invite: &Message) -> Self {
        let card = &log.roster[phone];
        let replaces = outgoing && invite.header(Name::Replaces).is_some();
        Self {
            phone,
            talk: card.talk,
            side: card.side,
            call_id: invite.call_id().to_owned(),
            outgoing,
            invited: at,
            branch: invite.branch().unwrap_or_default().to_owned(),
            cseq: invite.cseq(),
            remote_tag: None,
            answered: None,
            answered_again: None,
            successes: Vec::new(),
            acked: None,
            refused: None,
            refusal_acked: false,
            cancelled: false,
            bye_got: None,
            bye_number: 0,
            bye_sent: None,
            bye_again: None,
            bye_heard: None,
            bye: None,
            bye_before: None,
            died: None,
            got: Vec::new(),
            sent: Vec::new(),
            second_success: None,
            expired: None,
            rang: false,
            alerted: false,
            promised: None,
            shown: [Vec::new(), Vec::new()],
            told: Vec::new(),
            said: Vec::new(),
            agreed: if replaces {
                String::from_utf8_lossy(invite.body()).into_owned()
            } else {
                String::new()
            },
            replaces,
            scarred: false,
        }
    }

    /// Returns true where its phone has called, and not only gone on from another place.
    pub(super) fn is_callers(&self) -> bool {
        self.outgoing && !self.replaces
    }

    /// Returns when a phone that was called, or repairs itself, said which session it has.
    pub(super) fn joined(&self) -> Option<Time> {
        if self.replaces {
            Some(self.invited)
        } else {
            self.answered.filter(|_| !self.outgoing)
        }
    }

    /// Returns when it was over for the phone.
    pub(super) fn end(&self) -> Option<Time> {
        let refused = self.refused.map(|(at, _)| at);
        [self.bye_got, self.bye_sent, refused, self.died]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns when a request of its own was answered by a code after which it has no call any more.
    pub(super) fn learnt(&self) -> Option<Time> {
        let own = self.sent.iter().filter(|sent| !self.is_of_another(sent));
        let answers = own.filter_map(|request| request.answer);
        let over = answers.filter(|(_, status)| ends_dialog(*status));
        over.map(|(at, _)| at).min()
    }

    /// Returns true for the PRACK of an early dialog that was not the one which was answered.
    pub(super) fn is_of_another(&self, request: &Request) -> bool {
        request.method == Method::Prack
            && self.remote_tag.is_some()
            && request.to_tag != self.remote_tag
    }

    /// Returns when it was over for the phone, by an end or by what it learnt.
    pub(super) fn over(&self) -> Option<Time> {
        [self.end(), self.learnt()].into_iter().flatten().min()
    }

    /// Returns true where there is no media in it.
    pub(super) fn is_of_texts(&self) -> bool {
        let all = [&self.told, &self.said].into_iter().flatten();
        let mut kinds = all.flat_map(|(_, description)| kinds(description));
        let is_text = |kind| kind == Kind::Message;
        kinds.next().is_some_and(is_text) && kinds.all(is_text)
    }

    /// Returns true where the server has not acted on its INVITE; by a BYE it answers what it knows nothing of, too.
    pub(super) fn is_left_to_itself(&self) -> bool {
        let heeded = self.acked.is_some() || self.refusal_acked || self.cancelled;
        !self.outgoing && !heeded && self.got.is_empty()
    }

    /// Returns when the INVITE was through: acknowledged or refused.
    pub(super) fn settled(&self) -> Option<Time> {
        self.acked.or_else(|| self.end())
    }

    pub(super) fn stood_at(&self, at: Time) -> bool {
        self.acked.is_some_and(|acked| acked <= at) && self.end().is_none_or(|end| end > at)
    }
}

/// Returns true for the codes after which a phone drops its dialog without a word (RFC 5057).
pub(super) fn ends_dialog(status: u16) -> bool {
    matches!(status, 404 | 408 | 410 | 416 | 481..=485 | 502 | 604)
}

/// Sorts a log.
pub(super) fn of(log: &Log) -> Vec<Leg> {
    let mut legs = Vec::new();
    for entry in &log.entries {
        let Some(phone) = entry.phone else { continue };
        match &entry.what {
            What::Got(message) => take(log, &mut legs, phone, entry.at, message, false),
            What::Sent(message) => take(log, &mut legs, phone, entry.at, message, true),
            What::Fault(Fault::Killed) => {
                for leg in legs.iter_mut().filter(|leg: &&mut Leg| leg.phone == phone) {
                    leg.died.get_or_insert(entry.at);
                }
            }
            What::Expired => {
                let own = legs.iter_mut().filter(|leg| leg.phone == phone);
                if let Some(leg) = own.filter(|leg| leg.end().is_none()).last() {
                    leg.expired = Some(entry.at);
                }
            }
            What::Fault(
                Fault::Frozen
                | Fault::Cut
                | Fault::Deaf
                | Fault::Mute
                | Fault::Unheard
                | Fault::Reset
                | Fault::Moved,
            )
            | What::TimedOut(_)
            | What::HungUp
            | What::Transferred
            | What::Recovered
            | What::Heard
            | What::ServerDown
            | What::ServerUp
            | What::Stored(_)
            | What::Remark(_) => {}
        }
    }
    legs
}

fn take(log: &Log, legs: &mut Vec<Leg>, phone: PhoneId, at: Time, message: &Message, sent: bool) {
    let known = legs
        .iter_mut()
        .rev()
        .find(|leg| leg.phone == phone && leg.call_id == message.call_id());
    let begins = message.is_request()
        && *message.method() == Method::Invite
        && message.to_tag().is_none()
        && known
            .as_ref()
            .is_none_or(|leg| Some(&*leg.branch) != message.branch());
    if begins {
        let mut leg = Leg::new(log, phone, sent, at, message);
        leg.is_news(at, message, sent);
        legs.push(leg);
        return;
    }
    // A MESSAGE outside of dialogs is taken to the phone's latest, also where it comes again after another INVITE.
    let leg = match known {
        Some(leg) => leg,
        None if *message.method() == Method::Message => {
            let known = |leg: &Leg| {
                let mut got = leg.got.iter();
                got.any(|got| Some(&*got.branch) == message.branch())
            };
            let own = || legs.iter().rposition(|leg| leg.phone == phone);
            let of_it = legs
                .iter()
                .rposition(|leg| leg.phone == phone && known(leg));
            match of_it.or_else(own) {
                Some(at) => &mut legs[at],
                None => return,
            }
        }
        None => return,
    };
    let news = leg.is_news(at, message, sent);
    if message.is_request() {
        leg.request(at, message, sent, news);
    } else {
        leg.response(at, message, sent);
    }
}

impl Leg {
    /// Remembers the origin of a description. Returns true where it is a new one.
    fn is_news(&mut self, at: Time, message: &Message, sent: bool) -> bool {
        let body = String::from_utf8_lossy(message.body()).into_owned();
        let Some(origin) = body.lines().find(|line| line.starts_with("o=")) else {
            return false;
        };
        // A phone that refreshes while it is held offers all again, under the version of its answer.
        let shown = if sent { &*body } else { origin };
        let known = &mut self.shown[usize::from(sent)];
        let news = !known.iter().any(|known| known == shown);
        if news {
            known.push(shown.to_owned());
        }
        if news {
            let list = if sent { &mut self.said } else { &mut self.told };
            list.push((at, body));
        }
        news
    }

    fn request(&mut self, at: Time, message: &Message, sent: bool, news: bool) {
        let of_invite = Some(&*self.branch) == message.branch();
        match message.method() {
            Method::Ack if of_invite => self.refusal_acked = true,
            Method::Ack => {
                if message.cseq() == self.cseq && self.answered.is_some() {
                    self.acked.get_or_insert(at);
                }
                let list = if sent { &mut self.sent } else { &mut self.got };
                let is_its = |known: &&mut Request| {
                    known.method == Method::Invite && known.cseq == message.cseq()
                };
                if let Some(known) = list.iter_mut().find(is_its) {
                    known.acked = true;
                }
            }
            Method::Cancel => self.cancelled = true,
            Method::Invite if of_invite => {}
            Method::Bye if sent && self.is_of_the_one_before(message) => {}
            Method::Bye if sent && self.bye_sent.is_some() => {
                self.bye_again.get_or_insert(at);
            }
            Method::Bye if sent => {
                self.bye_sent = Some(at);
                self.bye = message.branch().map(ToOwned::to_owned);
            }
            Method::Bye => {
                self.bye_got.get_or_insert(at);
                self.bye_number = message.cseq();
            }
            Method::Invite
            | Method::Options
            | Method::Register
            | Method::Message
            | Method::Info
            | Method::Update
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => self.remember(at, message, sent, news),
        }
    }

    /// Returns true for the BYE, or its answer, of the dialog that the same INVITE began before: it goes out on.
    fn is_of_the_one_before(&self, message: &Message) -> bool {
        self.bye_before.is_some() && self.bye_before.as_deref() == message.branch()
    }

    fn remember(&mut self, at: Time, message: &Message, sent: bool, news: bool) {
        let list = if sent { &mut self.sent } else { &mut self.got };
        let branch = message.branch().unwrap_or_default();
        if let Some(known) = list.iter_mut().find(|known| known.branch == branch) {
            known.last = at;
        } else {
            list.push(Request {
                at,
                last: at,
                method: message.method().clone(),
                branch: branch.to_owned(),
                to_tag: message.to_tag().map(ToOwned::to_owned),
                body: String::from_utf8_lossy(message.body()).into_owned(),
                news,
                answer: None,
                cseq: message.cseq(),
                acked: false,
            });
        }
    }

    fn response(&mut self, at: Time, message: &Message, sent: bool) {
        let status = message.status();
        if status < 200 {
            self.rang |= sent && message.header(Name::RSeq).is_some();
            self.alerted |= sent && status >= 180;
            if sent && !message.body().is_empty() {
                self.promised.get_or_insert(at);
            }
            return;
        }
        let first = *message.method() == Method::Invite && message.cseq() == self.cseq;
        if first && self.outgoing != sent {
            return self.invite_answered(at, message);
        }
        if *message.method() == Method::Bye && !sent && !self.is_of_the_one_before(message) {
            self.bye_heard.get_or_insert(at);
        }
        // What the phone sent is answered by what it gets, and the other way round.
        let list = if sent { &mut self.got } else { &mut self.sent };
        if let Some(request) = list
            .iter_mut()
            .find(|request| Some(&*request.branch) == message.branch())
        {
            request.answer.get_or_insert((at, status));
        }
    }

    fn invite_answered(&mut self, at: Time, message: &Message) {
        let status = message.status();
        if status >= 300 {
            self.refused.get_or_insert((at, status));
            return;
        }
        let tag = message.to_tag().map(ToOwned::to_owned);
        let another = self.remote_tag.is_some() && self.remote_tag != tag;
        if !self.outgoing {
            // It came again, for nobody had heard the refusal, and was taken.
            self.refused = None;
        }
        if another && !self.outgoing && self.acked.is_none() && self.bye_sent.is_some() {
            // It came again, for nobody had heard the first 2xx, nor the BYE after it, and was taken anew.
            (self.bye_sent, self.bye_again, self.bye_heard) = (None, None, None);
            self.bye_before = self.bye.take();
            self.answered = None;
            self.successes.clear();
        } else if another {
            self.second_success.get_or_insert(at);
        }
        self.answered.get_or_insert(at);
        self.answered_again = Some(at);
        self.successes.push(at);
        self.remote_tag = tag;
        if !message.body().is_empty() && !self.replaces {
            self.agreed = String::from_utf8_lossy(message.body()).into_owned();
        }
    }

    /// Returns the session that it answered with, or repairs itself by.
    pub(super) fn agreed(&self) -> &str {
        &self.agreed
    }

    /// Returns true where it answered its INVITE within a time.
    pub(super) fn answers_within(&self, from: Time, until: Time) -> bool {
        let span = self.answered.zip(self.answered_again);
        span.is_some_and(|(first, last)| first <= until && last >= from)
    }

    /// Returns true where the session that it answered with is another one than a leg of the other side was told of:
    /// before, or until its 2xx was heard, or as both were called at once.
    pub(super) fn brings_news_to(&self, other: &Self) -> bool {
        let until = |latest| move |(at, _): &&(Time, String)| Some(*at) < latest;
        let said = self.joined().or(self.answered);
        let before = other.told.iter().rfind(until(said));
        let told = before.or_else(|| other.told.iter().rfind(until(self.answered_again)));
        // Its own INVITE may have been on its way as this one answered.
        let crossed = |(at, _): &&(Time, String)| {
            let soon = self.answered.map(|answered| answered + FLIGHT);
            *at == other.invited && Some(*at) <= soon
        };
        let told = told.or_else(|| other.told.first().filter(crossed));
        told.is_some_and(|(_, told)| outline(told) != outline(&self.agreed))
    }

    /// Returns true where one request before its BYE has not arrived, or a NOTIFY comes once more after that: nobody has
    /// heard its answer.
    pub(super) fn misses_a_word(&self) -> bool {
        let first = if self.outgoing { 0 } else { self.cseq };
        let before = self.got.iter().filter(|got| Some(got.at) < self.bye_got);
        let last = before.map(|got| got.cseq).fold(first, u32::max);
        let again = |got: &Request| got.method == Method::Notify && Some(got.last) >= self.bye_got;
        self.bye_got.is_some() && (last + 2 == self.bye_number || self.got.iter().any(again))
    }

    /// Returns when it said that first.
    pub(super) fn said_first(&self, description: &str) -> Option<Time> {
        let mut said = self.said.iter();
        said.find(|(_, said)| said == description)
            .map(|(at, _)| *at)
    }

    /// Returns true where a description is what it was told before, without the streams that it has refused since.
    pub(super) fn is_what_stands(&self, request: &Request) -> bool {
        let before = |list: &[(Time, String)]| {
            let known = list.iter().rfind(|(at, _)| *at < request.at);
            known.and_then(|(_, body)| outline(body))
        };
        let (Some(told), Some(said)) = (before(&self.told), before(&self.said)) else {
            return false;
        };
        let now = outline(&request.body).unwrap_or_default();
        let mut streams = now.iter().zip(&told).enumerate();
        now.len() == told.len()
            && streams.all(|(at, (now, told))| {
                let refused = said.get(at).is_none_or(|(refused, ..)| *refused);
                if refused { now.0 } else { now == told }
            })
    }

    /// Returns when it took less than before, in answer to an offer that was no news to it, of what another one says:
    /// that is offered all that this one has ever said, and is told then by what this one goes.
    pub(super) fn took_less_than(&self, other: &Self) -> Vec<Time> {
        let all = |said: &[(Time, String)]| {
            let formats = said.iter().flat_map(|(_, said)| formats(said));
            formats.collect::<Vec<_>>()
        };
        let theirs = all(&other.said);
        let less = |at: Time| {
            let number = self.said.iter().position(|(said, _)| *said == at)?;
            let (before, takes) = (all(&self.said[..number]), formats(&self.said[number].1));
            let lacks = |format| !takes.contains(format) && before.contains(format);
            theirs.iter().any(lacks).then_some(at)
        };
        let answers = self.got.iter().filter(|got| !got.news);
        let answers = answers.filter_map(|got| match got.answer {
            Some((at, 200..300)) => less(at),
            Some(_) | None => None,
        });
        answers.collect()
    }
}

/// Returns the same of the streams that it has.
pub(super) fn running(description: &str) -> Option<Outline> {
    let mut streams = outline(description)?;
    streams.retain(|(refused, ..)| !refused);
    Some(streams)
}

/// Returns what a description says of formats and directions, whatever their numbers and places.
pub(super) fn outline(description: &str) -> Option<Outline> {
    let sdp = Sdp::parse(description.as_bytes()).ok()?;
    let section = |media: &Media<'_>| {
        let mut names = names(media);
        names.sort();
        (media.port == 0, media.direction, names)
    };
    Some(sdp.media().iter().map(section).collect())
}

fn kinds(description: &str) -> Vec<Kind> {
    let sdp = Sdp::parse(description.as_bytes());
    let sections = sdp.iter().flat_map(Sdp::media);
    sections.map(|media| media.kind).collect()
}

fn names(media: &Media<'_>) -> Vec<String> {
    media.payloads().map(|it| it.name.to_lowercase()).collect()
}

fn formats(description: &str) -> Vec<String> {
    let sdp = Sdp::parse(description.as_bytes());
    sdp.iter().flat_map(Sdp::media).flat_map(names).collect()
}
