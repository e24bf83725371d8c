"""baresip to baresip through Refork: one phone of the call is lost, another of the same person goes on."""

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


def lost(stage, how, caller="alice", opening=(), encrypt=None):
    """Loses the desk phone while it talks with Alice, who is asked for the opening and then told once.

    `encrypt` says how each phone encrypts its media, by its name."""
    encrypt = encrypt or dict.fromkeys(HOUSEHOLD)
    capture, at_desk, at_mobile = (stage.capture(name) for name in HOUSEHOLD)
    alice, desk = (
        stage.phone(name, answers=name != caller, encrypts=encrypt[name]) for name in ("alice", "desk"))
    stage.phones[caller].command("dial", f"sip:{'bob' if caller == 'alice' else 'alice'}@example.org")
    alice.wait_for("CALL_ESTABLISHED")
    desk.wait_for("CALL_ESTABLISHED")
    mobile = stage.phone("mobile", encrypts=encrypt["mobile"])
    time.sleep(TALK_SECONDS)  # They talk.
    lost_at = time.time()
    desk.signal(how)
    mobile.wait_for("CALL_ESTABLISHED", 40)
    restored_at = time.time()
    wait_until("Alice's log has the message", lambda: "is continuing on" in alice.log() + str(alice.events), 20)
    if how == signal.SIGSTOP:
        desk.signal(signal.SIGCONT)
        # Its old call, and perhaps the invitation that waited in its socket: all are ended.
        desk.wait_for("CALL_CLOSED", 40)
    time.sleep(TALK_SECONDS)  # They talk on.
    assert alice.count("CALL_CLOSED") == 0, "Alice's call has ended"
    alice.command("hangup")
    mobile.wait_for("CALL_CLOSED")
    ended_at = time.time()
    stage.server.wait_for_rest()
    capture.stop()
    at_desk.stop()
    at_mobile.stop()

    seen = stage.seen("alice", capture)
    ladder.draw(seen)
    to_alice = capture.rtp(incoming=True)
    from_alice = capture.rtp(incoming=False)
    print(f"    lost after {lost_at - to_alice[0].time:.1f} s of audio, restored {restored_at - lost_at:.1f} s later")
    print(f"    to Alice: {judge_unbroken(to_alice)}")
    print(f"    from Alice: {len(from_alice)} packets")
    assert len(from_alice) > 100, "Alice's audio was not sent"
    after = [packet for packet in to_alice if packet.time > restored_at]
    assert len(after) > (ended_at - restored_at) * 50 * 0.8, f"only {len(after)} packets after the restoration"
    for name, phone in (("desk", at_desk), ("mobile", at_mobile)):
        heard, said = len(phone.rtp(incoming=True)), len(phone.rtp(incoming=False))
        print(f"    {name}: {heard} packets heard, {said} said")
        assert heard > 100 and said > 100, f"{name} had no audio both ways"
    ways = {message.headers["via"].split()[0] for message in seen}
    assert ways == {f"SIP/2.0/{stage.transport.upper()}"}, f"Alice's phone spoke {ways}"
    methods = [message.method for message in ladder.requests_to(seen, "alice")]
    assert methods == [*opening, "MESSAGE"], f"Alice was asked for {methods}"
    if how == signal.SIGSTOP:
        ladder.nothing_left(stage.seen("desk", at_desk), "desk")
    for phone in (alice, desk, mobile):
        deciphered(phone, stage)


def deciphered(phone, stage):
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
    lost(stage, signal.SIGKILL, encrypt=dict.fromkeys(HOUSEHOLD, "srtp-mand"))


def encrypted_killed(stage):
    # Alice's phone offers its key under the plain profile.
    lost(stage, signal.SIGKILL, encrypt={"alice": "srtp", "desk": "srtp-mand", "mobile": "srtp-mand"})


def encrypted_survivor_of_plain_phones(stage):
    lost(stage, signal.SIGKILL, encrypt={"alice": "srtp-mand", "desk": None, "mobile": None})


def plain_survivor_of_encrypting_phones(stage):
    lost(stage, signal.SIGKILL, encrypt={"alice": None, "desk": "srtp-mand", "mobile": "srtp-mand"})


SCENARIOS = (frozen, killed, caller_frozen, caller_killed, frozen_over_tcp, killed_over_tcp, killed_over_tls,
             encrypted_killed, encrypted_survivor_of_plain_phones, plain_survivor_of_encrypting_phones,
             acts.calls_both_ways, acts.over("tls", acts.calls_both_ways), acts.hold_and_resume, acts.blind_transfer,
             acts.over("tls", acts.blind_transfer), acts.digits, acts.texts)
sys.exit(perform(SCENARIOS, Phone))
