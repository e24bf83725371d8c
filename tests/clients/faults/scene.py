"""A call of Alice with Bob's desk phone, whose network fails; Bob's mobile may go on."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import ladder
from capture import Capture
from measure import Measured
from network import Cable
from phone import Phone
from refork import Refork, wait_until
from callers import Sipp

WORK = Path(os.environ["WORK"])
NAMESPACE = os.environ.get("NAMESPACE", "")
SERVER, ADMIN = "10.99.0.1:5060", "127.0.0.1:8080"
ADDRESSES = {"alice": "10.99.0.2", "desk": "10.99.0.3", "mobile": "10.99.0.4"}
USERS = {"alice": "alice", "desk": "bob", "mobile": "bob"}

# All that times a loss is left at its default.
CONFIG = """
node: {{ name: faults, workers: 1, data_dir: {data} }}
listen: ["udp://10.99.0.1:5060"]
domains:
  example.org:
    realm: example.org
    registrar: {{ auth: users }}
{known}
media: {{ ports: 20000-20199 }}
admin: {{ listen: "127.0.0.1:8080", token: null }}
log: {{ level: debug, format: text }}
"""
USER = "  sip:{user}@example.org: {{ password: {user}-secret }}"
ENDPOINT = '  - {{ aor: "sip:bob@example.org", contact: "sip:{name}@{address}:5060", name: "{name}" }}'


class Scene:
    """Server, three phones and a capture of all that passes the server."""

    def __init__(self, name, client):
        self.name, self.client = name, client
        self.folder = WORK / name
        self.folder.mkdir(parents=True)
        self.server = self.capture = None
        self.phones, self.timers = {}, []
        self.cable = Cable(NAMESPACE, "desk", ADDRESSES["desk"])

    def open(self):
        """Starts the server and the capture; `stop` ends what there is of them."""
        baresip = self.client == "baresip"
        known = (["users:", *(USER.format(user=user) for user in ("alice", "bob"))] if baresip else
                 ["acl: { trusted: [10.99.0.0/24] }", "endpoints:", *(ENDPOINT.format(name=name, address=ADDRESSES[name]) for name in ("desk", "mobile"))])
        self.server = Refork(str(self.folder), CONFIG.format(
            data=self.folder / "data", known="\n".join(known)), ADMIN)
        self.capture = Capture(self.folder / "server.pcapng", NAMESPACE, SERVER.split(":")[0], "bridge")

    def phone(self, name):
        place = (self.folder, f"{NAMESPACE}-{name}", name, ADDRESSES[name])
        if self.client == "baresip":
            user = USERS[name]
            phone = Phone(*place, user, f"{user}-secret", SERVER, name != "alice", roams=name == "desk")
        else:
            phone = Sipp(*place, SERVER)
        self.phones[name] = phone
        phone.start()
        if self.client == "baresip":
            bindings = len(self.phones)
            wait_until(f"{name} is registered", lambda: self.server.metrics().get("refork_bindings") == bindings)
        return phone

    def call(self):
        """Alice talks with the desk phone, and the mobile is there."""
        # Registered before the mobile, baresip's desk phone alone is called; SIPp's rings for a shorter time.
        names = ("alice", "desk") if self.client == "baresip" else ("alice", "desk", "mobile")
        for name in names:
            self.phone(name)
        self.phones["alice"].dials("bob")
        for name in ("alice", "desk"):
            if (name, self.client) != ("alice", "sipp"):
                self.phones[name].talks()
        wait_until("the call stands", lambda: self.tells("answered"))
        if "mobile" not in self.phones:
            self.phone("mobile")

    def history(self):
        return self.conversation()["history"]

    def conversation(self):
        newest = self.server.conversations()[0]["id"]
        return json.loads(self.server.get(f"/api/v1/conversations/{newest}"))

    def tells(self, event):
        return [entry for entry in self.history() if entry["event"] == event] if self.server.conversations() else []

    def later(self, seconds, act):
        timer = threading.Timer(seconds, act)
        timer.start()
        self.timers.append(timer)

    def left_without_a_call(self, name):
        """What a phone saw says that no call is left on it."""
        seen = self.phones[name].trace()
        return bool(seen) and not ladder.unfinished(seen, name)

    def measured(self):
        self.capture.stop()
        return Measured(self.capture, self.conversation())

    def stop(self):
        for timer in self.timers:
            timer.join()
        for phone in self.phones.values():
            phone.end()
        if self.capture:
            self.capture.stop()
        if self.server:
            self.server.kill()


SIGNALS = {"running": None, "frozen": signal.SIGSTOP, "killed": signal.SIGKILL}
THAWS = signal.SIGCONT


def strike(scene, breaks, how):
    """Breaks the desk phone's network, and then the phone; returns when that began, and when it was done."""
    began = time.time()
    breaks()
    if SIGNALS[how]:
        scene.phones["desk"].signal(SIGNALS[how])
    return began, time.time()
