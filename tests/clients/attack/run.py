"""Good callers (SIPp) at a steady rate, while attackers do what they can."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

from refork import Refork, free_port, loopback_net, wait_until  # noqa: E402

WORK = Path(os.environ["WORK"])
SECONDS = float(os.environ.get("ATTACK_SECONDS", "6"))
TIMES = float(os.environ.get("ATTACK_RATE", "1"))
CALLS_PER_SECOND = 15
# Of each attack, a second: many times what a source may send.
RATES = {"garbage": 6000, "registers": 3000, "connections": 600, "crowd": 1000}
# None of its sources sends more than it may.
HEARD = "crowd"
# Of one source, by `limits.requests_per_ip`; a flood is over a second after the calls, and some more for the clock.
MAY_PASS = (200 * (SECONDS + 1) + 400) * 1.6
# What the server counts of each that it has looked at. One that is put off while it is late has its 503.
LOOKED_AT = {"garbage": ["refork_malformed_total"], "registers": ["refork_unproven_total", "refork_refused_total"],
             "connections": ["refork_connections_accepted_total"],
             "crowd": ["refork_unproven_total", "refork_refused_total"]}
CONFIG = """
node: {{ name: attacked, data_dir: {data} }}
listen: [udp://{address}:{port}, tcp://{address}:{port}]
domains:
  example.org: {{ registrar: {{ auth: none }} }}
  guarded.example: {{ registrar: {{ auth: users }} }}
users:
  sip:somebody@guarded.example: {{ password: "correct horse" }}
endpoints:
  - {{ aor: "sip:bob@example.org", contact: "sip:bob@{callee}:{callee_port}", name: "Bob's phone" }}
limits: {{ header_timeout: 1s }}
media: {{ mode: direct }}
admin: {{ listen: "{admin}", token: null }}
log: {{ level: info, format: text }}
"""


def scenario(name, **words):
    text = (HERE.parent / "sipp" / f"{name}.xml").read_text()
    for word, value in words.items():
        text = text.replace(word, value)
    path = WORK / f"{name}.xml"
    path.write_text(text)
    return str(path)


def sipp(name, address, port, *arguments):
    command = ["sipp", "-i", address, "-p", str(port), "-mi", address, "-nostdin",
               "-trace_err", "-error_file", str(WORK / f"{name}.errors"), *arguments]
    with open(WORK / f"{name}.out", "w") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=WORK,
                                env={**os.environ, "TERM": "dumb"})


def shown(name, what):
    """Returns the last total of a line of SIPp's screen."""
    found = re.findall(rf"{what} *\|[^|]*\| *(\d+)", (WORK / f"{name}.out").read_text())
    return int(found[-1]) if found else None


def calls(label, server, at, net, number, attackers):
    """Places calls while the attackers attack. Returns what failed, in words."""
    name, count = f"caller-{label}", int(CALLS_PER_SECOND * SECONDS)
    address = f"{net}.{number}"
    before = server.metrics()
    flood = [subprocess.Popen(
        [sys.executable, str(HERE / "flood.py"), kind, *at, f"{net}.{100 + number + place}",
         str(RATES[kind] * TIMES), str(SECONDS + 1)], stdout=subprocess.PIPE, text=True)
        for place, kind in enumerate(attackers)]
    try:
        caller = sipp(name, address, free_port(address), "-sf", scenario("caller", CALLER="alice"), "-s", "bob",
                      "-r", str(CALLS_PER_SECOND), "-m", str(count), "-d", "500", ":".join(at))
        status = caller.wait(SECONDS * 4 + 60)
        did = {kind: int(one.communicate(timeout=SECONDS + 30)[0]) for kind, one in zip(attackers, flood)}
    finally:
        for one in flood:
            if one.poll() is None:
                one.kill()
    after = server.metrics()
    more = {key: after.get(key, 0) - before.get(key, 0) for key in after}
    good, bad = shown(name, "Successful call"), shown(name, "Failed call")
    print(f"-- {label}: {good} calls, {bad} failed; attacked by {did or 'nobody'}; "
          f"dropped at the gate {more['refork_gate_dropped_total']:.0f}; "
          f"CPU {more['process_cpu_seconds_total']:.2f} s; "
          f"copies received {more['refork_retransmissions_total']:.0f}", flush=True)
    wrong = []
    if status != 0 or bad != 0 or good != count:
        errors = WORK / f"{name}.errors"
        wrong.append(f"{label}: of {count} calls {good} went well: "
                     f"{errors.read_text()[:2000] if errors.exists() else ''}")
    for kind, count in did.items():
        looked_at = sum(more[name] for name in LOOKED_AT[kind])
        print(f"   {kind}: {count} sent, {looked_at:.0f} of them looked at", flush=True)
        # Each by itself: it was an attack, and no more of it came through than may, and no less.
        least, most = (count / 4, count + CALLS_PER_SECOND * SECONDS) if kind == HEARD else (1, MAY_PASS)
        enough = RATES[kind] * TIMES * SECONDS / 4 if kind == HEARD else MAY_PASS
        if count < enough:
            wrong.append(f"{label}: {kind} was no attack: it sent {count} and not {enough:.0f}")
        if not least <= looked_at <= most:
            wrong.append(f"{label}: of {count} {kind} {looked_at:.0f} were looked at")
    too_much = sum(count for kind, count in did.items() if kind != HEARD)
    if more["refork_gate_dropped_total"] < too_much / 4:
        wrong.append(f"{label}: the gate did not keep the attack out")
    return wrong


def main():
    wanted = sys.argv[1:] or ["nobody", "all", "crowd"]
    net = loopback_net()
    address, callee = f"{net}.1", f"{net}.2"
    port, callee_port = free_port(address), free_port(callee)
    admin = f"127.0.0.1:{free_port('127.0.0.1', socket.SOCK_STREAM)}"
    server = Refork(str(WORK / "server"), CONFIG.format(
        data=WORK / "data", address=address, port=port, callee=callee, callee_port=callee_port,
        admin=admin), admin)
    bob = sipp("callee", callee, callee_port, "-sf",
               scenario("callee", RING_MS="20", DESCRIPTION="m=audio [media_port] RTP/AVP 0"))
    wrong = []
    try:
        for number, label in enumerate(wanted):
            attackers = {"nobody": [], "all": [kind for kind in RATES if kind != HEARD]}.get(label, [label])
            wrong += calls(label, server, (address, str(port)), net, 10 + 10 * number, attackers)
            time.sleep(0.5)
        # Transactions take their 32 s; conversations are over.
        wait_until("the conversations are over", lambda: not {
            name for name in ("refork_conversations", "refork_legs") if server.metrics().get(name)})
    except AssertionError as error:
        wrong.append(str(error))
    finally:
        bob.kill()
        bob.wait()
        try:
            server.stop()
        except AssertionError as error:
            wrong.append(str(error))
        server.kill()
    for what in wrong:
        print(what)
    print("FAIL" if wrong else "PASS")
    return 1 if wrong else 0


sys.exit(main())
