"""One fault of a phone's network, with a phone that runs, is frozen, or is killed; judged by what passed the server."""

import json
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in ("common", "baresip", "sipp"):
    sys.path.insert(0, str(HERE.parent / folder))
sys.path.insert(0, str(HERE))

from capture import judge_unbroken  # noqa: E402
from measure import DESK, MOBILE  # noqa: E402
from refork import wait_until  # noqa: E402
from scene import SIGNALS, THAWS, WORK, Scene, strike  # noqa: E402

TALK_SECONDS = 2
# docs/loss.md, by the defaults: silence, then so many probes of so many seconds.
SILENCE, VERDICT = 3.0, 3.0 + 2 * 4.0
# The same endpoint is asked alone for so long.
SAME_FIRST = 2.0
# SIPp's mobile rings.
RINGS = 0.7
# baresip looks for another address once a minute.
NOTICES_CHANGE = 75
# Without an address, baresip sends nothing and counts no time; nor does a phone that waits for a processor.
STUMBLE = 0.5
# By then, nothing of before is on its way.
SETTLES = 0.5
# How late anything may be on a machine with too much to do; the report says how soon it was.
SLACK = 4.0
# How far the server's clock and that of the capture may be apart.
CLOCKS = 0.1


@dataclass
class Fault:
    """What happens to the network, for how long; without a time until another phone has answered."""

    breaks: str
    mends: str
    seconds: float = None

    def is_survived(self, client, how):
        """The phone answers again before the verdict, or tells where it is and never stops talking."""
        roams = self.breaks == "change_address" and client == "baresip"
        return how == "running" and (roams or self.seconds is not None and self.seconds < VERDICT)


FAULTS = {
    "cable": Fault("pull", "plug"),
    "drops_3": Fault("drop", "carry", 3),
    "drops_8": Fault("drop", "carry", 8),
    "drops_30": Fault("drop", "carry", 30),
    "address": Fault("change_address", "stay"),
}
# The longest ones first.
ORDER = ("address", "drops_30", "cable", "drops_8", "drops_3")
SCENARIOS = [f"{client}_{fault}_{how}" for fault in ORDER for client in ("baresip", "sipp") for how in SIGNALS]


def play(scene, fault, how):
    """Plays the scenario and returns what was measured, or fails."""
    scene.call()
    time.sleep(TALK_SECONDS)  # They talk.
    struck, done = strike(scene, getattr(scene.cable, fault.breaks), how)
    mends = getattr(scene.cable, fault.mends)
    if fault.seconds:
        scene.later(fault.seconds, mends)
    survived = fault.is_survived(scene.client, how)
    if survived:
        if fault.seconds:
            time.sleep(fault.seconds)
        else:
            # That it has gone may be noticed first: it is asked where it was, and repairs its call.
            wait_until("the phone says where it is", lambda: scene.tells("alive") or scene.tells("repaired"),
                       NOTICES_CHANGE)
        time.sleep(TALK_SECONDS + SLACK)  # They talk on.
    else:
        wait_until("somebody goes on", lambda: scene.tells("restored"), 40)
        left = returns(scene, fault, how, mends, struck)
        time.sleep(TALK_SECONDS)  # They talk on.
    until = time.time()
    scene.server.hang_up(scene.conversation()["id"])
    wait_until("the call is over", lambda: scene.tells("ended"))
    seen = scene.measured()
    silence = seen.silence(done + SETTLES, until)
    if survived:
        return judge_survived(seen, fault, struck, until, silence)
    return {**judge_lost(seen, struck, until, silence), "left": left}


def returns(scene, fault, how, mends, struck):
    """The network is mended, and the phone thawed: it must be left without a call. Returns how that went."""
    time.sleep(1)
    if fault.seconds:
        time.sleep(max(0.0, struck + fault.seconds - time.time()))
    else:
        mends()
    if how == "killed":
        return "gone"
    if how == "frozen":
        scene.phones["desk"].signal(THAWS)
    if scene.client == "sipp" and fault.breaks == "change_address":
        # SIPp knows one address, which its host has no more.
        return "out of reach"
    back = time.time()
    wait_until("the desk phone is left without a call", lambda: scene.left_without_a_call("desk"), NOTICES_CHANGE)
    return f"after {time.time() - back:.1f} s"


