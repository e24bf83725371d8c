"""A baresip in its network namespace: configured, commanded by ctrl_tcp, listened to."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import ladder
from refork import wait_until
from tone import tone

MODULES = next(Path("/usr/lib").glob("**/baresip/modules"), Path("/usr/lib/baresip/modules"))
CONTROL_PORT = 4444

CONFIG = """
poll_method epoll
sip_listen {listens}:5060
{trust}net_interface eth0
call_local_timeout 120
call_max_calls 4
audio_path /usr/share/baresip
audio_source aufile,{source}
audio_level no
rtp_tos 184
jitter_buffer_delay 0-2
rtcp_enable yes
rtp_stats yes
module_path {modules}
module stdio.so
module g711.so
module aufile.so
module uuid.so
module srtp.so
module_app account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:{control}
"""


class Phone:
    """One phone of one person."""

    def __init__(self, folder, namespace, name, address, user, password, server, answers=True, transport="udp",
                 encrypts=None, ca=None, roams=False):
        """`encrypts`: how, by baresip's name for it; `roams`: it goes with its host to another address."""
        self.name, self.address, self.namespace, self.server = name, address, namespace, server
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True)
        self.encrypts = encrypts
        source = self.folder / "speaks.wav"
        tone(source, 150)
        (self.folder / "config").write_text(CONFIG.format(
            address=address, listens="0.0.0.0" if roams else address, modules=MODULES, source=source, control=CONTROL_PORT,
            trust=f"sip_cafile {ca}\n" if ca else ""))
        (self.folder / "accounts").write_text(
            f"<sip:{user}@example.org;transport={transport}>;auth_user={user};auth_pass={password}"
            f';outbound="sip:{server};transport={transport}";regint=60;audio_codecs=PCMU/8000/1'
            f";answermode={'auto' if answers else 'manual'};ptime=20"
            + (f";mediaenc={encrypts}" if encrypts else "") + "\n")
        # A text goes to the only contact.
        peer = "alice" if user == "bob" else "bob"
        (self.folder / "contacts").write_text(f'"Peer" <sip:{peer}@example.org>\n')
        self.events = []
        self.process = None

    def start(self):
        self.out = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "baresip", "-4", "-s", "-f", str(self.folder)],
            stdin=subprocess.PIPE, stdout=self.out, stderr=subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)})
        self.control = wait_until(f"{self.name} takes commands", self.connect, 60)
        threading.Thread(target=self.listen, daemon=True).start()

    def connect(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.log()}")
        try:
            return socket.create_connection((self.address, CONTROL_PORT), timeout=1)
        except OSError:
            return None

    def listen(self):
        self.control.settimeout(None)
        buffer = b""
        while True:
            try:
                read = self.control.recv(65536)
            except OSError:
                return
            if not read:
                return
            buffer += read
            while found := re.match(rb"(\d+):", buffer):
                end = found.end() + int(found[1])
                if len(buffer) <= end:
                    break
                self.events.append(json.loads(buffer[found.end():end]))
                buffer = buffer[end + 1:]

    def command(self, command, params=""):
        text = json.dumps({"command": command, "params": params, "token": command}).encode()
        self.control.sendall(b"%d:%s," % (len(text), text))

    def count(self, kind):
        return sum(1 for event in self.events if event.get("type") == kind)

    def wait_for(self, kind, seconds=30, times=1):
        wait_until(f"{self.name}: {kind}", lambda: self.count(kind) >= times, seconds)

    def dials(self, user):
        self.command("dial", f"sip:{user}@example.org")

    def talks(self, times=1):
        self.wait_for("CALL_ESTABLISHED", 40, times)

    def speaks(self):
        """It always does."""

    def hangs_up(self):
        self.command("hangup")

    def quits(self, times=1):
        self.wait_for("CALL_CLOSED", 40, times)

    def ended(self):
        return self.count("CALL_CLOSED")

    def holds(self):
        self.command("hold")

    def resumes(self):
        self.command("resume")

    def transfers(self, user):
        self.command("transfer", f"sip:{user}@example.org")

    def presses(self, digits):
        for digit in digits:
            self.process.stdin.write(digit.encode())
            self.process.stdin.flush()
            # A key is let go 250 ms after it was pressed.
            time.sleep(0.4)

    def digits(self):
        return "".join(event["param"] for event in self.events if event.get("type") == "CALL_DTMF_START")

    def writes(self, user, body):
        assert f"sip:{user}@" in (self.folder / "contacts").read_text(), f"{user} is no contact of {self.name}"
        self.command("contact_next")
        self.command("message", body)

    def trace(self):
        """Returns the SIP messages that it saw, by its own log."""
        return ladder.logged(self.name, self.log(), re.compile(
            rf"#\n\S+ \S+ -> (?:(?P<sent>{re.escape(self.server)})|.*)\n(?P<text>(?:(?!\x1b\[;m).*\n)*)"))

    def texts(self):
        return re.findall(r'^sip:\S+: "(.*)"$', self.log(), re.MULTILINE)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def signal(self, which):
        # `ip netns exec` becomes baresip: it is the process itself.
        self.process.send_signal(which)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process:
            self.process.wait()
            self.out.close()
