"""A linphone-daemon in its network namespace: configured, commanded by its standard input, listened to."""

import os
import re
import signal
import subprocess
from pathlib import Path

from refork import wait_until
from tone import tone

# The route is what makes it call through the server; without it, it looks the domain up.
CONFIG = """
[sip]
sip_port=5060
sip_tcp_port=0
sip_tls_port=0
use_ipv6=0
default_proxy=0
guess_hostname=1
{encryption}[rtp]
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


class Phone:
    """One phone of one person."""

    def __init__(self, folder, namespace, name, address, user, password, server, answers=True, transport="udp",
                 encrypts=False):
        """`encrypts`: its media, always, with keys in the SDP."""
        self.name, self.address, self.namespace, self.answers = name, address, namespace, answers
        self.folder = Path(folder) / name
        # Without this folder its database cannot be opened, and no text comes.
        (self.folder / ".local/share/linphone").mkdir(parents=True)
        self.speech = self.folder / "speaks.wav"
        tone(self.speech, 150)
        (self.folder / "linphonerc").write_text(
            CONFIG.format(server=server, transport=transport, user=user, password=password,
                          encryption="media_encryption=srtp\nmedia_encryption_mandatory=1\n" if encrypts else ""))
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
        """Waits for the call to stand, and speaks: there is no sound card to take audio from."""
        self.wait_for("StreamsRunning", 40)
        self.command(f"incall-player-start {self.speech}")

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
