"""baresip behind Refork, in front of Kamailio: registered through it, called both ways, lost and replaced."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE.parent / "baresip"))

import acts  # noqa: E402
import household  # noqa: E402
import ladder  # noqa: E402
import loss  # noqa: E402
from capture import judge_unbroken  # noqa: E402
from household import ADDRESSES, PBX_BEHIND, SERVER, USERS, perform, secret  # noqa: E402
from phone import Phone  # noqa: E402
from refork import Refork, wait_until  # noqa: E402

KAMAILIO = "10.99.0.1:5080"
# Where Kamailio may want what follows within a dialog.
WITHIN = "10.99.0.1:5081"
MODULES = next(Path("/usr/lib").glob("**/kamailio/modules"), Path("/usr/lib/kamailio/modules"))
TALK_SECONDS = 2


class Kamailio:
    """The PBX."""

    def __init__(self, folder, path, elsewhere, wary):
        self.log = folder / "kamailio.log"
        text = (HERE / "kamailio.cfg").read_text()
        record = f'record_route_preset("{WITHIN}")' if elsewhere else "record_route()"
        words = {"ADDRESS": KAMAILIO, "WITHIN": WITHIN, "RECORD": record, "MODULES": f"{MODULES}/",
                 "PATH": "1" if path else "0", "WARY": "1" if wary else "0"}
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        file = folder / "kamailio.cfg"
        file.write_text(text)
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                ["kamailio", "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(folder), "-f", str(file)],
                stdout=out, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
                env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
        wait_until("Kamailio listens", self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(self.log.read_text())
        listening = subprocess.run(["ss", "-Hlun", "sport", "=", ":5080"], capture_output=True, text=True)
        return listening.stdout

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                # Its children are of its group, which nobody else is in.
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Stage(household.Stage):
    """Refork in front of Kamailio, and phones behind it or beyond."""

    def __init__(self, name, make):
        self.make, self.transport = make, "udp"
        self.folder = household.WORK / name
        self.folder.mkdir(parents=True, exist_ok=True)
        path = not name.startswith("without_path")
        elsewhere = name.startswith("recorded_elsewhere")
        self.phones, self.captures, self.kept = {}, [], 0
        self.pbx = Kamailio(self.folder, path, elsewhere, name.startswith("wary"))
        try:
            self.server = Refork(str(self.folder), PBX_BEHIND.format(
                data=self.folder / "data", path="path" if path else "contact"), household.ADMIN)
        except AssertionError:
            self.pbx.stop()
            raise

    def phone(self, name, answers=True):
        return self.behind(name, answers)

    def behind(self, name, answers=True):
        """A phone that registers through Refork."""
        phone = self.add(name, SERVER, answers)
        self.kept += 1
        kept = self.kept
        wait_until(f"{name} is kept here", lambda: self.server.metrics().get("refork_bindings") == kept)
        return phone

    def beyond(self, name, answers=True):
        """A phone that registers with Kamailio itself."""
        return self.add(name, KAMAILIO, answers)

    def add(self, name, server, answers):
        user = USERS[name]
        phone = self.make(self.folder, f"{household.NAMESPACE}-{name}", name, ADDRESSES[name], user,
                          secret(user), server, answers, self.transport)
        self.phones[name] = phone
        phone.start()
        wait_until(f"{name} is registered", lambda: "registered successfully" in phone.log())
        return phone

    def stop(self):
        super().stop()
        self.pbx.stop()


def talk(caller, callee, user):
    """One call, hung up by who called."""
    before, closed = callee.count("CALL_ESTABLISHED"), callee.count("CALL_CLOSED")
    caller.command("dial", f"sip:{user}@example.org")
    callee.wait_for("CALL_ESTABLISHED", times=before + 1)
    time.sleep(TALK_SECONDS)
    caller.command("hangup")
    callee.wait_for("CALL_CLOSED", times=closed + 1)


def calls_both_ways(stage):
    capture, at_desk = stage.capture("alice"), stage.capture("desk")
    alice, desk = stage.behind("alice"), stage.behind("desk")
    talk(alice, desk, "bob")
    talk(desk, alice, "alice")
    stage.server.wait_for_rest()
    capture.stop()
    at_desk.stop()
    ladder.draw(capture.sip("alice"))
    for name, phone in (("alice", capture), ("desk", at_desk)):
        heard, said = len(phone.rtp(incoming=True)), len(phone.rtp(incoming=False))
        print(f"    {name}: {heard} packets heard, {said} said")
        assert heard > 100 and said > 100, f"{name} had no audio both ways"
    challenged = ladder.statuses_to(capture.sip("alice"), "alice", "INVITE")
    assert 407 in challenged and 200 in challenged, f"Alice's calls were answered {challenged}"


def lost(stage, desk, mobile):
    """Loses the desk phone while it talks with Alice; the mobile goes on."""
    capture = stage.capture("alice")
    alice = stage.behind("alice")
    desk = getattr(stage, desk)("desk")
    alice.command("dial", "sip:bob@example.org")
    alice.wait_for("CALL_ESTABLISHED")
    desk.wait_for("CALL_ESTABLISHED")
    mobile = getattr(stage, mobile)("mobile")
    time.sleep(TALK_SECONDS)
    lost_at = time.time()
    desk.signal(signal.SIGKILL)
    mobile.wait_for("CALL_ESTABLISHED", 50)
    restored_at = time.time()
    time.sleep(TALK_SECONDS)
    assert alice.count("CALL_CLOSED") == 0, "Alice's call has ended"
    alice.command("hangup")
    mobile.wait_for("CALL_CLOSED")
    ended_at = time.time()
    capture.stop()
    ladder.draw(capture.sip("alice"))
    to_alice = capture.rtp(incoming=True)
    print(f"    restored {restored_at - lost_at:.1f} s after the loss; to Alice: {judge_unbroken(to_alice)}")
    after = [packet for packet in to_alice if packet.time > restored_at]
    assert len(after) > (ended_at - restored_at) * 50 * 0.8, f"only {len(after)} packets after the restoration"
    came = [seen.method for seen in ladder.requests_to(capture.sip("alice"), "alice")]
    assert "INVITE" not in came and "BYE" not in came, f"Alice was asked for {came}"


def callee_behind_killed(stage):
    lost(stage, "behind", "behind")


def callee_beyond_killed(stage):
    lost(stage, "beyond", "beyond")


def callee_behind_frozen(stage):
    loss.lost(stage, signal.SIGSTOP)


def caller_behind_killed(stage):
    """Bob's desk phone has called Alice, and is lost."""
    loss.lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"))


