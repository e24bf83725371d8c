//! Who takes part, apart from the phone: what changes where a call goes on to somebody else.

use serde::{Deserialize, Serialize};

use super::asserted::{asserted, asserted_of_called};
use super::veil::Veil;
use crate::engine::asker::Asker;
use crate::engine::conversation::Party;
use crate::engine::dialog::name_addr;
use crate::engine::ids::Aor;
use crate::engine::routing::Destination;
use crate::engine::settings::Settings;
use crate::sip::{Address, Message, Name, Params};

/// What makes a party one person and not another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) aor: Aor,
    pub(crate) address: Box<str>,
    pub(crate) languages: Box<str>,
    pub(crate) asked: Option<Box<str>>,
    pub(crate) asker: Asker,
    #[serde(default)]
    pub(crate) asserted: Option<Box<str>>,
    #[serde(default)]
    pub(crate) veil: Veil,
}

impl Person {
    /// Returns who is meant by a URI that leads to a destination.
    pub(crate) fn at(
        settings: &Settings,
        destination: &Destination,
        uri: &str,
        address: Box<str>,
    ) -> Self {
        Self {
            aor: destination.aor.clone(),
            address,
            languages: Box::default(),
            asked: destination.upstream.as_ref().map(|_| uri.into()),
            asserted: asserted_of_called(&destination.asker(settings)),
            asker: destination.asker(settings),
            veil: Veil::default(),
        }
    }

    /// Returns who takes somebody's place by a call of its own.
    pub(crate) fn calling(request: &Message, asker: &Asker, aor: Aor) -> Self {
        Self {
            aor,
            address: name_addr(&Address {
                params: Params::new(""),
                ..request.from()
            }),
            languages: request.header(Name::AcceptLanguage).unwrap_or("").into(),
            asked: None,
            asserted: asserted(request, asker),
            asker: asker.clone(),
            veil: Veil::of(request),
        }
    }

    /// Returns who a party is.
    pub(crate) fn of(party: &Party) -> Self {
        Self {
            aor: party.aor.clone(),
            address: party.address.clone(),
            languages: party.languages.clone(),
            asked: party.asked.clone(),
            asker: party.asker.clone(),
            asserted: party.asserted.clone(),
            veil: party.veil.clone(),
        }
    }

    /// Puts the person in a party's place, and keeps who was there.
    pub(crate) fn swap(&mut self, party: &mut Party) {
        std::mem::swap(&mut self.aor, &mut party.aor);
        std::mem::swap(&mut self.address, &mut party.address);
        std::mem::swap(&mut self.languages, &mut party.languages);
        std::mem::swap(&mut self.asked, &mut party.asked);
        std::mem::swap(&mut self.asker, &mut party.asker);
        std::mem::swap(&mut self.asserted, &mut party.asserted);
        std::mem::swap(&mut self.veil, &mut party.veil);
    }
}
