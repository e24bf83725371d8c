"""Phones of different makes together: what each does by itself in its own family, they do with one another."""

import importlib.util
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import acts  # noqa: E402
import household  # noqa: E402
from household import perform  # noqa: E402
from loss import lost  # noqa: E402


def make(family):
    """Returns what makes phones of a family."""
    spec = importlib.util.spec_from_file_location(f"{family}_phone", HERE.parent / family / "phone.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Phone


MAKES = {family: make(family) for family in ("baresip", "linphone", "pjsua")}
ENCRYPTS = {"baresip": "srtp-mand", "linphone": True, "pjsua": True}
# Who has which phone, by the scenario's name: Alice, Bob's desk, and whoever comes third.
CASTS = {}


def with_phones(alice, desk, third, act, transport="udp"):
    """Returns an act played with these phones."""
    def played(stage):
        act(stage)
    played.__name__ = f"{act.__name__}_of_{alice}_{desk}_{third}_over_{transport}"
    CASTS[played.__name__] = {"alice": alice, "desk": desk, "mobile": third, "carol": third}
    return played


class Stage(household.Stage):
    """A stage whose phones are of different makes."""

    def __init__(self, name, _):
        self.cast = CASTS[name]
        super().__init__(name, self.phone_of)

    def phone_of(self, folder, namespace, name, *rest, **more):
        return MAKES[self.cast[name]](folder, namespace, name, *rest, **more)


def killed(stage):
    lost(stage, signal.SIGKILL)


def frozen(stage):
    lost(stage, signal.SIGSTOP)


def encrypted_caller_killed(stage):
    encrypt = {name: ENCRYPTS[stage.cast[name]] for name in ("alice", "desk", "mobile")}
    lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"), encrypt=encrypt)


SCENARIOS = (
    with_phones("linphone", "baresip", "pjsua", killed),
    with_phones("baresip", "pjsua", "linphone", frozen, "tcp"),
    with_phones("pjsua", "linphone", "baresip", encrypted_caller_killed, "tls"),
    with_phones("baresip", "linphone", "pjsua", acts.blind_transfer),
    with_phones("pjsua", "baresip", "linphone", acts.blind_transfer, "tcp"),
    with_phones("linphone", "pjsua", "baresip", acts.attended_transfer),
    with_phones("baresip", "linphone", "pjsua", acts.attended_transfer, "tls"),
    with_phones("linphone", "pjsua", "baresip", acts.hold_and_resume),
    with_phones("pjsua", "baresip", "linphone", acts.hold_and_resume),
    with_phones("linphone", "pjsua", "baresip", acts.digits),
    with_phones("pjsua", "baresip", "linphone", acts.digits),
    with_phones("linphone", "baresip", "pjsua", acts.texts),
    with_phones("baresip", "pjsua", "linphone", acts.texts, "tls"),
    with_phones("linphone", "pjsua", "baresip", acts.early_media),
    with_phones("baresip", "pjsua", "linphone", acts.early_media, "tcp"),
)
sys.exit(perform(SCENARIOS, None, Stage))
