"""SIP as one party saw it: read from SIPp's message traces or tshark's output, drawn as a ladder."""

import re
from dataclasses import dataclass, field


@dataclass
class Seen:
    """One message at one party."""

    party: str
    time: float
    sent: bool
    first_line: str
    headers: dict = field(default_factory=dict)
    body: str = ""

    @property
    def method(self):
        """The method of a request, else None."""
        word = self.first_line.split(" ")[0]
        return None if word.startswith("SIP/") else word

    @property
    def status(self):
        """The status of a response, else None."""
        found = re.match(r"SIP/2.0 (\d{3})", self.first_line)
        return int(found[1]) if found else None

    @property
    def cseq_method(self):
        return self.headers.get("cseq", "? ?").split()[-1]

    @property
    def call_id(self):
        return self.headers.get("call-id", "")

    def __str__(self):
        if self.status:
            return f"{self.first_line[8:]} ({self.cseq_method})"
        in_dialog = "" if "tag=" not in self.headers.get("to", "") else ", in dialog"
        body = f': "{self.body.strip()}"' if self.method == "MESSAGE" else ""
        return f"{self.method}{in_dialog}{body}"


COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
           "c": "content-type"}
ENTRY = re.compile(
    r"^-{40,} (\d{4}-\d\d-\d\d)[ \t]([\d:.]+).*\n\w+ message (sent|received) [\[(]\d+ ?(?:bytes)?[\])].*\n\n",
    re.MULTILINE)


def parse(party, time, sent, text):
    """Reads one message."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    lines = head.split("\n")
    seen = Seen(party, time, sent, lines[0].strip(), body=body.strip())
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name = name.strip().lower()
            seen.headers.setdefault(COMPACT.get(name, name), value.strip())
    return seen


def sipp_trace(party, path):
    """Reads what SIPp wrote with -trace_msg."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    entries = list(ENTRY.finditer(text))
    messages = []
    for entry, after in zip(entries, entries[1:] + [None]):
        hours, minutes, seconds = entry[2].split(":")
        time = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        end = after.start() if after else len(text)
        messages.append(parse(party, time, entry[3] == "sent", text[entry.end():end]))
    return messages


def logged(party, text, pattern):
    """Reads what a phone wrote into its log, by a pattern with the groups `sent` and `text`; times are numbers."""
    return [parse(party, float(number), bool(found["sent"]), found["text"])
            for number, found in enumerate(pattern.finditer(text)) if found["text"].strip()]


def drawn(messages, others="refork"):
    """Returns all that was seen, in the order of time, as lines."""
    messages = sorted(messages, key=lambda seen: seen.time)
    if not messages:
        return "    (nothing was seen)"
    start = messages[0].time
    width = max(len(seen.party) for seen in messages)
    return "\n".join(
        f"    {seen.time - start:8.3f}  {seen.party:>{width}} {'--->' if seen.sent else '<---'} {others}  {seen}"
        for seen in messages)


def draw(messages, others="refork"):
    """Prints all that was seen, in the order of time."""
    print(drawn(messages, others))


def requests_to(messages, party):
    """Returns the requests that came to a party, retransmissions left aside."""
    came, known = [], set()
    for seen in messages:
        key = (seen.headers.get("via"), seen.headers.get("cseq"))
        if seen.party == party and not seen.sent and seen.method and key not in known:
            known.add(key)
            came.append(seen)
    return came


def statuses_to(messages, party, method):
    """Returns the statuses of the responses that came to a party for a method.

    A party that was slow to hear an answer asks again and gets it again (RFC 3261 17.2.2): that is one
    answer. Two different ones to a request are two.
    """
    return list({
        (seen.call_id, seen.headers.get("via"), seen.headers.get("cseq"), seen.status): seen.status
        for seen in messages
        if seen.party == party and not seen.sent and seen.status and seen.cseq_method == method}.values())


def unfinished(messages, party):
    """Returns the Call-IDs of a party's calls that still ring, or were answered, and had no BYE either way.

    Of messages that came in one piece the last is seen: the 2xx may be missing."""
    statuses = {}
    for seen in messages:
        if seen.party == party and seen.sent and seen.status and seen.cseq_method == "INVITE":
            statuses.setdefault(seen.call_id, set()).add(seen.status)
    answered = {call for call, given in statuses.items() if 200 in given}
    ringing = {call for call, given in statuses.items() if max(given) < 200}
    ended = {seen.call_id for seen in messages if seen.party == party and seen.method == "BYE"}
    return (ringing | answered) - ended


def nothing_left(messages, party):
    """Shows what a thawed phone saw, and fails where it still holds a call."""
    print("    the frozen phone:")
    draw(messages)
    left = unfinished(messages, party)
    assert not left, f"the thawed phone still holds {left}"


def texts(messages, party, sent):
    """Returns the texts that a party sent in MESSAGEs, or that came to it; retransmissions left aside."""
    known, bodies = set(), []
    for seen in messages:
        key = (seen.call_id, seen.headers.get("via"), seen.headers.get("cseq"))
        if seen.party == party and seen.sent == sent and seen.method == "MESSAGE" and key not in known:
            known.add(key)
            bodies.append(seen.body)
    return bodies
