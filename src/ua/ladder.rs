//! A scene as a ladder of plain text: who said what to whom, and when.

use std::time::Duration;

use crate::sip::{Message, Method, Name, reason_phrase};

use super::call::Call;
use super::log::{Entry, What};
use super::rtp::Packet;

/// Columns that the time takes.
const TIME: usize = 9;

/// RTP that went on without a change of voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    pub who: String,
    pub from: Duration,
    pub until: Duration,
    /// First octet of the payload that was heard; none where nothing was.
    pub voice: Option<u8>,
    pub sent: usize,
    pub heard: usize,
    /// What it is called in the ladder.
    pub name: String,
}

impl Burst {
    /// Cuts the RTP of a call where the voice that is heard changes.
    pub fn of(call: &Call) -> Vec<Self> {
        let who = call.phone().label().to_owned();
        cut(&who, &call.said(), &call.heard())
    }
}

fn cut(who: &str, said: &[Packet], heard: &[Packet]) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    for packet in heard {
        let voice = packet.payload.first().copied();
        match bursts.last_mut().filter(|burst| burst.voice == voice) {
            Some(burst) => {
                burst.heard += 1;
                burst.until = packet.at;
            }
            None => bursts.push(Burst {
                who: who.to_owned(),
                from: packet.at,
                until: packet.at,
                voice,
                sent: 0,
                heard: 1,
                name: "RTP".to_owned(),
            }),
        }
    }
    let (Some(first), Some(last)) = (said.first(), said.last()) else {
        return bursts;
    };
    if bursts.is_empty() {
        bursts.push(Burst {
            who: who.to_owned(),
            from: first.at,
            until: last.at,
            voice: None,
            sent: 0,
            heard: 0,
            name: "RTP".to_owned(),
        });
    }
    let ends: Vec<Duration> = bursts
        .iter()
        .skip(1)
        .map(|burst| burst.from)
        .chain([Duration::MAX])
        .collect();
    for packet in said {
        let at = ends.iter().position(|end| packet.at < *end).unwrap_or(0);
        bursts[at].sent += 1;
    }
    bursts
}

/// How a phone's line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Well,
    Frozen,
    Dead,
}

#[derive(Clone, Debug)]
enum Line {
    Arrow {
        outward: bool,
        label: String,
        text: Option<String>,
    },
    Burst {
        label: String,
        sends: bool,
        hears: bool,
    },
    Life(Life, &'static str),
    Note(String),
}

/// Lines of text, to be filled and drawn. The server stands between the first phone and the others.
#[derive(Clone, Debug)]
pub struct Ladder {
    phones: Vec<String>,
    server: String,
    width: usize,
    lines: Vec<(Duration, usize, Line)>,
}

impl Ladder {
    /// Begins a ladder of these phones, so many columns wide.
    pub fn new(phones: &[&str], server: &str, width: usize) -> Self {
        Self {
            phones: phones.iter().map(|phone| (*phone).to_owned()).collect(),
            server: server.to_owned(),
            width: width.max(60),
            lines: Vec::new(),
        }
    }

    /// Adds entries of phones that have a column.
    pub fn entries(mut self, entries: &[Entry]) -> Self {
        for entry in entries {
            let Some(phone) = self.phones.iter().position(|phone| **phone == *entry.who) else {
                continue;
            };
            let line = match &entry.what {
                What::Sent { message, .. } => arrow(true, message, entry.again),
                What::Received { message, .. } => arrow(false, message, entry.again),
                What::Killed => Line::Life(Life::Dead, "killed, without a word"),
                What::Frozen => Line::Life(Life::Frozen, "frozen"),
                What::Thawed => Line::Life(Life::Well, "thawed"),
                What::Note(text) => Line::Note(text.clone()),
            };
            self.lines.push((entry.at, phone, line));
        }
        self
    }

    /// Adds bursts of RTP, each where it began.
    pub fn bursts(mut self, bursts: impl IntoIterator<Item = Burst>) -> Self {
        for burst in bursts {
            let Some(phone) = self.phones.iter().position(|phone| *phone == burst.who) else {
                continue;
            };
            let (out, back) = if phone == 0 {
                ("→", "←")
            } else {
                ("←", "→")
            };
            let label = match (burst.sent, burst.heard) {
                (sent, 0) => format!("{} {out}{sent}", burst.name),
                (0, heard) => format!("{} {back}{heard}", burst.name),
                (sent, heard) => format!("{} {out}{sent} {back}{heard}", burst.name),
            };
            let line = Line::Burst {
                label,
                sends: burst.sent > 0,
                hears: burst.heard > 0,
            };
            self.lines.push((burst.from, phone, line));
        }
        self
    }

