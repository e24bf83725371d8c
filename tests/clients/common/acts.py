"""What people do with their phones, whichever phones these are: calls, holds, transfers, digits, texts.

A phone
- `dials(user)`, `hangs_up()`, `holds()`, `resumes()`, `transfers(user)`, `joins()` its two calls, of which
  it `hears_of_it(status)`,
- `presses(digits)`, `writes(user, body)`, and knows the `digits()` and `texts()` that it heard and read,
- `talks(times)` waits until so many of its calls have stood, `quits(times)` until so many have ended, of which
  there are `ended()`,
- `speaks()` after its session changed, where it fell silent by that,
- and has a `trace()` of its SIP, for where the network shows none."""

import signal
import time

import ladder
from capture import judge_unbroken
from refork import wait_until

TALK_SECONDS = 2
# What a change of direction takes until no more packets are under way.
SETTLED_SECONDS = 0.6


def over(transport, act):
    """Returns an act played over another transport."""
    def played(stage):
        act(stage)
    played.__name__ = f"{act.__name__}_over_{transport}"
    return played


def talk(seconds=TALK_SECONDS):
    """Lets them talk; returns when that was."""
    begun = time.time()
    time.sleep(seconds)
    return begun, time.time()


def packets(capture, window, incoming):
    begun, ended = window
    return sum(begun <= packet.time <= ended for packet in capture.rtp(incoming))


def judge_talk(capture, window):
    """Fails unless a party heard and spoke all the time."""
    heard, said = (packets(capture, window, incoming) for incoming in (True, False))
    seconds = window[1] - window[0]
    print(f"    {capture.address}: {heard} packets heard, {said} said in {seconds:.1f} s")
    assert min(heard, said) > seconds * 50 * 0.7, f"{capture.address} had no audio both ways"


def calls_both_ways(stage):
    """Alice calls Bob, who hangs up; Bob calls Alice, and hangs up too."""
    at_alice, at_desk = stage.capture("alice"), stage.capture("desk")
    alice, desk = stage.phone("alice"), stage.phone("desk")
    windows = []
    for number, (caller, callee, user) in enumerate([(alice, desk, "bob"), (desk, alice, "alice")], start=1):
        caller.dials(user)
        for phone in (caller, callee):
            phone.talks(number)
        windows.append(talk())
        desk.hangs_up()
        alice.quits(number)
    stage.server.wait_for_rest()
    for capture in (at_alice, at_desk):
        capture.stop()
        for window in windows:
            judge_talk(capture, window)


def hold_and_resume(stage):
    """The called phone holds and takes it back, then the caller's does."""
    at_alice, at_desk = stage.capture("alice"), stage.capture("desk")
    alice, desk = stage.phone("alice"), stage.phone("desk")
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    talking, held = [talk()], []
    for phone, other in ((desk, at_alice), (alice, at_desk)):
        phone.holds()
        time.sleep(SETTLED_SECONDS)
        held.append((other, talk()))
        phone.resumes()
        time.sleep(SETTLED_SECONDS)
        for one in (alice, desk):
            one.speaks()
        talking.append(talk())
    assert not alice.ended() and not desk.ended(), "a call has ended"
    alice.hangs_up()
    desk.quits()
    stage.server.wait_for_rest()
    for capture in (at_alice, at_desk):
        capture.stop()
        for window in talking:
            judge_talk(capture, window)
    for capture, window in held:
        said = packets(capture, window, incoming=False)
        assert said < 10, f"{capture.address} is on hold and yet said {said} packets"


def judge_transferee(stage, at_alice, window, held):
    """Alice talked on in her old call, with one stream of audio; `window` is when she talked with Carol.

    Who was on hold is taken off it by one INVITE."""
    seen = stage.seen("alice", at_alice)
    ladder.draw(seen)
    print(f"    to Alice: {judge_unbroken(at_alice.rtp(incoming=True))}")
    judge_talk(at_alice, window)
    asked = [message.method for message in ladder.requests_to(seen, "alice")
             if message.method not in ("ACK", "OPTIONS")]
    assert asked == [*["INVITE"] * (2 if held else 0), "MESSAGE"], f"Alice was asked for {asked}"


def blind_transfer(stage):
    """The called phone passes the call on to Carol, and has none any more."""
    at_alice, at_carol = stage.capture("alice"), stage.capture("carol")
    alice, desk, carol = (stage.phone(name) for name in ("alice", "desk", "carol"))
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    talk()
    desk.transfers("carol")
    carol.talks()
    desk.quits()
    time.sleep(SETTLED_SECONDS)
    window = talk()
    assert not alice.ended(), "Alice's call has ended"
    alice.hangs_up()
    carol.quits()
    stage.server.wait_for_rest()
    for capture in (at_alice, at_carol):
        capture.stop()
    judge_talk(at_carol, window)
    judge_transferee(stage, at_alice, window, held=False)


