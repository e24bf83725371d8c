"""A phone that says little, over TLS or over a WebSocket, from an address of its own."""

import base64
import hashlib
import os
import re
import socket
import ssl

SECONDS = 10
AUTHORIZATIONS = {401: ("www-authenticate", "Authorization"), 407: ("proxy-authenticate", "Proxy-Authorization")}


class Closed(Exception):
    """The other side closed the connection."""


class Refused(Exception):
    """No WebSocket was opened: the HTTP status."""


class Message:
    def __init__(self, text):
        head, _, self.body = text.partition("\r\n\r\n")
        self.first, *lines = head.split("\r\n")
        self.fields = [(name.strip().lower(), value.strip())
                       for name, _, value in (line.partition(":") for line in lines)]
        self.status = int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else None

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def __getitem__(self, name):
        return self.all(name)[0]


def connect(own, at, authority=None):
    """Connects from `own`, by TLS where there is an authority to trust."""
    plain = socket.create_connection(at, SECONDS, (own, 0))
    if not authority:
        return plain
    return ssl.create_default_context(cafile=str(authority)).wrap_socket(plain, server_hostname=at[0])


class Stream:
    """SIP over a connection."""

    def __init__(self, connection):
        self.connection, self.bytes = connection, b""

    def more(self):
        try:
            came = self.connection.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            came = b""
        if not came:
            raise Closed
        self.bytes += came

    def take(self, length):
        while len(self.bytes) < length:
            self.more()
        taken, self.bytes = self.bytes[:length], self.bytes[length:]
        return taken

    def head(self):
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        return self.take(self.bytes.index(b"\r\n\r\n") + 4).decode()

    def send(self, text):
        self.put(text.encode())

    def put(self, said):
        try:
            self.connection.sendall(said)
        except (ConnectionError, ssl.SSLEOFError):
            raise Closed from None

    def read(self):
        head = self.head().lstrip("\r\n")
        length = int(Message(head)["content-length"])
        return head + self.take(length).decode()


class WebSocket(Stream):
    """SIP over a WebSocket (RFC 6455, 7118), one message a frame."""

    def __init__(self, connection, host, more=""):
        super().__init__(connection)
        super().send(
            f"GET /sip HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Sec-WebSocket-Protocol: sip\r\n{more}\r\n")
        status = int(self.head().split()[1])
        if status != 101:
            raise Refused(status)

    def send(self, text):
        mask, said = os.urandom(4), text.encode()
        masked = bytes(octet ^ mask[place % 4] for place, octet in enumerate(said))
        self.put(b"\x81\xfe" + len(said).to_bytes(2, "big") + mask + masked)

    def read(self):
        kind, length = self.take(2)
        if length == 126:
            length = int.from_bytes(self.take(2), "big")
        said = self.take(length)
        if kind == 0x88:
            raise Closed
        assert kind in (0x81, 0x82), f"a frame that is no message: {kind:#x} {said}"
        return said.decode()


class Phone:
    def __init__(self, user, password, way, transport):
        self.user, self.password, self.way, self.transport = user, password, way, transport
        self.at = "{}:{}".format(*way.connection.getsockname())
        self.aor, self.number = f"sip:{user}@example.org", 0
        self.contact = f"Contact: <sip:{user}@{self.at};transport={transport.lower()}>\r\n"

    def read(self):
        return Message(self.way.read())

    def send(self, method, uri, dialog, number, more="", body=""):
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.way.send(
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{self.transport} {self.at};rport;branch=z9hG4bK{os.urandom(8).hex()}\r\n"
            f"{dialog}CSeq: {number} {method}\r\nMax-Forwards: 70\r\n{self.contact}{more}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}")

    def ask(self, method, uri, to, body=""):
        """Asks, proves who asks where that is wanted, and returns the last answer."""
        self.dialog = (f"From: <{self.aor}>;tag={os.urandom(4).hex()}\r\nTo: <{to}>\r\n"
                       f"Call-ID: {os.urandom(8).hex()}\r\n")
        self.number += 1
        self.send(method, uri, self.dialog, self.number, body=body)
        answer = self.final()
        if answer.status in AUTHORIZATIONS:
            if method == "INVITE":
                self.acknowledge(uri, answer)
            asked, name = AUTHORIZATIONS[answer.status]
            proof = self.proof(answer[asked], method, uri)
            self.number += 1
            self.send(method, uri, self.dialog, self.number, f"{name}: {proof}\r\n", body)
            answer = self.final() if method != "INVITE" else None
        return answer

    def acknowledge(self, uri, answer):
        dialog = re.sub("To: .*\r\n", f"To: {answer['to']}\r\n", self.dialog)
        self.way.send(
            f"ACK {uri} SIP/2.0\r\nVia: {answer['via'].split(';received')[0]}\r\n{dialog}"
            f"CSeq: {self.number} ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")

    def final(self):
        while True:
            answer = self.read()
            if answer.status and answer.status >= 200:
                return answer

    def proof(self, challenge, method, uri):
        words = dict(re.findall(r'(\w+)="?([^",]+)', challenge))
        assert words.get("algorithm", "MD5") == "MD5", challenge

        def md5(text):
            return hashlib.md5(text.encode()).hexdigest()
        secret = md5(f"{self.user}:{words['realm']}:{self.password}")
        response = md5(f"{secret}:{words['nonce']}:00000001:abcd:auth:{md5(f'{method}:{uri}')}")
        return (f'Digest username="{self.user}", realm="{words["realm"]}", nonce="{words["nonce"]}", uri="{uri}", '
                f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="abcd"')

    def registers(self):
        return self.ask("REGISTER", "sip:example.org", self.aor)

    def answers(self, request, status, body=""):
        copied = "".join(f"{name}: {value}\r\n" for name in ("via", "from", "call-id", "cseq")
                         for value in request.all(name))
        tag = "" if ";tag=" in request["to"] else f";tag={self.user}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.way.send(f"SIP/2.0 {status} Said\r\n{copied}to: {request['to']}{tag}\r\n{self.contact}{kind}"
                      f"Content-Length: {len(body)}\r\n\r\n{body}")

    def hears(self, method):
        request = self.read()
        assert request.first.startswith(method), request.first
        return request

    def sdp(self):
        host = self.at.split(":")[0]
        return (f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
                "m=audio 40000 RTP/AVP 0\r\n")
