"""Runs SIPp against Refork, one scenario after the other, and judges by what SIPp wrote down."""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import ladder  # noqa: E402
from refork import Refork, free_port, loopback_net, wait_until  # noqa: E402

WORK = Path(os.environ["WORK"])
TALK_MS = 400

CONFIG = """
node: {{ name: clients, workers: 1, data_dir: {data} }}
listen: [udp://{address}:{port}, tcp://{address}:{port}]
domains:
  example.org:
    registrar: {{ auth: none }}
endpoints:
{endpoints}
fork: {{ ring_timeout: 3s }}
detect:
  probe: {{ interval: 15s, timeout: 1s, tries: 2 }}
  media: {{ silence: 1s, confirm: true }}
restore:
  same_first_for: {{ audio: 500ms, message: 500ms }}
media: {{ mode: relay, ports: 20000-20199 }}
admin: {{ listen: "{admin}", token: null }}
timers: {{ t1: 250ms, t2: 2s, t4: 2s }}
log: {{ level: debug, format: text }}
"""


class Callee:
    """A SIPp that is called; ended by its process id."""

    def __init__(self, name, shown, file="callee", ring_ms=1):
        self.name, self.shown, self.file, self.ring_ms = name, shown, file, ring_ms
        self.process = None

    def settle(self, stage, number):
        """Gives it a place to listen at."""
        self.stage = stage
        self.address = f"{stage.net}.{number}"
        self.port = free_port(self.address)

    def endpoint(self):
        contact = f"sip:{self.name}@{self.address}:{self.port}" + (";transport=tcp" if self.stage.tcp else "")
        return f'  - {{ aor: "sip:{self.stage.user}@example.org", contact: "{contact}", name: "{self.shown}" }}'

    def start(self):
        scenario = self.stage.scenario(self.file, self.name, RING_MS=str(self.ring_ms))
        self.process = self.stage.sipp(self.name, self.address, self.port, scenario, ["-aa", "-rtp_echo"])

    def signal(self, which):
        self.process.send_signal(which)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


class Stage:
    """One scenario: its callees, the caller, and what they saw."""

    def __init__(self, scenario, callees, net, number):
        self.act, self.callees, self.net = scenario, callees, net
        self.name = scenario.__name__
        self.user = self.name.replace("_", "-")
        self.tcp = self.name.endswith("over_tcp")
        self.folder = WORK / self.name
        self.folder.mkdir(parents=True)
        self.caller = None
        for place, callee in enumerate(callees):
            callee.settle(self, 10 * number + place)

    def play(self, server):
        self.server = server
        for callee in self.callees:
            callee.start()
        self.act(self)

    def scenario(self, file, party, **words):
        """Writes a scenario with its words filled in."""
        text = (HERE / f"{file}.xml").read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        path = self.folder / f"{party}.xml"
        path.write_text(text)
        return path

    def sipp(self, name, address, port, scenario, extra):
        command = [
            "sipp", "-sf", str(scenario), "-i", address, "-p", str(port), "-mi", address,
            "-mp", str(free_port(address)), "-nostdin", "-trace_msg",
            "-message_file", str(self.folder / f"{name}.trace"), "-trace_err",
            "-error_file", str(self.folder / f"{name}.errors"), *(["-t", "t1"] if self.tcp else []), *extra]
        with open(self.folder / f"{name}.out", "w") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
                                    env={**os.environ, "TERM": "dumb"})

    def call(self, file, extra=(), **words):
        """Starts the caller."""
        address = f"{self.net}.2"
        scenario = self.scenario(file, "alice", **words)
        self.caller = self.sipp("alice", address, free_port(address), scenario, [
            "-m", "1", "-s", self.user, *extra, self.server.sip])

    def caller_ends_well(self, seconds=60):
        """Waits for the caller; SIPp ends 0 where all went as its scenario says."""
        status = self.caller.wait(seconds)
        errors = self.folder / "alice.errors"
        assert status == 0, f"the caller's SIPp ended with {status}: {errors.read_text() if errors.exists() else ''}"

    def seen(self):
        """Returns all that was seen, by all."""
        names = ["alice"] + [callee.name for callee in self.callees]
        return [seen for name in names for seen in ladder.sipp_trace(name, self.folder / f"{name}.trace")]

    def requests(self, party):
        return [seen.method for seen in ladder.requests_to(self.seen(), party)]

    def statuses(self, party, method):
        return ladder.statuses_to(self.seen(), party, method)

    def stop(self):
        if self.caller:
            if self.caller.poll() is None:
                self.caller.kill()
            self.caller.wait()
        for callee in self.callees:
            if callee.process:
                callee.end()


