"""linphone to linphone through Refork: a call and texts; the called phone is lost, another one goes on."""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import acts  # noqa: E402
import ladder  # noqa: E402
from household import perform  # noqa: E402
from loss import HOUSEHOLD, lost  # noqa: E402
from phone import Phone  # noqa: E402
from refork import wait_until  # noqa: E402


def text(stage):
    """A text outside of any dialog, there and back."""
    capture = stage.capture("alice")
    alice, desk = stage.phone("alice"), stage.phone("desk")
    alice.command("message sip:bob@example.org good morning")
    wait_until("Bob reads it", lambda: desk.texts() == ["good morning"])
    desk.command("message sip:alice@example.org good evening")
    wait_until("Alice reads it", lambda: alice.texts() == ["good evening"])
    capture.stop()
    ladder.draw(capture.sip("alice"))
    # Digest: the first REGISTER is challenged, the second one taken.
    assert ladder.statuses_to(capture.sip("alice"), "alice", "REGISTER")[:2] == [401, 200]


def killed(stage):
    lost(stage, signal.SIGKILL)


def frozen(stage):
    lost(stage, signal.SIGSTOP)


def deciphered(phone):
    """A phone that encrypts had keys, and could decipher all that it heard."""
    said = (phone.folder / "linphone.log").read_text(errors="replace")
    assert "RTP/SAVP" in said and "a=crypto:" in said, f"{phone.name} did not encrypt"
    failed = [line for line in said.splitlines() if "unprotect" in line and "fail" in line]
    assert not failed, f"{phone.name} could not decipher {len(failed)} packets: {failed[0]}"


def encrypted_killed(stage):
    # The phone that goes on has no SRTP.
    lost(stage, signal.SIGKILL, encrypt={"alice": True, "desk": True})
    for name in ("alice", "desk"):
        deciphered(stage.phones[name])


def caller_killed_over_tls(stage):
    # Nothing is in the clear: keys that cross by SIP are worth as much as it.
    lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"), encrypt=dict.fromkeys(HOUSEHOLD, True))
    for phone in stage.phones.values():
        deciphered(phone)


SCENARIOS = (frozen, killed, encrypted_killed, caller_killed_over_tls, text, acts.over("tls", acts.calls_both_ways),
             acts.hold_and_resume, acts.blind_transfer, acts.attended_transfer, acts.over("tls", acts.attended_transfer),
             acts.digits, acts.over("tcp", acts.texts))
sys.exit(perform(SCENARIOS, Phone))
