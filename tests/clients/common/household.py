"""Three phones in network namespaces at one server: Alice's, and the desk phone and the mobile of Bob."""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import ladder
from capture import Capture
from refork import Refork, wait_until

WORK = Path(os.environ["WORK"])
NAMESPACE = os.environ.get("NAMESPACE", "")
SERVER = "10.99.0.1:5060"
ADMIN = "127.0.0.1:8080"
ADDRESSES = {"alice": "10.99.0.2", "desk": "10.99.0.3", "mobile": "10.99.0.4"}

# Losses are seen and settled soon.
QUICK = """\
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
""" + QUICK


def secret(user):
    return f"{user}-secret"


class Stage:
    """One call: a server, three phones, a capture at each.

    Alice survives; Bob's desk phone is lost, and his mobile goes on."""

    def __init__(self, name, make):
        self.make = make
        self.transport = "tcp" if name.endswith("over_tcp") else "udp"
        self.folder = WORK / name
        self.server = Refork(str(self.folder), CONFIG.format(
            data=self.folder / "data", alice=secret("alice"), bob=secret("bob")), ADMIN)
        self.phones = {}
        self.captures = []

    def phone(self, name, answers=True, **more):
        user = "alice" if name == "alice" else "bob"
        phone = self.make(self.folder, f"{NAMESPACE}-{name}", name, ADDRESSES[name], user, secret(user), SERVER,
                          answers, self.transport, **more)
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


def perform(scenarios, make, on=Stage):
    """Plays the scenarios that are named as arguments, with phones that `make` makes; returns the exit status."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(scenario.__name__ for scenario in scenarios))
        return 0
    results = []
    for scenario in scenarios:
        name = scenario.__name__
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(f"-- {name}", flush=True)
        started, failure, stage = time.monotonic(), None, on(name, make)
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