def recorded_elsewhere_calls_both_ways(stage):
    calls_both_ways(stage)
    within = re.findall(r"within: (\w+) from 10\.99\.0\.1:5060 at (\d+)", stage.pbx.log.read_text())
    print(f"    within dialogs Refork asked Kamailio {within}")
    assert {"ACK", "BYE"} <= {method for method, _ in within}, "Refork has not spoken within a dialog"
    assert {port for _, port in within} == {"5081"}, "the route set was not followed"


def recorded_elsewhere_callee_behind_killed(stage):
    lost(stage, "behind", "behind")


def wary_calls_both_ways(stage):
    """Kamailio asks for proof within dialogs too: who hangs up gives Refork none, which has its own account."""
    calls_both_ways(stage)
    proven = re.findall(r"proven: (\w+) by (\w+)", stage.pbx.log.read_text())
    print(f"    within dialogs Kamailio was shown {proven}")
    assert proven.count(("BYE", "refork")) == 2, "a call was not ended beyond Kamailio"


def without_path_calls_both_ways(stage):
    calls_both_ways(stage)


def without_path_callee_behind_killed(stage):
    lost(stage, "behind", "behind")


def naming(phone):
    """Returns the value of Replaces that names the first call that a phone took, as it sees it (RFC 5589 7.3)."""
    def named():
        return [seen for seen in phone.trace() if seen.sent and seen.status == 200 and seen.cseq_method == "INVITE"]
    answer = wait_until(f"{phone.name} has taken a call", named)[0]
    ours, theirs = (answer.headers[name].split("tag=")[1].split(";")[0] for name in ("to", "from"))
    return quote(f"{answer.call_id};to-tag={theirs};from-tag={ours}", safe="")


def attended_transfer(stage):
    """Bob has called Carol, and passes her on to Alice: both calls go by the PBX, and nobody rings again."""
    capture, at_carol = stage.capture("alice"), stage.capture("carol")
    alice, desk, carol = stage.behind("alice"), stage.behind("desk"), stage.behind("carol")
    alice.dials("bob")
    desk.talks()
    desk.holds()
    desk.dials("carol")
    carol.talks()
    desk.talks(2)
    time.sleep(TALK_SECONDS)
    desk.command("transfer", f"sip:alice@example.org?Replaces={naming(desk)}")
    desk.quits(2)
    passed_at = time.time()
    time.sleep(TALK_SECONDS)
    assert alice.ended() == 0 and carol.ended() == 0, "a call has ended"
    carol.hangs_up()
    alice.quits()
    stage.server.wait_for_rest()
    for who, seen in (("alice", capture), ("carol", at_carol)):
        seen.stop()
        ladder.draw(seen.sip(who))
        came = ladder.requests_to(seen.sip(who), who)
        rang = [request for request in came if request.method == "INVITE" and "tag=" not in request.headers["to"]]
        assert len(rang) == (who == "carol"), f"{who} was rung {len(rang)} times"
        heard = [packet for packet in seen.rtp(incoming=True) if packet.time > passed_at]
        assert len(heard) > TALK_SECONDS * 50 * 0.6, f"{who} heard {len(heard)} packets of the other"


def blind_then_killed(stage):
    acts.lost_after_transfer(stage, stage.behind, joins=None)


def attended_then_killed(stage):
    def joins(phone):
        phone.command("transfer", f"sip:alice@example.org?Replaces={naming(phone)}")
    acts.lost_after_transfer(stage, stage.behind, joins)


def without_path_blind_transfer(stage):
    acts.blind_transfer(stage)


SCENARIOS = (calls_both_ways, callee_behind_killed, callee_beyond_killed, callee_behind_frozen, caller_behind_killed,
             recorded_elsewhere_calls_both_ways, recorded_elsewhere_callee_behind_killed, wary_calls_both_ways, acts.blind_transfer, attended_transfer, acts.texts,
             blind_then_killed, attended_then_killed,
             without_path_calls_both_ways, without_path_callee_behind_killed, without_path_blind_transfer)
sys.exit(perform(SCENARIOS, Phone, Stage))