    /// Draws it; times count from `zero`.
    pub fn draw(&self, zero: Duration) -> String {
        let mut lines = self.lines.clone();
        lines.sort_by_key(|(at, ..)| *at);
        let mut page = Page::new(self);
        page.head();
        for (at, phone, line) in lines {
            page.line(at.saturating_sub(zero), phone, &line);
        }
        page.out
    }
}

fn arrow(outward: bool, message: &Message, again: bool) -> Line {
    let mut label = label(message);
    if again {
        label.push_str(" again");
    }
    let is_text = *message.method() == Method::Message && message.is_request();
    let text = is_text.then(|| {
        let body = String::from_utf8_lossy(message.body());
        format!("\"{}\"", body.trim().replace(['\r', '\n'], " "))
    });
    Line::Arrow {
        outward,
        label,
        text,
    }
}

fn label(message: &Message) -> String {
    let method = message.method().as_str();
    if !message.is_request() {
        let status = message.status();
        let phrase = reason_phrase(status);
        let is_invite = *message.method() == Method::Invite;
        return match (is_invite, phrase.len()) {
            (true, ..=18) => format!("{status} {phrase}"),
            (true, _) => status.to_string(),
            (false, ..=9) => format!("{status} {phrase} ({method})"),
            (false, _) => format!("{status} ({method})"),
        };
    }
    let is_invite = *message.method() == Method::Invite;
    if is_invite && message.to_tag().is_some() {
        "re-INVITE".to_owned()
    } else if is_invite && message.header(Name::Replaces).is_some() {
        "INVITE, Replaces".to_owned()
    } else {
        method.to_owned()
    }
}

/// A page being drawn.
struct Page<'a> {
    ladder: &'a Ladder,
    /// Where each phone's line stands.
    at: Vec<usize>,
    server: usize,
    lives: Vec<Life>,
    out: String,
}

impl<'a> Page<'a> {
    fn new(ladder: &'a Ladder) -> Self {
        let count = ladder.phones.len() + 1;
        let half = |label: &String| label.chars().count() / 2;
        let left = TIME + ladder.phones.first().map_or(0, half).max(2);
        let right = ladder.width - 1 - ladder.phones.last().map_or(0, half).max(2);
        let place = |nth: usize| left + (right - left) * nth / (count - 1).max(1);
        let at = (0..count).filter(|nth| *nth != 1).map(place).collect();
        Self {
            ladder,
            at,
            server: place(1),
            lives: vec![Life::Well; ladder.phones.len()],
            out: String::new(),
        }
    }

    fn head(&mut self) {
        let mut row = vec![' '; self.ladder.width];
        let names = self.ladder.phones.iter().zip(self.at.clone());
        for (name, at) in names.chain([(&self.ladder.server, self.server)]) {
            write_at(&mut row, at.saturating_sub(name.chars().count() / 2), name);
        }
        self.push(&row);
        let row = self.lifelines();
        self.push(&row);
    }

    fn lifelines(&self) -> Vec<char> {
        let mut row = vec![' '; self.ladder.width];
        row[self.server] = '│';
        for (at, life) in self.at.iter().zip(&self.lives) {
            row[*at] = match life {
                Life::Well => '│',
                Life::Frozen => '┊',
                Life::Dead => ' ',
            };
        }
        row
    }

    fn line(&mut self, at: Duration, phone: usize, line: &Line) {
        let mut row = self.lifelines();
        write_at(&mut row, 0, &format!("{:7.3}", at.as_secs_f64()));
        match line {
            Line::Arrow {
                outward,
                label,
                text,
            } => {
                let room = self.segment(phone).1;
                let whole = text.as_ref().map(|text| format!("{label} {text}"));
                let short = whole.filter(|whole| whole.chars().count() + 4 <= room);
                let is_short = short.is_some();
                let label = short.unwrap_or_else(|| label.clone());
                self.stroke(&mut row, phone, '─', &label, !outward, *outward);
                self.push(&row);
                if let Some(text) = text.as_ref().filter(|_| !is_short) {
                    self.below(phone, text);
                }
            }
            Line::Burst {
                label,
                sends,
                hears,
            } => {
                self.stroke(&mut row, phone, '═', label, *hears, *sends);
                self.push(&row);
            }
            Line::Life(life, text) => {
                self.lives[phone] = *life;
                let sign = match life {
                    Life::Dead => '✖',
                    Life::Frozen => '┊',
                    Life::Well => '│',
                };
                row[self.at[phone]] = sign;
                self.remark(&mut row, phone, text);
                self.push(&row);
            }
            Line::Note(text) => {
                self.remark(&mut row, phone, text);
                self.push(&row);
            }
        }
    }