def judge_lost(seen, struck, until, silence):
    """One thing followed the other until the mobile went on, each in its time, and Alice was told once."""
    after = lambda at: None if at is None else round(at - struck, 2)  # noqa: E731
    lost_at, lost = seen.told("lost", struck)
    restored_at, restored = seen.told("restored", struck)
    suspected = seen.told("suspected", struck)
    first, mobile = seen.invited((*DESK, *MOBILE), struck), seen.invited(MOBILE, struck)
    silent, speaks = silence
    assert speaks, "Alice heard no speech again"
    result = {
        "outcome": restored["endpoint"], "signal": lost["signal"], "suspected": after(suspected and suspected[0]),
        "lost": after(lost_at), "invited": after(first), "mobile": after(mobile), "answered": after(restored_at),
        "speech": after(speaks), "silent": round(silent, 2), "pause": round(seen.longest_pause(struck, until), 2),
        "asked": seen.requests_to_alice(struck, until), "rtp": judge_unbroken(seen.to_alice, stumble=STUMBLE)}
    assert not restored["same"], restored
    order = ("lost", "invited", "mobile", "answered", "speech")
    for earlier, later in zip(order, order[1:]):
        assert result[earlier] <= result[later] + CLOCKS, f"{later} before {earlier}: {result}"
    assert result["lost"] <= VERDICT + SLACK, f"noticed only after {result['lost']} s"
    assert result["invited"] - result["lost"] <= SLACK, f"invited {first - lost_at:.2f} s after the loss"
    assert result["mobile"] - result["lost"] <= SAME_FIRST + SLACK, f"the mobile waited {mobile - lost_at:.2f} s"
    assert result["answered"] - result["mobile"] <= RINGS + SLACK, f"answered after {restored_at - mobile:.2f} s"
    assert speaks - restored_at <= SLACK, f"speech {speaks - restored_at:.2f} s after the answer"
    assert result["pause"] <= SILENCE + SLACK, f"Alice's phone got no packet for {result['pause']} s"
    assert result["asked"] == ["MESSAGE"], f"Alice was asked for {result['asked']}"
    return result


def judge_survived(seen, fault, struck, until, silence):
    """The call went on with the same phone: no other was invited, and Alice heard of it by audio alone, unless the
    phone was given up for a moment."""
    silent, speaks = silence
    assert speaks, "Alice heard no speech again"
    suspected, alive = seen.told("suspected", struck), seen.told("alive", struck)
    lost, repaired = seen.told("lost", struck), seen.told("repaired", struck)
    roams = fault.seconds is None
    result = {
        "outcome": "kept", "lost": lost and round(lost[0] - struck, 2), "signal": suspected and suspected[1]["signal"],
        "suspected": suspected and round(suspected[0] - struck, 2), "alive": alive and round(alive[0] - struck, 2),
        "speech": round(speaks - struck, 2), "silent": round(silent, 2),
        "pause": round(seen.longest_pause(struck, until), 2), "asked": seen.requests_to_alice(struck, until),
        "rtp": judge_unbroken(seen.to_alice, lossless=False, stumble=STUMBLE)}
    assert not lost or roams and repaired, "the call was given up"
    invited = seen.invited(MOBILE if lost else (*DESK, *MOBILE), struck)
    assert invited is None, f"somebody was invited after {invited - struck:.2f} s"
    assert speaks - struck <= (fault.seconds or 0) + SLACK, f"speech after {speaks - struck:.2f} s"
    assert result["pause"] <= SILENCE + SLACK, f"Alice's phone got no packet for {result['pause']} s"
    assert lost or not result["asked"], f"Alice was asked for {result['asked']}"
    return result


def perform(name):
    client, rest = name.split("_", 1)
    fault, how = rest.rsplit("_", 1)
    started, failure = time.monotonic(), None
    scene = Scene(name, client)
    try:
        scene.open()
        result = play(scene, FAULTS[fault], how)
        scene.server.stop()
        (WORK / name / "result.json").write_text(json.dumps({"client": client, "fault": fault, "how": how, **result}))
        print("\n".join(f"    {key}: {value}" for key, value in result.items()))
    except Exception:  # noqa: BLE001 - whatever it is, the rest of the scene is shown and ended.
        failure = traceback.format_exc()
    finally:
        scene.stop()
    if failure:
        show(scene, failure)
    print(f"{'FAIL' if failure else 'PASS'}  {name} in {time.monotonic() - started:.1f} s", flush=True)
    return 1 if failure else 0


def show(scene, failure):
    print(failure)
    for seen in (phone.trace() for phone in scene.phones.values()):
        print("\n".join(f"    {message.party} {'--->' if message.sent else '<---'} {message}" for message in seen[-20:]))
    if scene.server:
        print("    the server's last words:")
        with open(scene.server.log) as log:
            print("".join(f"    {line}" for line in log.readlines()[-60:]))


if sys.argv[1:] == ["--list"]:
    print("\n".join(SCENARIOS))
    sys.exit(0)
sys.exit(max(map(perform, sys.argv[1:])))
