"""linphone to linphone through Refork: a call and texts; the called phone is lost, another one goes on."""

import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import acts  # noqa: E402
import ladder  # noqa: E402
from capture import judge_unbroken  # noqa: E402
from household import perform  # noqa: E402
from phone import Phone  # noqa: E402
from refork import wait_until  # noqa: E402

TALK_SECONDS = 3
HOUSEHOLD = ("alice", "desk", "mobile")
BOB = "sip:bob@example.org"


def text(stage):
    """A text outside of any dialog, there and back."""
    capture = stage.capture("alice")
    alice, desk = stage.phone("alice"), stage.phone("desk")
    alice.command(f"message {BOB} good morning")
    wait_until("Bob reads it", lambda: desk.texts() == ["good morning"])
    desk.command("message sip:alice@example.org good evening")
    wait_until("Alice reads it", lambda: alice.texts() == ["good evening"])
    capture.stop()
    ladder.draw(capture.sip("alice"))
    # Digest: the first REGISTER is challenged, the second one taken.
    assert ladder.statuses_to(capture.sip("alice"), "alice", "REGISTER")[:2] == [401, 200]


def lost(stage, how, encrypt=()):
    """Loses the desk phone while it talks with Alice, who is told once and asked for nothing.

    `encrypt` names the phones that encrypt their media."""
    capture, at_desk, at_mobile = (stage.capture(name) for name in HOUSEHOLD)
    alice, desk = (stage.phone(name, answers=name != "alice", encrypts=name in encrypt) for name in ("alice", "desk"))
    alice.command(f"call {BOB}")
    alice.talks()
    desk.talks()
    mobile = stage.phone("mobile", encrypts="mobile" in encrypt)
    time.sleep(TALK_SECONDS)  # They talk.
    lost_at = time.time()
    desk.signal(how)
    mobile.talks()
    restored_at = time.time()
    wait_until("Alice reads who goes on", lambda: alice.texts(), 20)
    if how == signal.SIGSTOP:
        desk.signal(signal.SIGCONT)
        desk.wait_for("End", 40)
    time.sleep(TALK_SECONDS)  # They talk on.
    assert alice.count("End") == 0, "Alice's call has ended"
    ended_at = time.time()
    alice.command("terminate")
    mobile.wait_for("End")
    stage.server.wait_for_rest()
    for one in (capture, at_desk, at_mobile):
        one.stop()

    seen = capture.sip("alice")
    ladder.draw(seen)
    print(f"    restored {restored_at - lost_at:.1f} s after the loss; Alice read: {alice.texts()}")
    to_alice = capture.rtp(incoming=True)
    print(f"    to Alice: {judge_unbroken(to_alice)}")
    after = [packet for packet in to_alice if restored_at < packet.time < ended_at]
    assert len(after) > (ended_at - restored_at) * 50 * 0.7, f"only {len(after)} packets after the restoration"
    for name, at in (("desk", at_desk), ("mobile", at_mobile)):
        heard, said = len(at.rtp(incoming=True)), len(at.rtp(incoming=False))
        print(f"    {name}: {heard} packets heard, {said} said")
        assert heard > 100 and said > 100, f"{name} had no audio both ways"
    methods = [message.method for message in ladder.requests_to(seen, "alice")]
    assert methods == ["MESSAGE"], f"Alice was asked for {methods}"
    assert len(alice.texts()) == 1, alice.texts()
    if how == signal.SIGSTOP:
        ladder.nothing_left(at_desk.sip("desk"), "desk")


def killed(stage):
    lost(stage, signal.SIGKILL)


def frozen(stage):
    lost(stage, signal.SIGSTOP)


def encrypted_killed(stage):
    # The phone that goes on has no SRTP.
    lost(stage, signal.SIGKILL, encrypt=("alice", "desk"))
    for name in ("alice", "desk"):
        said = (stage.phones[name].folder / "linphone.log").read_text(errors="replace")
        assert "RTP/SAVP" in said and "a=crypto:" in said, f"{name} did not encrypt"
        failed = [line for line in said.splitlines() if "unprotect" in line and "fail" in line]
        assert not failed, f"{name} could not decipher {len(failed)} packets: {failed[0]}"


SCENARIOS = (frozen, killed, encrypted_killed, text, acts.calls_both_ways, acts.over("tls", acts.calls_both_ways),
             acts.hold_and_resume, acts.blind_transfer, acts.attended_transfer, acts.over("tls", acts.attended_transfer),
             acts.digits, acts.over("tcp", acts.texts))
sys.exit(perform(SCENARIOS, Phone))