def basic_call(stage):
    stage.call("caller", ["-d", str(TALK_MS)])
    stage.caller_ends_well()
    wait_until("the callee is told good-bye", lambda: "BYE" in stage.requests("desk"))
    assert stage.requests("alice") == [], stage.requests("alice")
    assert stage.requests("desk") == ["INVITE", "ACK", "BYE"], stage.requests("desk")
    invite = ladder.requests_to(stage.seen(), "desk")[0]
    told = str(invite.headers) + invite.body
    # Topology hiding: nothing of the caller's address shows.
    assert f"{stage.net}.2" not in told, told


def fork_to_three(stage):
    stage.call("caller", ["-d", str(TALK_MS)])
    stage.caller_ends_well()
    assert stage.statuses("alice", "INVITE").count(200) == 1
    assert stage.requests("alice") == [], stage.requests("alice")
    assert stage.requests("mobile") == ["INVITE", "ACK", "BYE"], stage.requests("mobile")
    for loser in ("desk", "soft"):
        assert stage.requests(loser) == ["INVITE", "CANCEL", "ACK"], (loser, stage.requests(loser))


def caller_cancels(stage):
    stage.call("caller_cancels")
    stage.caller_ends_well()
    assert stage.statuses("alice", "INVITE")[-1] == 487
    for party in ("desk", "mobile"):
        wait_until(f"{party} is left in peace", lambda: stage.requests(party)[-1:] == ["ACK"])
        assert stage.requests(party) == ["INVITE", "CANCEL", "ACK"], (party, stage.requests(party))


def busy(stage):
    stage.call("caller_refused", STATUS="486")
    stage.caller_ends_well()
    assert stage.requests("desk") == ["INVITE", "ACK"], stage.requests("desk")


def no_answer(stage):
    stage.call("caller_refused", STATUS="408")
    stage.caller_ends_well()
    wait_until("the phone no longer rings", lambda: stage.requests("desk")[-1:] == ["ACK"])
    assert stage.requests("desk") == ["INVITE", "CANCEL", "ACK"], stage.requests("desk")


def texts_in_the_call(stage):
    stage.call("caller_texts")
    stage.caller_ends_well()
    texts = [seen.body for seen in ladder.requests_to(stage.seen(), "desk") if seen.method == "MESSAGE"]
    assert texts == ["first text", "second text"], texts


def lost(stage, how):
    """The desk phone answers and is lost; the mobile goes on; the caller hears of it once."""
    audio = stage.folder / "audio.pcmu"
    audio.write_bytes(bytes([0xFF, 0x7F]) * 40000)
    stage.call("caller_survives", ["-d", "1500"], AUDIO=str(audio))
    wait_until("the call stands", lambda: "ACK" in stage.requests("desk") and "ACK" in stage.requests("mobile"))
    time.sleep(1)  # Some seconds of talk, and audio both ways.
    first = ladder.requests_to(stage.seen(), "desk")[0].call_id
    desk = stage.callees[0]
    desk.signal(how)
    wait_until("the caller is told who goes on", lambda: "MESSAGE" in stage.requests("alice"), 40)
    if how == signal.SIGSTOP:
        desk.signal(signal.SIGCONT)
    stage.caller_ends_well()
    came = ladder.requests_to(stage.seen(), "alice")
    assert [seen.method for seen in came] == ["MESSAGE"], [str(seen) for seen in came]
    assert came[0].body == f"{stage.user} is continuing on Mobile.", came[0].body
    assert stage.requests("mobile") == ["INVITE", "CANCEL", "ACK", "INVITE", "ACK", "BYE"], stage.requests("mobile")
    if how == signal.SIGSTOP:
        def left_without_a_call():
            ended = {seen.call_id for seen in ladder.requests_to(stage.seen(), "desk") if seen.method == "BYE"}
            return first in ended and not ladder.unfinished(stage.seen(), "desk")
        wait_until("the thawed phone is left without a call", left_without_a_call, 40)


