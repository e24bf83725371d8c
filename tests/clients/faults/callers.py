"""SIPp as a phone in its namespace, with the verbs of the other phones."""

import os
import signal
import subprocess
from pathlib import Path

import ladder
from refork import wait_until
from stage import buzz, written

PORT = 5060
RING_MS = {"desk": "100", "mobile": "700"}


class Sipp:
    """Alice calls and streams; the others ring, answer and send back what they hear."""

    def __init__(self, folder, namespace, name, address, server):
        self.name, self.address, self.namespace, self.server = name, address, namespace, server
        self.folder = Path(folder)
        self.process = None

    def start(self):
        if self.name != "alice":
            self.sipp("callee", ["-aa", "-rtp_echo"], RING_MS=RING_MS[self.name])
            wait_until(f"{self.name} listens", self.listens)

    def listens(self):
        """Its SIP port is bound, in its own namespace."""
        try:
            return f":{PORT:04X} " in Path(f"/proc/{self.process.pid}/net/udp").read_text()
        except OSError:
            return False

    def dials(self, user):
        self.sipp(["opens", "streams", "listens"], ["-aa", "-m", "1", "-s", user, self.server], CALLER="alice",
                  AUDIO=str(buzz(self.folder / "audio.pcmu")))

    def sipp(self, script, extra, **words):
        scenario = written(self.folder / f"{self.name}.xml", script, words)
        with open(self.folder / f"{self.name}.out", "w") as out:
            # `ip netns exec` becomes SIPp: it is the process itself.
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "sipp", "-sf", str(scenario), "-i", self.address, "-p", str(PORT),
                 "-mi", self.address, "-mp", "7000", "-nostdin", "-trace_msg",
                 "-message_file", str(self.folder / f"{self.name}.trace"), "-trace_err",
                 "-error_file", str(self.folder / f"{self.name}.errors"), *extra],
                stdout=out, stderr=subprocess.STDOUT, cwd=self.folder, env={**os.environ, "TERM": "dumb"})

    def talks(self):
        wait_until(f"{self.name} talks", lambda: "ACK" in [seen.method for seen in self.trace()])

    def trace(self):
        """Returns the SIP messages that it saw."""
        return ladder.sipp_trace(self.name, self.folder / f"{self.name}.trace")

    def signal(self, which):
        self.process.send_signal(which)

    def log(self):
        errors = self.folder / f"{self.name}.errors"
        return errors.read_text(errors="replace") if errors.exists() else ""

    def end(self):
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait()
