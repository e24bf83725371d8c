"""Phones in network namespaces at one server: Alice's, the desk phone and the mobile of Bob, and Carol's."""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import certificates
import ladder
from capture import Capture
from refork import Refork, wait_until

WORK = Path(os.environ["WORK"])
NAMESPACE = os.environ.get("NAMESPACE", "")
SERVER = "10.99.0.1:5060"
ADMIN = "127.0.0.1:8080"
SECURE_SERVER = "10.99.0.1:5061"
ADDRESSES = {"alice": "10.99.0.2", "desk": "10.99.0.3", "mobile": "10.99.0.4", "carol": "10.99.0.5"}
USERS = {"alice": "alice", "desk": "bob", "mobile": "bob", "carol": "carol"}

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

# In front of a PBX at port 5080 of the same host.
PBX_BEHIND = """
node: {{ name: clients, workers: 2, data_dir: {data} }}
listen: [udp://10.99.0.1:5060, tcp://10.99.0.1:5060]
domains:
  example.org: {{ upstream: pbx }}
upstreams:
  pbx:
    targets: ["sip:10.99.0.1:5080"]
    credentials: {{ user: refork, password: refork-secret }}
    path: {path}
    restore_after: 2s
""" + QUICK

CONFIG = """
node: {{ name: clients, workers: 1, data_dir: {data} }}
listen: [udp://10.99.0.1:5060, tcp://10.99.0.1:5060{secure}
domains:
  example.org:
    realm: example.org
    registrar: {{ auth: users }}
users:
  sip:alice@example.org: {{ password: {alice} }}
  sip:bob@example.org: {{ password: {bob} }}
  sip:carol@example.org: {{ password: {carol} }}
""" + QUICK

SECURE = """, tls://10.99.0.1:5061]
tls: { certificate: certificate.pem, key: key.pem }"""


def secret(user):
    return f"{user}-secret"


class Stage:
    """One play: a server, phones, a capture at each.

    Where somebody is lost, Alice survives; Bob's desk phone is lost, and his mobile goes on."""

    # Phones that register past Refork.
    past = 0
    # Whether who is put on hold is told so.
    holds_cross = True

    def __init__(self, name, make):
        self.make = make
        self.transport = next((way for way in ("tcp", "tls") if name.endswith(f"over_{way}")), "udp")
        self.folder = WORK / name
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.transport == "tls":
            certificates.make(self.folder, "10.99.0.1")
        self.server = Refork(str(self.folder), CONFIG.format(
            data=self.folder / "data", secure=SECURE if self.transport == "tls" else "]",
            **{user: secret(user) for user in USERS.values()}), ADMIN)
        self.phones = {}
        self.captures = []

    def phone(self, name, answers=True, **more):
        user = USERS[name]
        server = SERVER
        if self.transport == "tls":
            server, more = SECURE_SERVER, {"ca": self.folder / "ca.pem", **more}
        phone = self.make(self.folder, f"{NAMESPACE}-{name}", name, ADDRESSES[name], user, secret(user), server,
                          answers, self.transport, **more)
        self.phones[name] = phone
        phone.start()
        bindings = len(self.phones) - self.past
        wait_until(f"{name} is registered", lambda: self.server.metrics().get("refork_bindings") == bindings)
        return phone

    def capture(self, name):
        capture = Capture(self.folder / f"{name}.pcapng", f"{NAMESPACE}-{name}", ADDRESSES[name])
        self.captures.append(capture)
        return capture

    def seen(self, name, capture):
        """Returns the SIP messages of a phone: from a capture, or its own log where they were encrypted."""
        seen = capture.sip(name)
        if self.transport != "tls":
            return seen
        assert not seen and capture.fields("tls", ["frame.number"]), f"{name} spoke in the clear"
        # Some write the end of it only when they end.
        self.phones[name].end()
        return self.phones[name].trace()

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
