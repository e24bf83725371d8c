"""A linphone-daemon in its network namespace: configured, commanded by its standard input, listened to."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import ladder
from refork import wait_until
from tone import tone

# The route is what makes it call through the server; without it, it looks the domain up.
CONFIG = """
[sip]
sip_port=5060
sip_tcp_port=-1
sip_tls_port=-1
use_ipv6=0
default_proxy=0
guess_hostname=1
{more}[rtp]
audio_rtp_port=7078
audio_rtcp_enabled=1
[sound]
echocancellation=0
[video]
enabled=0
display=0
capture=0
[proxy_0]
reg_proxy=<sip:{server};transport={transport}>
reg_route=<sip:{server};transport={transport};lr>
reg_identity=sip:{user}@example.org
reg_expires=120
reg_sendregister=1
publish=0
[auth_info_0]
username={user}
passwd={password}
realm=example.org
"""

# A message in its log: up to the next line with a time.
MESSAGE = re.compile(r"(?:message (?P<sent>sent) to|received \[\d+\] new bytes from) \[.*\n(?P<text>(?:(?!\d{4}-\d\d-).*\n)*)")


class Phone:
    """One phone of one person."""

    def __init__(self, folder, namespace, name, address, user, password, server, answers=True, transport="udp",
                 encrypts=False, ca=None):
        """`encrypts`: its media, always, with keys in the SDP."""
        self.name, self.address, self.namespace, self.answers = name, address, namespace, answers
        self.folder = Path(folder) / name
        # Without this folder its database cannot be opened, and no text comes.
        (self.folder / ".local/share/linphone").mkdir(parents=True)
        self.speech = self.folder / "speaks.wav"
        tone(self.speech, 150)
        more = "media_encryption=srtp\nmedia_encryption_mandatory=1\n" if encrypts else ""
        if ca:
            more += f"root_ca={ca}\nverify_server_certs=1\nverify_server_cn=1\n"
        (self.folder / "linphonerc").write_text(
            CONFIG.format(server=server, transport=transport, user=user, password=password, more=more))
        self.process = None

    def start(self):
        command = ["ip", "netns", "exec", self.namespace, "linphone-daemon", "--config",
                   str(self.folder / "linphonerc"), "--log", str(self.folder / "linphone.log")]
        self.out = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            command + (["--auto-answer"] if self.answers else []), stdin=subprocess.PIPE, stdout=self.out,
            stderr=subprocess.STDOUT, cwd=self.folder, env={**os.environ, "HOME": str(self.folder)})
        # One codec, for which the relay can make silence.
        self.command("audio-codec-disable ALL")
        self.command("audio-codec-enable PCMU/8000/1")

    def command(self, text):
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def count(self, state):
        return self.log().count(f"Event: LinphoneCall{state}\n")

    def wait_for(self, state, seconds=30, times=1):
        wait_until(f"{self.name}: {state}", lambda: self.count(state) >= times, seconds)

    def speaks(self):
        """Speaks in its last call: there is no sound card to take audio from, and what begins anew is silent."""
        last = max(self.calls("StreamsRunning"), key=int)
        self.command(f"incall-player-start {self.speech} {last}")

    def dials(self, user):
        self.command(f"call sip:{user}@example.org")

    def talks(self, times=1):
        """Waits for so many calls to have stood, and speaks in the last one."""
        wait_until(f"{self.name}: {times} calls stood", lambda: len(self.calls("StreamsRunning")) >= times, 40)
        self.speaks()

    def calls(self, state):
        """Returns the numbers of the calls that were in a state."""
        return set(re.findall(rf"Event: LinphoneCall{state}\n(?:.*\n)*?Id: (\d+)\n", self.log()))

    def hangs_up(self):
        self.command("terminate")

    def ended(self):
        return len(self.calls("End"))

    def quits(self, times=1):
        wait_until(f"{self.name}: {times} calls ended", lambda: self.ended() >= times, 40)

    def holds(self):
        before = self.count("Paused")
        self.command("call-pause 1")
        self.wait_for("Paused", times=before + 1)

    def resumes(self):
        before = self.count("StreamsRunning")
        self.command("call-resume 1")
        self.wait_for("StreamsRunning", times=before + 1)

    def transfers(self, user):
        self.command(f"call-transfer 1 sip:{user}@example.org")

    def joins(self):
        """Joins the far ends of its two calls."""
        self.command("call-transfer 1 2")

    def presses(self, digits):
        for digit in digits:
            self.command(f"dtmf {digit}")
            time.sleep(0.4)

    def digits(self):
        return "".join(re.findall(r"Event-type: receiving-tone\n(?:.*\n)*?Tone: (.)\n", self.log()))

    def writes(self, user, body):
        self.command(f"message sip:{user}@example.org {body}")

    def trace(self):
        """Returns the SIP messages that it saw, by its own log."""
        return ladder.logged(self.name, (self.folder / "linphone.log").read_text(errors="replace"), MESSAGE)

    def texts(self):
        """Returns the texts that came."""
        return re.findall(r'Event-type: message-received\n(?:.*\n)*?Content: "(.*)"', self.log())

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def signal(self, which):
        # `ip netns exec` becomes the daemon: it is the process itself.
        self.process.send_signal(which)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            self.process.wait()
            self.out.close()
