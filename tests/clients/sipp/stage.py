"""The stage of a scenario: SIPp as caller and callees, and what each of them saw."""

import os
import re
import signal
import subprocess
from pathlib import Path

import ladder
from refork import free_port

HERE = Path(__file__).resolve().parent
WORK = Path(os.environ["WORK"])
TEXTS = 12
AUDIO = "m=audio [{port}] RTP/AVP 0\n      a=rtpmap:0 PCMU/8000"
TEXT = "m=message 5060 sip null"


def written(path, script, words):
    """Writes a scenario, a file or put together of parts, with its words filled in; audio unless they say else."""
    if isinstance(script, str):
        text = (HERE / f"{script}.xml").read_text()
    else:
        parts = "".join((HERE / "parts" / f"{part}.xml").read_text() for part in script)
        names = ",".join(sorted(set(re.findall(r'(?:assign_to|test)="(\w+)"', parts))))
        text = (f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="{path.stem}">\n{parts}'
                f'  <Reference variables="{names}"/>\n</scenario>\n')
    port = "rtpstream_audio_port" if "streams" in script else "media_port"
    for word, value in {"DESCRIPTION": AUDIO.format(port=port), **words}.items():
        text = text.replace(word, value)
    path.write_text(text)
    return path


def buzz(path):
    """Writes ten seconds of it in G.711."""
    path.write_bytes(bytes([0xFF, 0x7F]) * 40000)
    return path


class Callee:
    """A SIPp that is called; ended by its process id."""

    # A thawed phone must still ring when the CANCEL comes: SIPp answers none that comes just as it stops
    # ringing, and then its INVITE has no answer for ever.
    def __init__(self, name, shown, script="callee", ring_ms=100, of="callee"):
        self.name, self.shown, self.script, self.ring_ms, self.of = name, shown, script, ring_ms, of
        self.process = None

    def settle(self, stage, number):
        """Gives it a place to listen at."""
        self.stage = stage
        self.address = f"{stage.net}.{number}"
        self.port = free_port(self.address)

    def endpoint(self):
        contact = f"sip:{self.name}@{self.address}:{self.port}" + (";transport=tcp" if self.stage.tcp else "")
        user = {"callee": self.stage.user, "caller": self.stage.calling_user, "target": self.stage.target}[self.of]
        return f'  - {{ aor: "sip:{user}@example.org", contact: "{contact}", name: "{self.shown}" }}'

    def start(self):
        scenario = self.stage.scenario(self.script, self.name, RING_MS=str(self.ring_ms))
        # What is put together of parts is one call; a file is called as often as it comes.
        once = [] if isinstance(self.script, str) else ["-m", "1"]
        self.process = self.stage.sipp(
            self.name, self.address, self.port, scenario, ["-aa", "-rtp_echo", *once])

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


class Stage:
    """One scenario: its callees, the caller, and what they saw.

    The caller is `alice`. Callees that are `of="caller"` are further endpoints of the caller's AOR; only where
    there are some has the caller an AOR of its own, with its phone among the endpoints. One that is `of="target"`
    is who a call is passed on to."""

    def __init__(self, scenario, callees, net, number):
        self.act, self.callees, self.net = scenario, callees, net
        self.name = scenario.__name__
        self.user = self.name.replace("_", "-")
        self.target = f"{self.user}-target"
        self.tcp = self.name.endswith("over_tcp")
        self.folder = WORK / self.name
        self.folder.mkdir(parents=True)
        self.text = "session" in self.name
        self.calling_user = f"alice-{self.user}" if any(callee.of == "caller" for callee in callees) else "alice"
        self.caller = None
        self.calling_address = f"{net}.{10 * number + 9}"
        self.calling_port = free_port(self.calling_address)
        for place, callee in enumerate(callees):
            callee.settle(self, 10 * number + place)

    def endpoints(self):
        """Returns the lines of the configuration that name its endpoints."""
        lines = [callee.endpoint() for callee in self.callees]
        if self.calling_user != "alice":
            lines.append(f'  - {{ aor: "sip:{self.calling_user}@example.org", name: "Phone", '
                         f'contact: "sip:alice@{self.calling_address}:{self.calling_port}" }}')
        return lines

    def play(self, server):
        self.server = server
        for callee in self.callees:
            callee.start()
        self.act(self)

    def scenario(self, script, party, **words):
        """Writes a scenario, a file or put together of parts, with its words filled in."""
        words = {"CALLER": self.calling_user, "TARGET": self.target, "TEXTS": str(TEXTS), "AUDIO": str(self.audio()),
                 **({"DESCRIPTION": TEXT} if self.text else {}), **words}
        return written(self.folder / f"{party}.xml", script, words)

    def audio(self):
        """Returns a file of ten seconds of buzz."""
        path = self.folder / "audio.pcmu"
        return path if path.exists() else buzz(path)

    def sipp(self, name, address, port, scenario, extra):
        command = [
            "sipp", "-sf", str(scenario), "-i", address, "-p", str(port), "-mi", address,
            "-mp", str(free_port(address)), "-nostdin", "-trace_msg",
            "-message_file", str(self.folder / f"{name}.trace"), "-trace_err",
            "-error_file", str(self.folder / f"{name}.errors"), *(["-t", "t1"] if self.tcp else []), *extra]
        with open(self.folder / f"{name}.out", "w") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
                                    env={**os.environ, "TERM": "dumb"})

    def call(self, script, extra=(), **words):
        """Starts the caller."""
        scenario = self.scenario(script, "alice", **words)
        self.caller = self.sipp("alice", self.calling_address, self.calling_port, scenario, [
            "-m", "1", "-s", self.user, *extra, self.server.sip])

    def process(self, party):
        """Returns the SIPp of a party."""
        if party == "alice":
            return self.caller
        return next(callee.process for callee in self.callees if callee.name == party)

    def ends_well(self, party, seconds=60):
        """Waits for a party; SIPp ends 0 where all went as its scenario says."""
        status = self.process(party).wait(seconds)
        errors = self.folder / f"{party}.errors"
        said = errors.read_text() if errors.exists() else ""
        assert status == 0, f"the SIPp of {party} ended with {status}: {said}"

    def caller_ends_well(self):
        self.ends_well("alice")

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
                self.caller.send_signal(signal.SIGCONT)
                self.caller.kill()
            self.caller.wait()
        for callee in self.callees:
            if callee.process:
                callee.end()
