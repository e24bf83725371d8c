"""One phone of a call is lost, another of the same person goes on; whichever phones these are."""

import signal
import time

import ladder
from capture import judge_unbroken
from refork import wait_until

TALK_SECONDS = 3
HOUSEHOLD = ("alice", "desk", "mobile")


def lost(stage, how, caller="alice", opening=(), encrypt=None):
    """Loses the desk phone while it talks with Alice, who is asked for the opening and then told once.

    `encrypt` says how each phone encrypts its media, by its name."""
    encrypt = encrypt or {}
    more = {name: {"encrypts": encrypt[name]} if name in encrypt else {} for name in HOUSEHOLD}
    at_alice, at_desk, at_mobile = (stage.capture(name) for name in HOUSEHOLD)
    alice, desk = (stage.phone(name, answers=name != caller, **more[name]) for name in ("alice", "desk"))
    stage.phones[caller].dials("bob" if caller == "alice" else "alice")
    for phone in (alice, desk):
        phone.talks()
    mobile = stage.phone("mobile", **more["mobile"])
    time.sleep(TALK_SECONDS)  # They talk.
    lost_at = time.time()
    desk.signal(how)
    mobile.talks()
    restored_at = time.time()
    wait_until("Alice is told", alice.texts, 20)
    if how == signal.SIGSTOP:
        desk.signal(signal.SIGCONT)
        # Its old call, and perhaps the invitation that waited in its socket: all are ended.
        desk.quits()
    time.sleep(TALK_SECONDS)  # They talk on.
    assert not alice.ended(), "Alice's call has ended"
    ended_at = time.time()
    alice.hangs_up()
    mobile.quits()
    stage.server.wait_for_rest()
    for capture in (at_alice, at_desk, at_mobile):
        capture.stop()

    seen = stage.seen("alice", at_alice)
    ladder.draw(seen)
    to_alice = at_alice.rtp(incoming=True)
    print(f"    lost after {lost_at - to_alice[0].time:.1f} s of audio, restored {restored_at - lost_at:.1f} s later")
    print(f"    to Alice: {judge_unbroken(to_alice)}")
    print(f"    to the mobile: {judge_unbroken(at_mobile.rtp(incoming=True))}")
    after = [packet for packet in to_alice if restored_at < packet.time < ended_at]
    assert len(after) > (ended_at - restored_at) * 50 * 0.7, f"only {len(after)} packets after the restoration"
    for name, capture in zip(HOUSEHOLD, (at_alice, at_desk, at_mobile)):
        heard, said = len(capture.rtp(incoming=True)), len(capture.rtp(incoming=False))
        print(f"    {name}: {heard} packets heard, {said} said")
        assert heard > 100 and said > 100, f"{name} had no audio both ways"
    ways = {message.headers["via"].split()[0] for message in seen}
    assert ways == {f"SIP/2.0/{stage.transport.upper()}"}, f"Alice's phone spoke {ways}"
    # While she talked: her media ends with her BYE, and a server that is late with both may ask whether she lives.
    hung_up = next(message.time for message in seen if message.sent and message.method == "BYE")
    methods = [message.method for message in ladder.requests_to(seen, "alice") if message.time < hung_up]
    assert methods == [*opening, "MESSAGE"], f"Alice was asked for {methods}"
    told = ladder.texts(seen, "alice", sent=False)
    assert len(told) == 1 and "is continuing on" in told[0], told
    if how == signal.SIGSTOP:
        ladder.nothing_left(stage.seen("desk", at_desk), "desk")


def texts_over_a_loss(stage):
    """Alice writes while she talks; Bob's desk phone is lost; his mobile has what it did not, in order."""
    alice, desk = stage.phone("alice"), stage.phone("desk")
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    mobile = stage.phone("mobile")
    written = [f"text {number}" for number in range(8)]
    for number, text in enumerate(written):
        if number == 3:
            wait_until("the first ones are read", lambda: desk.texts() == written[:3])
            desk.signal(signal.SIGKILL)
        if number == 7:
            mobile.talks()
        alice.writes_in_call(text)
    wait_until("the rest is read", lambda: len(mobile.texts()) >= 5)
    assert mobile.texts() == written[3:], mobile.texts()
    wait_until("Alice is told", alice.texts)
    assert len(alice.texts()) == 1 and "is continuing on" in alice.texts()[0], alice.texts()
    alice.hangs_up()
    mobile.quits()
    stage.server.wait_for_rest()
