"""Runs SIPp against Refork, some scenarios at a time, and judges by what SIPp wrote down."""

import os
import socket
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import ladder  # noqa: E402
import losses  # noqa: E402
from refork import Refork, free_port, loopback_net, wait_until  # noqa: E402
from stage import WORK, Callee, Stage  # noqa: E402

TALK_MS = 400
AT_ONCE = 4

CONFIG = """
node: {{ name: clients, workers: 1, data_dir: {data} }}
listen: [udp://{address}:{port}, tcp://{address}:{port}]
domains:
  example.org:
    registrar: {{ auth: none }}
  proven.example:
    registrar: {{ auth: users }}
users:
  sip:alice@proven.example: {{ password: alice-secret }}
endpoints:
{endpoints}
fork: {{ ring_timeout: 3s }}
detect:
  probe: {{ interval: 15s, timeout: 1s, tries: 2 }}
  media: {{ silence: 1s, confirm: true }}
restore:
  same_first_for: {{ audio: 500ms, message: 500ms }}
messages: {{ suspect_after: 500ms }}
media: {{ mode: relay, ports: 20000-20199 }}
admin: {{ listen: "{admin}", token: null }}
timers: {{ t1: 250ms, t2: 2s, t4: 2s }}
log: {{ level: debug, format: text }}
"""


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


def registers_with_digest(stage):
    # Else its proof is for the server's address, which is not what it asks.
    stage.call("caller_registers", ["-auth_uri", "proven.example"])
    stage.caller_ends_well()
    assert stage.statuses("alice", "REGISTER") == [401, 200], stage.statuses("alice", "REGISTER")


def blind_transfer(stage):
    """The desk phone passes the call on: its other end keeps its dialog, and is told."""
    stage.call(["opens", *losses.TALK])
    stage.ends_well("desk")
    stage.caller_ends_well()
    wait_until("the target is told good-bye", lambda: "BYE" in stage.requests("reception"))
    assert stage.requests("alice") == ["MESSAGE"], stage.requests("alice")
    told = ladder.texts(stage.seen(), "alice", sent=False)
    assert told == [f"{stage.target} is continuing on Reception."], told
    assert stage.requests("reception") == ["INVITE", "ACK", "BYE"], stage.requests("reception")
    notified = [seen.body for seen in ladder.requests_to(stage.seen(), "desk") if seen.method == "NOTIFY"]
    assert (notified[0], notified[-1]) == ("SIP/2.0 100 Trying", "SIP/2.0 200 OK"), notified


def blind_transfer_over_tcp(stage):
    blind_transfer(stage)


def reliable_provisionals(stage):
    stage.call("caller_pracks", ["-d", str(TALK_MS)])
    stage.caller_ends_well()
    wait_until("the callee is told good-bye", lambda: "BYE" in stage.requests("desk"))
    assert stage.requests("desk") == ["INVITE", "PRACK", "ACK", "BYE"], stage.requests("desk")
    assert stage.statuses("alice", "PRACK") == [200]


def session_timers(stage):
    stage.call("caller_refreshes", ["-d", "6000"])
    stage.caller_ends_well()
    wait_until("the callee is told good-bye", lambda: "BYE" in stage.requests("desk"))
    # Each leg has its own: one asks us and is answered, the other is asked by us.
    assert stage.requests("desk") == ["INVITE", "ACK", "UPDATE", "BYE"], stage.requests("desk")
    assert stage.requests("alice") == [], stage.requests("alice")
    assert stage.statuses("alice", "UPDATE") == [200]


def basic_call_over_tcp(stage):
    basic_call(stage)


SCENARIOS = [
    (basic_call, [Callee("desk", "Desk", ring_ms=200)]),
    (basic_call_over_tcp, [Callee("desk", "Desk", ring_ms=200)]),
    (fork_to_three, [
        Callee("desk", "Desk", ring_ms=20000), Callee("mobile", "Mobile", ring_ms=700),
        Callee("soft", "Softphone", ring_ms=20000)]),
    (caller_cancels, [Callee("desk", "Desk", ring_ms=20000), Callee("mobile", "Mobile", ring_ms=20000)]),
    (busy, [Callee("desk", "Desk", script="callee_busy")]),
    (no_answer, [Callee("desk", "Desk", ring_ms=30000)]),
    (texts_in_the_call, [Callee("desk", "Desk")]),
    (registers_with_digest, []),
    (blind_transfer, [Callee("desk", "Desk", script=["answers", "transfers"]),
                      Callee("reception", "Reception", ring_ms=300, of="target")]),
    (blind_transfer_over_tcp, [Callee("desk", "Desk", script=["answers", "transfers"]),
                               Callee("reception", "Reception", ring_ms=300, of="target")]),
    (reliable_provisionals, [Callee("desk", "Desk", script="callee_reliable")]),
    (session_timers, [Callee("desk", "Desk", script="callee_refreshed")]),
    *losses.SCENARIOS,
]


def start_server(net, stages):
    address = f"{net}.1"
    port = free_port(address)
    admin = f"{address}:{free_port(address, socket.SOCK_STREAM)}"
    endpoints = "\n".join(line for stage in stages for line in stage.endpoints())
    server = Refork(str(WORK / "server"), CONFIG.format(
        data=WORK / "data", address=address, port=port, admin=admin, endpoints=endpoints), admin)
    server.sip = f"{address}:{port}"
    return server


def play(stage, server):
    """Plays a scenario, and returns what is to be shown of it and whether it passed."""
    said, started = os.path.getsize(server.log), time.monotonic()
    failure = None
    try:
        stage.play(server)
    except (AssertionError, OSError, subprocess.SubprocessError):
        failure = traceback.format_exc()
    finally:
        stage.stop()
    shown = [f"-- {stage.name}", ladder.drawn(stage.seen())]
    if failure:
        with open(server.log) as log:
            log.seek(said)
            shown += ["    the server meanwhile:", *(f"    {line.rstrip()}" for line in log.readlines()[-60:]), failure]
    shown.append(f"-- {stage.name}: {'FAIL' if failure else 'PASS'} in {time.monotonic() - started:.1f} s")
    return "\n".join(shown), failure is None


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
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for stage, (shown, passed) in zip(stages, pool.map(lambda stage: play(stage, server), stages)):
                print(shown, flush=True)
                results.append((stage.name, passed))
        left = leaves_nothing_behind(server)
        if left:
            print(left)
        results.append(("leaves_nothing_behind", left is None))
    finally:
        server.kill()
    for name, passed in results:
        print(f"{'PASS' if passed else 'FAIL'}  {name}")
    return 0 if all(passed for _, passed in results) else 1


sys.exit(main())
