//! What a privacy service does (RFC 3323 5): who asks for it stays unnamed to those who are not trusted.
//!
//! Contact, Via, Record-Route, Call-ID, User-Agent and Server never cross, and media runs by way of the relay;
//! left are the name in From, and what else says who somebody is.

use serde::{Deserialize, Serialize};

use super::asserted::{hears_names, is_told};
use super::claims::{is_party, is_withheld};
use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::carrying::crossing::{crossing, crossing_but, signature};
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::ids::Side;
use crate::engine::location;
use crate::engine::settings::MediaMode;
use crate::sip::sdp::{Media, Sdp};
use crate::sip::{Address, Field, Message, Name, Privacy};

/// RFC 3323 4.1.1.3.
pub(crate) const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
/// Octets of Privacy that are kept.
const VALUE_MAX: usize = 128;

/// Header fields that `Name` does not know and that tell of a person (RFC 3323 5.3).
const TELLING: [&str; 4] = [
    "Organization",
    "In-Reply-To",
    "P-Preferred-Identity",
    "Geolocation",
];

/// What a participant wishes, in its own words: the value of Privacy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Veil(Option<Box<str>>);

impl Veil {
    pub(crate) fn of(message: &Message) -> Self {
        let values: Vec<&str> = message.values(Name::Privacy).collect();
        let value = values.join(";");
        Self((1..=VALUE_MAX).contains(&value.len()).then(|| value.into()))
    }

    /// Takes up again what `value` has given.
    pub(crate) fn again(value: Option<Box<str>>) -> Self {
        Self(value)
    }

    pub(crate) fn value(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(crate) fn privacy(&self) -> Privacy {
        self.0.as_deref().map(Privacy::parse).unwrap_or_default()
    }

    /// Returns true where who wishes it is not to be named.
    pub(crate) fn hides_name(&self) -> bool {
        self.privacy().user
    }

    /// Writes the line for the next hop: who is trusted is to see to all of it, another one has to do what is
    /// not done here (RFC 3323 5).
    pub(crate) fn line(&self, trusted: bool) -> String {
        let name = Name::Privacy.as_str();
        let value = self.0.as_deref();
        let left = match value {
            Some(value) if trusted => Some(value.into()),
            Some(value) => Privacy::left(value),
            None => None,
        };
        left.map(|value: String| format!("{name}: {value}\r\n"))
            .unwrap_or_default()
    }
}

/// Returns the lines of a message that cross to one who is not trusted, where who sent it wishes for privacy; `named`
/// where that one may hear a name.
pub(crate) fn veiled(message: &Message, sender: &Asker, named: bool) -> Vec<u8> {
    let veil = Veil::of(message);
    let privacy = veil.privacy();
    let mut lines = crossing_but(message, sender, |field| {
        field.name == Some(Name::Privacy) || tells(field, privacy, named)
    });
    lines.extend_from_slice(veil.line(false).as_bytes());
    if !privacy.user && message.is_request() {
        lines.extend(signature(message));
    }
    lines
}

/// What crosses of a first request.
#[derive(Debug)]
pub(crate) struct FirstLines {
    whole: Vec<u8>,
    /// For those who are not trusted, where that is another matter: for who may hear names, and for others.
    veiled: Option<[Vec<u8>; 2]>,
    /// For the upstream alone that judges the caller: what it proves itself by, and what a stranger may not ask.
    pub(crate) to_judge: Vec<u8>,
    /// For whom the caller has dialled beyond an upstream, where the dialog is that it would replace.
    pub(crate) replacing: Vec<u8>,
}

impl FirstLines {
    /// Reads a request; `own`, lines that cross this once, go to everyone.
    pub(crate) fn of(request: &Message, sender: &Asker, own: &[u8]) -> Self {
        let is_wish = |field: &Field<'_>| field.name == Some(Name::Privacy);
        let privacy = Privacy::of(request);
        let lines = |tells: &dyn Fn(&Field<'_>) -> bool| {
            let mut lines = crossing_but(request, sender, |field| is_wish(field) || tells(field));
            lines.extend_from_slice(own);
            lines
        };
        let mut whole = lines(&|_| false);
        whole.extend(signature(request));
        let withholds = || {
            let mut fields = request.all();
            fields.any(|field| is_withheld(&field) || is_party(&field))
        };
        let differs = privacy != Privacy::default() || withholds();
        Self {
            veiled: differs.then(|| {
                [true, false].map(|named| {
                    let mut veiled = lines(&|field| tells(field, privacy, named));
                    if !privacy.user {
                        veiled.extend(signature(request));
                    }
                    veiled
                })
            }),
            whole,
            to_judge: Vec::new(),
            replacing: Vec::new(),
        }
    }

    /// Returns those that are not for everyone, where it is for `judges` or `dialled`.
    pub(crate) fn apart(&self, judges: bool, dialled: bool) -> Vec<u8> {
        let of = |lines, wanted| if wanted { lines } else { &[][..] };
        [of(&self.to_judge, judges), of(&self.replacing, dialled)].concat()
    }

