"""sipsak against Refork: OPTIONS, REGISTER with the right and with a wrong password, MESSAGE to a phone in a user's name and
in a stranger's."""

import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import ladder  # noqa: E402
from refork import Refork, free_port, loopback_net  # noqa: E402

WORK = Path(os.environ["WORK"])
ALICE = "sip:alice@example.org"
CONFIG = """
node: {{ name: clients, workers: 1, data_dir: {data} }}
listen: [udp://{sip}]
domains:
  example.org:
    realm: example.org
    registrar: {{ auth: users }}
users:
  sip:alice@example.org: {{ password: alice-secret }}
endpoints:
  - {{ aor: "sip:bob@example.org", contact: "sip:bob@{phone}" }}
admin: {{ listen: "{admin}", token: null }}
timers: {{ t1: 250ms, t2: 2s, t4: 2s }}
log: {{ level: debug, format: text }}
"""

# sipsak's own message mode (-M) ends by a segmentation fault in Debian's 0.9.8.1, so it sends a file.
MESSAGE = """MESSAGE sip:bob@example.org SIP/2.0
Via: SIP/2.0/UDP {at};branch=z9hG4bK-smoke;rport
From: <{sender}>;tag=smoke
To: <sip:bob@example.org>
Call-ID: {call_id}@sipsak
CSeq: 1 MESSAGE
Max-Forwards: 70
Content-Type: text/plain
Content-Length: 5

hello"""


class Smoke:
    """A server, and an address to run sipsak from."""

    def __init__(self):
        net = loopback_net()
        address = f"{net}.1"
        self.phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.phone.bind((f"{net}.2", 0))
        self.phone.settimeout(10)
        self.sip = f"{address}:{free_port(address)}"
        admin = f"{address}:{free_port(address, socket.SOCK_STREAM)}"
        self.server = Refork(str(WORK / "server"), CONFIG.format(
            data=WORK / "data", sip=self.sip, admin=admin, phone="{}:{}".format(*self.phone.getsockname())), admin)

    def sipsak(self, *arguments):
        """Runs sipsak; returns its exit status and what it printed."""
        done = subprocess.run(["sipsak", "-vvv", *arguments], capture_output=True, text=True, timeout=30)
        said = done.stdout + done.stderr
        for line in said.splitlines():
            if line.startswith(("OPTIONS ", "REGISTER ", "SIP/2.0 ")):
                print(f"    {line.strip()}")
        return done.returncode, said

    def bindings(self):
        return self.server.metrics().get("refork_bindings", 0)


def options(smoke):
    status, said = smoke.sipsak("-s", f"sip:{smoke.sip}")
    assert status == 0 and "SIP/2.0 200 OK" in said, f"{status}: {said}"


def wrong_password(smoke):
    status, said = smoke.sipsak("-U", "-C", "sip:alice@127.0.0.1:9", "-x", "60", "-u", "alice", "-a", "guessed",
                                "-p", smoke.sip, "-s", ALICE)
    assert status != 0 and "authorization failed" in said, f"{status}: {said}"
    assert smoke.bindings() == 0, smoke.bindings()


def register(smoke):
    # Its requests come from another port than its Via and Contact name, so nothing can be sent to it afterwards.
    status, said = smoke.sipsak("-U", "-C", "sip:alice@127.0.0.1:9", "-x", "60", "-u", "alice", "-a", "alice-secret",
                                "-p", smoke.sip, "-s", ALICE)
    assert status == 0 and "SIP/2.0 401" in said and "SIP/2.0 200 OK" in said, f"{status}: {said}"
    assert smoke.bindings() == 1, smoke.bindings()


def message_unasked(smoke):
    # In a user's name it needs that user's password, which is not sent with a file.
    file, port = WORK / "unasked.sip", free_port("127.0.0.1")
    file.write_text(MESSAGE.format(at=f"127.0.0.1:{port}", sender="sip:alice@example.org", call_id="unasked"))
    status, said = smoke.sipsak("-l", str(port), "-f", str(file), "-p", smoke.sip, "-s", "sip:bob@example.org")
    assert status != 0 and "SIP/2.0 407" in said, f"{status}: {said}"
    # Two registrations were challenged before, and one guessed.
    assert smoke.server.metrics().get("refork_unproven_total", 0) >= 4


def message(smoke):
    file, port = WORK / "message.sip", free_port("127.0.0.1")
    file.write_text(MESSAGE.format(at=f"127.0.0.1:{port}", sender="sip:dave@elsewhere.example", call_id="smoke"))
    sending = subprocess.Popen(
        ["sipsak", "-vvv", "-l", str(port), "-f", str(file), "-p", smoke.sip, "-s", "sip:bob@example.org"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        request, source = smoke.phone.recvfrom(65535)
        came = ladder.parse("bob", 0.0, False, request.decode())
        print(f"    bob <--- refork  {came}")
        assert (came.method, came.body) == ("MESSAGE", "hello"), str(came)
        copied = [line for line in request.decode().split("\r\n\r\n")[0].split("\r\n")
                  if line.split(":")[0].lower() in ("via", "from", "to", "call-id", "cseq")]
        smoke.phone.sendto("\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]).encode(), source)
        said = sending.communicate(timeout=20)[0]
    finally:
        if sending.poll() is None:
            sending.kill()
            sending.wait()
    assert "SIP/2.0 200 OK" in said, said


def main():
    smoke, results = Smoke(), []
    try:
        for act in (options, wrong_password, register, message_unasked, message):
            print(f"-- {act.__name__}", flush=True)
            failure = None
            try:
                act(smoke)
            except (AssertionError, OSError, subprocess.SubprocessError):
                failure = traceback.format_exc()
                print(failure)
            results.append((act.__name__, failure is None))
        smoke.server.stop()
    finally:
        smoke.server.kill()
    for name, passed in results:
        print(f"{'PASS' if passed else 'FAIL'}  {name}")
    return 0 if all(passed for _, passed in results) else 1


sys.exit(main())
