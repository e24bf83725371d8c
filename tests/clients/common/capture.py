"""A capture at one party, and what tshark reads out of it."""

import signal
import subprocess
from collections import Counter
from dataclasses import dataclass

from ladder import Seen
from refork import wait_until

PACKET_SECONDS = 0.020
# How late a packet may leave on a busy machine.
JITTER_SECONDS = 0.010
# How late the first packet of a phone may be, by which all others then are early: pjsua's clock starts slowly.
START_SECONDS = 0.040
# A window with fewer packets has none that is surely in time.
ENOUGH_PACKETS = 10
CLOCK = 8000


class Capture:
    """What passes an interface, for tshark to read."""

    def __init__(self, path, namespace, address, interface="eth0"):
        self.path, self.address = path, address
        self.errors = open(f"{path}.log", "w+")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "dumpcap", "-q", "-i", interface, "-w", str(path)],
            stdout=subprocess.DEVNULL, stderr=self.errors)
        try:
            wait_until("dumpcap captures", self.is_capturing)
        except AssertionError:
            self.stop()
            raise

    def is_capturing(self):
        assert self.process.poll() is None, open(self.errors.name).read()
        return "Capturing on" in open(self.errors.name).read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.errors.close()

    def fields(self, filter, names):
        # By its looks too, and before its port: a phone that sends STUN from its RTP port has tshark forget what the
        # SDP said, there is none to read over TLS, and some other protocol has registered nearly every port.
        command = ["tshark", "-r", str(self.path), "-o", "udp.try_heuristic_first:TRUE", "--enable-heuristic", "rtp_udp",
                   "-Y", filter, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=l"]
        for name in names:
            command += ["-e", name]
        out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        return [line.split("\t") for line in out.splitlines()]

    def sip(self, party):
        """Returns the SIP messages, for the ladder."""
        names = ["frame.time_epoch", "ip.src", "sip.Request-Line", "sip.Status-Line", "sip.CSeq", "sip.Via",
                 "sip.Call-ID", "sip.To", "text"]
        seen = []
        for time, source, request, status, cseq, via, call_id, to, text in self.fields("sip", names):
            headers = {"cseq": cseq, "via": via, "call-id": call_id, "to": to}
            seen.append(Seen(party, float(time), source == self.address, request or status, headers, text))
        return seen

    def rtp(self, incoming):
        """Returns the RTP packets in one direction."""
        way = "dst" if incoming else "src"
        names = ["frame.time_epoch", "rtp.ssrc", "rtp.seq", "rtp.timestamp", "rtp.p_type", "udp.srcport"]
        return [Packet(float(time), ssrc, int(seq), int(timestamp), int(payload), int(port)) for
                time, ssrc, seq, timestamp, payload, port in
                self.fields(f"rtp.seq && !rtcp && !stun && !icmp && ip.{way} == {self.address}", names)]


@dataclass
class Packet:
    time: float
    ssrc: str
    seq: int
    timestamp: int
    payload: int
    port: int


def judge_unbroken(packets, lossless=True, stumble=0.0):
    """Fails unless the packets are one stream, and returns its figures; unless `lossless`, some may be missing.
    A phone whose clock stands still while it cannot send may `stumble` by so many seconds.

    One SSRC from one port; no gap in the sequence; the timestamp advancing by the time that passed, within
    one packet, its jitter and a phone's slow start: at the seam the new phone's first packet follows the last one
    of the filler by a whole packet, whenever it comes. Packets can only be late, so of each half second the
    earliest is compared."""
    assert len(packets) > 100, f"only {len(packets)} packets"
    assert len({packet.ssrc for packet in packets}) == 1, {packet.ssrc for packet in packets}
    assert len({packet.port for packet in packets}) == 1, {packet.port for packet in packets}
    for before, after in zip(packets, packets[1:]):
        step = (after.seq - before.seq) % 65536
        assert step == 1 or not lossless and step < 32768, f"sequence {before.seq} -> {after.seq} after {after.time - packets[0].time:.3f} s"
        ahead = (after.timestamp - before.timestamp) % 2**32
        assert 0 < ahead < 2**31, f"timestamp {before.timestamp} -> {after.timestamp}"
    first = packets[0]
    windows, sizes = {}, Counter()
    for packet in packets:
        late = packet.time - first.time - ((packet.timestamp - first.timestamp) % 2**32) / CLOCK
        window = int((packet.time - first.time) * 2)
        windows[window] = min(late, windows.get(window, late))
        sizes[window] += 1
    drift = {window: late - windows[0] for window, late in windows.items() if sizes[window] >= ENOUGH_PACKETS}
    worst = max(drift.values(), key=abs)
    assert abs(worst) <= PACKET_SECONDS + JITTER_SECONDS + START_SECONDS + stumble, (
        f"the timestamp is off by {worst * 1000:.1f} ms: " +
        ", ".join(f"{window / 2:g} s: {late * 1000:.1f}" for window, late in drift.items()))
    longest = max(after.time - before.time for before, after in zip(packets, packets[1:]))
    missing = (packets[-1].seq - packets[0].seq + 1 - len(packets)) % 65536
    return (f"{len(packets)} packets, one SSRC, {missing or 'no'} missing, timestamp within {abs(worst) * 1000:.1f} ms of the time "
            f"that passed, longest pause {longest * 1000:.0f} ms")
