"""Losses, judged from the survivor's side: caller or callee lost, of a call or of an IM session."""

import signal
import time

import ladder
from refork import wait_until
from stage import Callee

TALK = ["streams", "talks_on"]
WRITE = ["writes_on"]


def lose(stage, party, how, others):
    """Loses a party once the call stands; returns the texts it had answered until then."""
    wait_until("the call stands", lambda: all("ACK" in stage.requests(name) for name in others))
    time.sleep(1)  # They talk, or write.
    stage.process(party).send_signal(how)
    seen = stage.seen()
    answered = [message for message in seen if message.party == party and message.sent
                and message.status == 200 and message.cseq_method == "MESSAGE"]
    return ladder.texts(seen, party, sent=False)[:len(answered)]


def thaw(stage, party):
    """Wakes a frozen party: it must be left without a call."""
    first = next(seen.call_id for seen in stage.seen() if seen.party == party and seen.method == "INVITE")
    stage.process(party).send_signal(signal.SIGCONT)

    def left_without_a_call():
        ended = {seen.call_id for seen in ladder.requests_to(stage.seen(), party) if seen.method == "BYE"}
        return first in ended and not ladder.unfinished(stage.seen(), party)
    wait_until("the thawed phone is left without a call", left_without_a_call, 40)


def callee_lost(stage, how, goes_on=TALK):
    """The desk phone answers and is lost; the mobile goes on; the caller hears of it once."""
    stage.call(["opens", *goes_on], ["-rtp_echo"] if goes_on is WRITE else [])
    heard = lose(stage, "desk", how, ["desk", "mobile"])
    wait_until("the caller is told who goes on", lambda: "MESSAGE" in stage.requests("alice"), 40)
    if how == signal.SIGSTOP:
        thaw(stage, "desk")
    stage.ends_well("alice")
    judge(stage, "alice", [], f"{stage.user} is continuing on Mobile.")
    calls = [method for method in stage.requests("mobile") if method != "MESSAGE"]
    assert calls == ["INVITE", "CANCEL", "ACK", "INVITE", "ACK", "BYE"], calls
    if goes_on is WRITE:
        judge_texts(stage, "alice", heard, "mobile")


def caller_lost(stage, how, goes_on=TALK):
    """The caller is lost; its tablet goes on; the called phone hears of it once."""
    stage.call(["opens", "listens"], ["-rtp_echo", "-aa"])
    heard = lose(stage, "alice", how, ["desk"])
    wait_until("the callee is told who goes on", lambda: "MESSAGE" in stage.requests("desk"), 40)
    if how == signal.SIGSTOP:
        thaw(stage, "alice")
    stage.ends_well("desk")
    judge(stage, "desk", ["INVITE", "ACK"], "Alice is continuing on Tablet.")
    calls = [method for method in stage.requests("tablet") if method != "MESSAGE"]
    assert calls == ["INVITE", "ACK", "BYE"], calls
    if goes_on is WRITE:
        judge_texts(stage, "desk", heard, "tablet")


def judge(stage, survivor, opening, notice):
    """The survivor saw the opening of its call, and after it nothing but one MESSAGE."""
    came = ladder.requests_to(stage.seen(), survivor)
    assert [seen.method for seen in came] == [*opening, "MESSAGE"], [str(seen) for seen in came]
    assert came[-1].body == notice, came[-1].body


def judge_texts(stage, survivor, heard, second):
    """What the lost phone did not have, the other one has: in order, none twice; all were taken."""
    written = ladder.texts(stage.seen(), survivor, sent=True)
    after = ladder.texts(stage.seen(), second, sent=False)
    assert heard and after, f"{len(heard)} texts before the loss, {len(after)} after it"
    assert heard + after == written, f"before the loss {heard}, after it {after}, but written were {written}"
    statuses = stage.statuses(survivor, "MESSAGE")
    assert set(statuses) == {200, 202}, statuses
    assert len(statuses) == len(written), f"{statuses} to {len(written)} texts"


def callee_lost_by_sigkill(stage):
    callee_lost(stage, signal.SIGKILL)


def callee_lost_by_sigstop(stage):
    callee_lost(stage, signal.SIGSTOP)


def callee_lost_by_sigkill_over_tcp(stage):
    callee_lost(stage, signal.SIGKILL)


def caller_lost_by_sigkill(stage):
    caller_lost(stage, signal.SIGKILL)


def caller_lost_by_sigstop(stage):
    caller_lost(stage, signal.SIGSTOP)


def callee_of_session_lost_by_sigkill(stage):
    callee_lost(stage, signal.SIGKILL, WRITE)


def callee_of_session_lost_by_sigstop(stage):
    callee_lost(stage, signal.SIGSTOP, WRITE)


def caller_of_session_lost_by_sigkill(stage):
    caller_lost(stage, signal.SIGKILL, WRITE)


def caller_of_session_lost_by_sigstop(stage):
    caller_lost(stage, signal.SIGSTOP, WRITE)


def called():
    return [Callee("desk", "Desk"), Callee("mobile", "Mobile", ring_ms=700)]


def calling(goes_on):
    return [Callee("desk", "Desk", script=["answers", *goes_on]),
            Callee("tablet", "Tablet", ring_ms=700, of="caller")]


SCENARIOS = [
    (callee_lost_by_sigkill, called()),
    (callee_lost_by_sigstop, called()),
    (callee_lost_by_sigkill_over_tcp, called()),
    (caller_lost_by_sigkill, calling(TALK)),
    (caller_lost_by_sigstop, calling(TALK)),
    (callee_of_session_lost_by_sigkill, called()),
    (callee_of_session_lost_by_sigstop, called()),
    (caller_of_session_lost_by_sigkill, calling(WRITE)),
    (caller_of_session_lost_by_sigstop, calling(WRITE)),
]
