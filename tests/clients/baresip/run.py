"""baresip to baresip through Refork: one phone of the call is lost, another of the same person goes on."""

import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import ladder  # noqa: E402
from capture import Capture, judge_unbroken  # noqa: E402
from phone import Phone  # noqa: E402
from refork import Refork, wait_until  # noqa: E402

WORK = Path(os.environ["WORK"])
NAMESPACE = os.environ.get("NAMESPACE", "")
SERVER = "10.99.0.1:5060"
ADMIN = "127.0.0.1:8080"
ADDRESSES = {"alice": "10.99.0.2", "desk": "10.99.0.3", "mobile": "10.99.0.4"}
TALK_SECONDS = 3

CONFIG = """
node: {{ name: clients, workers: 1, data_dir: {data} }}
listen: [udp://10.99.0.1:5060, tcp://10.99.0.1:5060]
domains:
  example.org:
    realm: example.org
    registrar: {{ auth: users }}
users:
  sip:alice@example.org: {{ password: {alice} }}
  sip:bob@example.org: {{ password: {bob} }}
detect:
  grace: 2s
  probe: {{ interval: 15s, timeout: 1s, tries: 2 }}
  media: {{ silence: 1s, confirm: true }}
restore:
  same_first_for: {{ audio: 1s, message: 1s }}
media: {{ mode: relay, ports: 20000-20199 }}
admin: {{ listen: "127.0.0.1:8080", token: null }}
timers: {{ t1: 250ms, t2: 2s, t4: 2s }}
log: {{ level: debug, format: text }}
"""


def secret(user):
    return f"{user}-secret"


class Stage:
    """One call: a server, three phones, a capture at each.

    Alice survives; Bob's desk phone is lost, and his mobile goes on."""

    def __init__(self, name):
        self.transport = "tcp" if name.endswith("over_tcp") else "udp"
        self.folder = WORK / name
        self.server = Refork(str(self.folder), CONFIG.format(
            data=self.folder / "data", alice=secret("alice"), bob=secret("bob")), ADMIN)
        self.phones = {}
        self.captures = []

    def phone(self, name, answers=True):
        user = "alice" if name == "alice" else "bob"
        phone = Phone(self.folder, f"{NAMESPACE}-{name}", name, ADDRESSES[name], user, secret(user), SERVER,
                      answers, self.transport)
        self.phones[name] = phone
        phone.start()
        bindings = len(self.phones)
        wait_until(f"{name} is registered", lambda: self.server.metrics().get("refork_bindings") == bindings)
        return phone

    def capture(self, name):
        capture = Capture(self.folder / f"{name}.pcapng", f"{NAMESPACE}-{name}", ADDRESSES[name])
        self.captures.append(capture)
        return capture

    def stop(self):
        for phone in self.phones.values():
            phone.end()
        for capture in self.captures:
            capture.stop()
        self.server.kill()


def lost(stage, how, caller="alice", opening=()):
    """Loses the desk phone while it talks with Alice, who is asked for the opening and then told once."""
    capture, at_desk, at_mobile = (stage.capture(name) for name in ADDRESSES)
    alice, desk = (stage.phone(name, answers=name != caller) for name in ("alice", "desk"))
    stage.phones[caller].command("dial", f"sip:{'bob' if caller == 'alice' else 'alice'}@example.org")
    alice.wait_for("CALL_ESTABLISHED")
    desk.wait_for("CALL_ESTABLISHED")
    mobile = stage.phone("mobile")
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

    ladder.draw(capture.sip("alice"))
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
    came = ladder.requests_to(capture.sip("alice"), "alice")
    ways = {seen.headers["via"].split()[0] for seen in capture.sip("alice")}
    assert ways == {f"SIP/2.0/{stage.transport.upper()}"}, f"Alice's phone spoke {ways}"
    methods = [seen.method for seen in came]
    assert methods == [*opening, "MESSAGE"], f"Alice was asked for {methods}"
    if how == signal.SIGSTOP:
        print("    the frozen phone:")
        ladder.draw(at_desk.sip("desk"))
        left = ladder.unfinished(at_desk.sip("desk"), "desk")
        assert not left, f"the thawed phone still holds {left}"


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


SCENARIOS = (frozen, killed, caller_frozen, caller_killed, frozen_over_tcp, killed_over_tcp)


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(scenario.__name__ for scenario in SCENARIOS))
        return 0
    results = []
    for scenario in SCENARIOS:
        name = scenario.__name__
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(f"-- {name}", flush=True)
        started, failure, stage = time.monotonic(), None, Stage(name)
        try:
            scenario(stage)
            stage.server.stop()
        except (AssertionError, OSError, subprocess.SubprocessError):
            failure = traceback.format_exc()
        finally:
            stage.stop()
        if failure:
            for capture in stage.captures[:1]:
                ladder.draw(capture.sip("alice"))
            print(failure)
            print("    the server's last words:")
            with open(stage.server.log) as log:
                print("".join(f"    {line}" for line in log.readlines()[-60:]))
            for phone in stage.phones.values():
                print(f"    {phone.name}:\n" + "\n".join(f"    {line}" for line in phone.log().splitlines()[-12:]))
        results.append((name, failure is None))
        print(f"-- {name}: {'FAIL' if failure else 'PASS'} in {time.monotonic() - started:.1f} s", flush=True)
    for name, passed in results:
        print(f"{'PASS' if passed else 'FAIL'}  {name}")
    return 0 if results and all(passed for _, passed in results) else 1


sys.exit(main())