def lost_by_sigkill(stage):
    lost(stage, signal.SIGKILL)


def lost_by_sigstop(stage):
    lost(stage, signal.SIGSTOP)


def basic_call_over_tcp(stage):
    basic_call(stage)


def lost_by_sigkill_over_tcp(stage):
    lost(stage, signal.SIGKILL)


SCENARIOS = [
    (basic_call, [Callee("desk", "Desk", ring_ms=200)]),
    (basic_call_over_tcp, [Callee("desk", "Desk", ring_ms=200)]),
    (fork_to_three, [
        Callee("desk", "Desk", ring_ms=20000), Callee("mobile", "Mobile", ring_ms=700),
        Callee("soft", "Softphone", ring_ms=20000)]),
    (caller_cancels, [Callee("desk", "Desk", ring_ms=20000), Callee("mobile", "Mobile", ring_ms=20000)]),
    (busy, [Callee("desk", "Desk", file="callee_busy")]),
    (no_answer, [Callee("desk", "Desk", ring_ms=30000)]),
    (texts_in_the_call, [Callee("desk", "Desk")]),
    (lost_by_sigkill, [Callee("desk", "Desk"), Callee("mobile", "Mobile", ring_ms=700)]),
    (lost_by_sigstop, [Callee("desk", "Desk"), Callee("mobile", "Mobile", ring_ms=700)]),
    (lost_by_sigkill_over_tcp, [Callee("desk", "Desk"), Callee("mobile", "Mobile", ring_ms=700)]),
]


def start_server(net, stages):
    address = f"{net}.1"
    port = free_port(address)
    admin = f"{address}:{free_port(address, socket.SOCK_STREAM)}"
    endpoints = "\n".join(callee.endpoint() for stage in stages for callee in stage.callees)
    server = Refork(str(WORK / "server"), CONFIG.format(
        data=WORK / "data", address=address, port=port, admin=admin, endpoints=endpoints), admin)
    server.sip = f"{address}:{port}"
    return server


def play(stage, server):
    """Plays a scenario, and returns why it failed."""
    said = os.path.getsize(server.log)
    failure = None
    try:
        stage.play(server)
    except (AssertionError, OSError, subprocess.SubprocessError):
        failure = traceback.format_exc()
    finally:
        stage.stop()
    ladder.draw(stage.seen())
    if failure:
        print("    the server meanwhile:")
        with open(server.log) as log:
            log.seek(said)
            print("".join(f"    {line}" for line in log.readlines()[-60:]))
    return failure


def leaves_nothing_behind(server):
    try:
        server.wait_for_rest()
        server.stop()
    except AssertionError as error:
        return str(error)
    return None


def main():
    wanted = sys.argv[1:]
    net = loopback_net()
    stages = [Stage(act, callees, net, number + 1) for number, (act, callees) in enumerate(SCENARIOS)
              if not wanted or act.__name__ in wanted]
    server = start_server(net, stages)
    results = []
    acts = [(stage.name, lambda stage=stage: play(stage, server)) for stage in stages]
    acts.append(("leaves_nothing_behind", lambda: leaves_nothing_behind(server)))
    try:
        for name, act in acts:
            print(f"-- {name}", flush=True)
            started = time.monotonic()
            failure = act()
            if failure:
                print(failure)
            results.append((name, failure is None))
            print(f"-- {name}: {'FAIL' if failure else 'PASS'} in {time.monotonic() - started:.1f} s", flush=True)
    finally:
        server.kill()
    for name, passed in results:
        print(f"{'PASS' if passed else 'FAIL'}  {name}")
    return 0 if all(passed for _, passed in results) else 1


sys.exit(main())