    /// Returns the space for a label beside a phone's line: where it begins, and how much there is.
    fn segment(&self, phone: usize) -> (usize, usize) {
        let at = self.at[phone];
        let (from, to) = if at < self.server {
            (at, self.server)
        } else {
            let left = self.at.iter().filter(|other| **other < at).max();
            (left.copied().unwrap_or(0).max(self.server), at)
        };
        (from + 1, to - from - 1)
    }

    /// Draws a line between a phone and the server, with heads at the phone's end or the server's.
    fn stroke(
        &self,
        row: &mut [char],
        phone: usize,
        dash: char,
        label: &str,
        to_phone: bool,
        to_server: bool,
    ) {
        let at = self.at[phone];
        let (from, to) = (at.min(self.server), at.max(self.server));
        for place in &mut row[from + 1..to] {
            *place = if *place == ' ' { dash } else { '┼' };
        }
        let (left, right) = if at < self.server {
            (to_phone, to_server)
        } else {
            (to_server, to_phone)
        };
        if left {
            row[from + 1] = '◀';
        }
        if right {
            row[to - 1] = '▶';
        }
        let (begin, room) = self.segment(phone);
        let label: String = label.chars().take(room.saturating_sub(4)).collect();
        let label = format!(" {label} ");
        let middle = begin + (room - label.chars().count().min(room)) / 2;
        write_at(row, middle, &label);
    }

    fn remark(&self, row: &mut [char], phone: usize, text: &str) {
        let at = self.at[phone];
        let length = text.chars().count();
        let begin = if at + 2 + length < self.ladder.width {
            at + 2
        } else {
            at.saturating_sub(length + 1).max(TIME)
        };
        write_at(row, begin, text);
    }

    /// Writes a text below its arrow, over as many lines as it needs.
    fn below(&mut self, phone: usize, text: &str) {
        let at = self.at[phone];
        let (begin, room) = if at < self.server {
            (at + 2, self.server - at - 3)
        } else {
            let (begin, room) = self.segment(phone);
            (begin + 1, room.saturating_sub(2))
        };
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let last = lines.last_mut().filter(|line| {
                line.is_empty() || line.chars().count() + 1 + word.chars().count() <= room
            });
            match last {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) => {
                    line.push(' ');
                    line.push_str(word);
                }
                None => lines.push(word.to_owned()),
            }
        }
        for line in lines {
            let mut row = self.lifelines();
            write_at(&mut row, begin, &line);
            self.push(&row);
        }
    }

    fn push(&mut self, row: &[char]) {
        let line: String = row.iter().collect();
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }
}

fn write_at(row: &mut [char], at: usize, text: &str) {
    for (place, letter) in row.iter_mut().skip(at).zip(text.chars()) {
        *place = letter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at_ms: u64, voice: u8) -> Packet {
        Packet {
            at: Duration::from_millis(at_ms),
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
            marker: false,
            payload_type: 0,
            payload: vec![voice],
            peer: ([127, 0, 0, 1], 9).into(),
        }
    }

    #[test]
    fn rtp_is_cut_where_the_voice_changes() {
        let heard = [packet(10, 1), packet(30, 1), packet(50, 2)];
        let said = [packet(0, 9), packet(40, 9), packet(60, 9), packet(80, 9)];
        let bursts = cut("Alice", &said, &heard);
        let seen: Vec<_> = bursts
            .iter()
            .map(|burst| (burst.voice, burst.sent, burst.heard))
            .collect();
        assert_eq!(seen, [(Some(1), 2, 2), (Some(2), 2, 1)]);
    }

    #[test]
    fn a_page() {
        let bursts = cut("Alice", &[packet(1500, 1)], &[packet(1500, 1)]);
        let mut ladder = Ladder::new(&["Alice", "Bob"], "Refork", 60).bursts(bursts);
        let arrow = |outward, text: Option<&str>| Line::Arrow {
            outward,
            label: "MESSAGE".into(),
            text: text.map(str::to_owned),
        };
        for (at, phone, line) in [
            (0, 0, arrow(true, Some("\"hi\""))),
            (1, 1, arrow(false, None)),
            (2000, 1, Line::Life(Life::Dead, "killed")),
            (
                2100,
                0,
                arrow(false, Some("\"a text that is longer than the arrow\"")),
            ),
        ] {
            ladder.lines.push((Duration::from_millis(at), phone, line));
        }
        let drawn = ladder.draw(Duration::ZERO);
        let expected = "
         Alice                 Refork                   Bob
           │                      │                      │
  0.000    │──── MESSAGE \"hi\" ───▶│                      │
  0.001    │                      │────── MESSAGE ──────▶│
  1.500    │◀════ RTP →1 ←1 ═════▶│                      │
  2.000    │                      │               killed ✖
  2.100    │◀───── MESSAGE ───────│
           │ \"a text that is      │
           │ longer than the      │
           │ arrow\"               │
";
        assert_eq!(format!("\n{drawn}"), expected);
    }
}
