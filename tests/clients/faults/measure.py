"""What passed the server, and when."""

from dataclasses import dataclass
from datetime import datetime

from capture import Packet

ALICE, SERVER = "10.99.0.2", "10.99.0.1"
DESK, MOBILE = ("10.99.0.3", "10.99.0.13"), ("10.99.0.4",)
FIELDS = ["frame.time_epoch", "ip.src", "ip.dst", "sip.Method", "sip.Status-Code", "sip.CSeq.method", "sip.Call-ID",
          "sip.to.tag", "sip.CSeq.seq", "rtp.ssrc", "rtp.seq", "rtp.timestamp", "rtp.p_type", "udp.srcport",
          "rtp.payload"]


@dataclass
class Sip:
    time: float
    source: str
    target: str
    method: str
    status: str
    cseq: str
    call_id: str
    tag: str
    number: str

    @property
    def opens(self):
        """It is an INVITE outside of a dialog."""
        return self.method == "INVITE" and not self.tag


class Measured:
    """SIP and RTP at the server, and the server's own history of the call."""

    def __init__(self, capture, conversation):
        self.sip, self.to_alice, self.speech, self.spoken = [], [], [], {}
        for row in capture.fields("sip || (rtp.seq && !rtcp && !stun && !icmp)", FIELDS):
            (time, source, target, method, status, cseq, call_id, tag, number, ssrc, seq, timestamp, kind, port,
             payload) = row
            if method or status:
                self.sip.append(Sip(float(time), source, target, method, status, cseq, call_id, tag, number))
            elif source == SERVER and target == ALICE:
                self.to_alice.append(Packet(float(time), ssrc, int(seq), int(timestamp), int(kind), int(port)))
                # Silence is one octet again and again.
                if len(set(bytes.fromhex(payload.replace(":", "")))) > 1:
                    self.speech.append(float(time))
            elif source != ALICE:
                self.spoken.setdefault(source, []).append(float(time))
        self.events = [(datetime.fromisoformat(entry["at"].replace("Z", "+00:00")).timestamp(), entry)
                       for entry in conversation["history"]]

    def told(self, event, since=0.0):
        """Returns when the history tells of an event first, and what it tells; None where it does not."""
        return next(((at, entry) for at, entry in self.events if entry["event"] == event and at >= since), None)

    def invited(self, targets, since):
        """Returns when the first new INVITE went to one of the targets."""
        return next((message.time for message in self.sip if message.time >= since and message.opens
                     and message.source == SERVER and message.target in targets), None)

    def requests_to_alice(self, since, until):
        """Returns the methods of the requests to Alice. One that was sent again, since her host was late with the
        answer, is the same."""
        asked = {(message.call_id, message.number, message.method): message.method for message in self.sip
                 if since <= message.time < until and message.target == ALICE and message.method}
        return list(asked.values())

    def silence(self, at, until):
        """Returns how long Alice heard no speech at a moment, and when it began again; None where it never did.
        What she hears of a busy machine later on is not of it."""
        before = max((time for time in self.speech if time < at), default=at)
        after = min((time for time in self.speech if at <= time < until), default=None)
        return (None, None) if after is None else (after - before, after)

    def longest_pause(self, since, until):
        """Returns the longest time without any packet to Alice."""
        times = [packet.time for packet in self.to_alice if since - 1 <= packet.time < until]
        return max((after - before for before, after in zip(times, times[1:])), default=until - since)
