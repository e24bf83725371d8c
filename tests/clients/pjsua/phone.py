"""A phone of PJSIP's library (pjsua2) in its network namespace: configured, commanded, listened to."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import ladder
from refork import wait_until
from tone import tone

PROGRAM = Path(__file__).resolve().parent / "program.py"
MODULES = Path(os.environ["WORK"]) / "modules"
# A message in its log.
MESSAGE = re.compile(r"(?:(?P<sent>TX)|RX) \d+ bytes .*:\n(?P<text>(?:(?!--end msg--).*\n)*)")


class Phone:
    """One phone of one person."""

    def __init__(self, folder, namespace, name, address, user, password, server, answers=True, transport="udp",
                 encrypts=False, ca=None):
        """`answers`: by itself, or "early": it speaks before. `encrypts`: its media, always, with keys in the SDP."""
        self.name, self.address, self.namespace = name, address, namespace
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True)
        self.messages = self.folder / "pjsip.log"
        speech = self.folder / "speaks.wav"
        tone(speech, 150)
        self.settings = {
            "user": user, "password": password, "server": server, "transport": transport, "address": address,
            "speech": str(speech), "log": str(self.messages), "instance": uuid.uuid4().urn,
            "answers": {True: "yes", False: "no"}.get(answers, answers), "encrypts": encrypts,
            "ca": str(ca) if ca else ""}
        self.events = []
        self.process = None

    def start(self):
        self.out = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, sys.executable, str(PROGRAM), json.dumps(self.settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.out, cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(MODULES)})
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            # The library has words of its own.
            if line.startswith(b"{"):
                self.events.append(json.loads(line))

    def command(self, *words):
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()

    def told(self, what):
        """Returns the details of all events of a kind."""
        return [event["detail"] for event in list(self.events) if event["what"] == what]

    def wait_for(self, what, times=1, seconds=40):
        def happened():
            assert not self.told("failed"), f"{self.name}: {self.told('failed')}"
            return len(self.told(what)) >= times
        wait_until(f"{self.name}: {what}", happened, seconds)

    def dials(self, user):
        self.command("dial", f"sip:{user}@example.org")

    def talks(self, times=1):
        self.wait_for("stands", times)

    def speaks(self):
        """It always does."""

    def is_rung(self):
        self.wait_for("rung")

    def answers_now(self):
        self.command("answer")

    def hangs_up(self):
        self.command("hang_up")

    def quits(self, times=1):
        self.wait_for("ended", times)

    def ended(self):
        return len(self.told("ended"))

    def holds(self):
        self.command("hold")

    def resumes(self):
        self.command("resume")

    def transfers(self, user):
        self.command("transfer", f"sip:{user}@example.org")

    def joins(self):
        self.command("join")

    def hears_of_it(self, status):
        """The phone is told how its transfer goes."""
        wait_until(f"{self.name}: transfer {status}", lambda: status in self.told("transfer"), 40)

    def presses(self, digits):
        self.command("digits", digits)

    def digits(self):
        return "".join(self.told("digit"))

    def writes(self, user, body):
        self.command("text", f"sip:{user}@example.org", body)

    def writes_in_call(self, body):
        self.command("text_in_call", body)

    def texts(self):
        return self.told("text")

    def trace(self):
        """Returns the SIP messages that it saw, by its own log."""
        return ladder.logged(self.name, self.messages.read_text(errors="replace"), MESSAGE)

    def log(self):
        return "\n".join(map(str, self.events)) + "\n" + (self.folder / "log").read_text(errors="replace")

    def signal(self, which):
        # `ip netns exec` becomes the program: it is the process itself.
        self.process.send_signal(which)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process:
            self.process.wait()
            self.out.close()