def lost_after_transfer(stage, transferor, joins):
    """Carol passes Alice on to Bob, whose desk phone is killed: his mobile goes on, and Alice's call stands.

    `transferor` makes Carol's phone. Where it `joins`, Bob is asked first."""
    at_alice, at_desk, at_mobile = (stage.capture(name) for name in ("alice", "desk", "mobile"))
    alice, desk, carol = stage.phone("alice"), stage.phone("desk"), transferor("carol")
    alice.dials("carol")
    for phone in (alice, carol):
        phone.talks()
    if joins:
        carol.holds()
        carol.dials("bob")
        desk.talks()
        carol.talks(2)
        joins(carol)
        carol.quits(2)
    else:
        carol.transfers("bob")
        desk.talks()
        carol.quits()
    time.sleep(SETTLED_SECONDS)
    passed_on = talk()
    mobile = stage.phone("mobile")
    desk.signal(signal.SIGKILL)
    mobile.talks()
    time.sleep(SETTLED_SECONDS)
    restored = talk()
    assert not alice.ended(), "Alice's call has ended"
    alice.hangs_up()
    mobile.quits()
    stage.server.wait_for_rest()
    for capture in (at_alice, at_desk, at_mobile):
        capture.stop()
    ladder.draw(at_alice.sip("alice"))
    for capture, window in ((at_desk, passed_on), (at_alice, passed_on), (at_mobile, restored), (at_alice, restored)):
        judge_talk(capture, window)
    came = [message.method for message in ladder.requests_to(at_alice.sip("alice"), "alice")]
    assert "BYE" not in came, f"Alice was asked for {came}"


def far_ends_talk(stage, alice, carol, captures):
    """Those whom a transfer has left with each other talk, until Alice hangs up. Returns when they did."""
    for one in (alice, carol):
        one.speaks()
    window = talk()
    assert not alice.ended(), "Alice's call has ended"
    alice.hangs_up()
    carol.quits()
    stage.server.wait_for_rest()
    for capture in captures:
        capture.stop()
    return window


def attended_transfer(stage):
    """The called phone holds the call, asks Carol, and joins the two: in the calls that they have."""
    at_alice, at_carol = stage.capture("alice"), stage.capture("carol")
    alice, desk, carol = (stage.phone(name) for name in ("alice", "desk", "carol"))
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    talk()
    desk.holds()
    desk.dials("carol")
    carol.talks()
    desk.talks(2)
    asked = talk()
    desk.joins()
    desk.quits(2)
    time.sleep(SETTLED_SECONDS)
    window = far_ends_talk(stage, alice, carol, (at_alice, at_carol))
    judge_talk(at_carol, asked)
    judge_talk(at_carol, window)
    judge_transferee(stage, at_alice, window, held=stage.holds_cross)


def semi_attended_transfer(stage):
    """The called phone joins its call with one that rings yet, and takes back its own at once; Carol answers later."""
    at_alice, at_carol = stage.capture("alice"), stage.capture("carol")
    alice, desk = stage.phone("alice"), stage.phone("desk")
    carol = stage.phone("carol", answers=False)
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    talk()
    desk.holds()
    desk.dials("carol")
    carol.is_rung()
    time.sleep(SETTLED_SECONDS)
    desk.joins()
    desk.hears_of_it(180)
    desk.hangs_up()
    desk.quits()
    time.sleep(SETTLED_SECONDS)
    assert not carol.ended(), "Carol's phone rings no more"
    carol.answers_now()
    carol.talks()
    desk.hears_of_it(200)
    desk.quits(2)
    time.sleep(SETTLED_SECONDS)
    window = far_ends_talk(stage, alice, carol, (at_alice, at_carol))
    invited = [message for message in ladder.requests_to(at_carol.sip("carol"), "carol") if message.method == "INVITE"]
    assert len(invited) == 2, f"Carol's phone got {len(invited)} INVITEs"
    judge_talk(at_carol, window)
    judge_transferee(stage, at_alice, window, held=stage.holds_cross)


def digits(stage):
    """Digits cross, and neither is lost nor doubled."""
    alice, desk = stage.phone("alice"), stage.phone("desk")
    alice.dials("bob")
    for phone in (alice, desk):
        phone.talks()
    alice.presses("1590#")
    wait_until("Bob's phone heard them", lambda: desk.digits() == "1590#" or len(desk.digits()) > 5, 20)
    assert desk.digits() == "1590#", desk.digits()
    desk.hangs_up()
    alice.quits()
    stage.server.wait_for_rest()


def texts(stage):
    """Texts outside of any dialog, there and back, in order."""
    alice, desk = stage.phone("alice"), stage.phone("desk")
    there, back = [f"there {number}" for number in range(3)], [f"back {number}" for number in range(3)]
    for one, other in zip(there, back):
        alice.writes("bob", one)
        desk.writes("alice", other)
        wait_until("both were read", lambda: one in desk.texts() and other in alice.texts())
    assert (desk.texts(), alice.texts()) == (there, back), (desk.texts(), alice.texts())


def early_media(stage):
    """The called phone speaks before it answers, and the caller hears it."""
    at_alice = stage.capture("alice")
    alice, desk = stage.phone("alice"), stage.phone("desk", answers="early")
    alice.dials("bob")
    desk.is_rung()
    time.sleep(SETTLED_SECONDS)
    ringing = talk()
    desk.answers_now()
    for phone in (alice, desk):
        phone.talks()
    window = talk()
    alice.hangs_up()
    desk.quits()
    stage.server.wait_for_rest()
    at_alice.stop()
    ladder.draw(at_alice.sip("alice"))
    heard = packets(at_alice, ringing, incoming=True)
    print(f"    Alice heard {heard} packets before the answer")
    assert heard > (ringing[1] - ringing[0]) * 50 * 0.7, f"Alice heard {heard} packets before the answer"
    judge_talk(at_alice, window)
