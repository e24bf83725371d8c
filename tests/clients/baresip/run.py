"""baresip to baresip through Refork: one phone of the call is lost, another of the same person goes on."""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import acts  # noqa: E402
from household import perform  # noqa: E402
from loss import HOUSEHOLD, lost  # noqa: E402
from phone import Phone  # noqa: E402


def encrypted(stage, encrypt):
    """Loses the desk phone of a call; `encrypt` says how each phone encrypts its media."""
    lost(stage, signal.SIGKILL, encrypt=encrypt)
    for phone in stage.phones.values():
        deciphered(phone)


def deciphered(phone):
    """A phone that encrypts had keys, and could decipher all that it heard."""
    said = phone.log()
    assert "failed to decrypt" not in said and "auth check failed" not in said, said
    if phone.encrypts:
        assert "SRTP is Enabled" in said, said


def killed(stage):
    lost(stage, signal.SIGKILL)


def frozen(stage):
    lost(stage, signal.SIGSTOP)


def caller_killed(stage):
    lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"))


def caller_frozen(stage):
    lost(stage, signal.SIGSTOP, "desk", ("INVITE", "ACK"))


def killed_over_tcp(stage):
    lost(stage, signal.SIGKILL)


def frozen_over_tcp(stage):
    lost(stage, signal.SIGSTOP)


def killed_over_tls(stage):
    # Nothing is in the clear: keys that cross by SIP are worth as much as it.
    encrypted(stage, dict.fromkeys(HOUSEHOLD, "srtp-mand"))


def encrypted_killed(stage):
    # Alice's phone offers its key under the plain profile.
    encrypted(stage, {"alice": "srtp", "desk": "srtp-mand", "mobile": "srtp-mand"})


def encrypted_survivor_of_plain_phones(stage):
    encrypted(stage, {"alice": "srtp-mand", "desk": None, "mobile": None})


def plain_survivor_of_encrypting_phones(stage):
    encrypted(stage, {"alice": None, "desk": "srtp-mand", "mobile": "srtp-mand"})


SCENARIOS = (frozen, killed, caller_frozen, caller_killed, frozen_over_tcp, killed_over_tcp, killed_over_tls,
             encrypted_killed, encrypted_survivor_of_plain_phones, plain_survivor_of_encrypting_phones,
             acts.over("tls", acts.calls_both_ways), acts.hold_and_resume, acts.blind_transfer,
             acts.over("tls", acts.blind_transfer), acts.digits, acts.texts)
sys.exit(perform(SCENARIOS, Phone))