    /// Returns them for one who is trusted, or who may hear names.
    pub(crate) fn toward(&self, trusted: bool, named: bool) -> &[u8] {
        match &self.veiled {
            Some([veiled, _]) if !trusted && named => veiled,
            Some([_, veiled]) if !trusted => veiled,
            Some(_) | None => &self.whole,
        }
    }
}

/// Returns true where a field is to be taken out toward who is not trusted.
fn tells(field: &Field<'_>, privacy: Privacy, named: bool) -> bool {
    match field.name {
        _ if is_withheld(field) => true,
        _ if is_party(field) => !named || privacy.user || privacy.header || privacy.id,
        Some(Name::Subject | Name::CallInfo | Name::ReplyTo) => privacy.user,
        None => {
            let mut telling = TELLING.iter();
            (privacy.user || privacy.header)
                && telling.any(|name| field.raw_name.eq_ignore_ascii_case(name))
        }
        Some(_) => false,
    }
}

/// Returns true where what a request insists on cannot be given (RFC 3323 5).
pub(crate) fn cannot_be_given(request: &Message, offer: Option<&str>, media: MediaMode) -> bool {
    let wished = Privacy::of(request);
    let shown = wished.session && (media == MediaMode::Direct || offer.is_some_and(goes_past_us));
    wished.critical && (wished.unknown || shown)
}

/// Returns true for an offer with a stream that goes from phone to phone, as MSRP and BFCP do.
fn goes_past_us(offer: &str) -> bool {
    let carried =
        |stream: &Media<'_>| stream.port == 0 || stream.is_datagrams() || stream.is_sip_message();
    Sdp::parse(offer.as_bytes()).is_ok_and(|sdp| !sdp.media().iter().all(carried))
}

impl Conversation {
    /// Returns true where the far side of this one is to be told no more of it than it must.
    pub(crate) fn is_unnamed(&self, context: &Context<'_>, side: Side) -> bool {
        let party = self.party(side);
        let address = Address::parse(&party.address);
        let nobody = address.ok().and_then(|address| address.uri_parsed().ok());
        if nobody.is_some_and(|uri| {
            uri.host.eq_ignore_ascii_case("anonymous.invalid") || location::hides(&uri)
        }) {
            return true;
        }
        party.veil.hides_name() && !self.trusts_far_end(context, side)
    }

    /// Whether the phone of the other side may be told who this one is.
    fn trusts_far_end(&self, context: &Context<'_>, side: Side) -> bool {
        let far = self.far_leg(side);
        let asker = &self.party(side.other()).asker;
        far.is_some_and(|leg| is_told(asker, &leg.dialog.flow, context))
    }

    /// Returns the leg of the other side, or the one that is lost.
    fn far_leg(&self, side: Side) -> Option<&Leg> {
        let far = self.party(side.other());
        let lost = far.lost.as_ref().map(|lost| &lost.old);
        far.leg.as_ref().or(lost)
    }

    /// Returns who this side is, for the other side's phone.
    pub(crate) fn shown(&self, context: &Context<'_>, side: Side) -> &str {
        if self.party(side).veil.hides_name() && !self.trusts_far_end(context, side) {
            ANONYMOUS
        } else {
            &self.party(side).address
        }
    }

    /// RFC 8224 4: a signature is over the URIs of From and To, which are the same on both legs until one of
    /// them has another person.
    fn signs_the_same(&self, from: Side, message: &Message) -> bool {
        let far = self.party(from.other()).leg.as_ref();
        let is = |address: &str, uri: &str| {
            Address::parse(address).is_ok_and(|address| address.uri == uri)
        };
        message.is_request()
            && far.is_some_and(|far| {
                is(&far.dialog.local, message.from().uri)
                    && is(&far.dialog.remote, message.to().uri)
            })
    }

    /// Returns the lines of a message of a side that cross to the other one.
    pub(crate) fn lines_of(&self, context: &Context<'_>, from: Side, message: &Message) -> Vec<u8> {
        let sender = &self.party(from).asker;
        if self.trusts_far_end(context, from) {
            let mut lines = crossing(message, sender);
            if self.signs_the_same(from, message) {
                lines.extend(signature(message));
            }
            return lines;
        }
        let (own, standing) = (Privacy::of(message), self.party(from).veil.privacy());
        let privacy = Privacy {
            user: own.user || standing.user,
            header: own.header || standing.header,
            id: own.id || standing.id,
            ..own
        };
        let veil = Veil::of(message);
        let far = self.far_leg(from);
        let named = far.is_some_and(|leg| hears_names(context, &leg.endpoint));
        let mut lines = crossing_but(message, sender, |field| {
            field.name == Some(Name::Privacy) || tells(field, privacy, named)
        });
        lines.extend_from_slice(veil.line(false).as_bytes());
        let wishes = self.party(from).veil.value().is_some();
        let wishes = wishes || message.header(Name::Privacy).is_some();
        if !wishes && self.signs_the_same(from, message) {
            lines.extend(signature(message));
        }
        lines
    }
}
