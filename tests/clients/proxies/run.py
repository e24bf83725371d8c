"""HAProxy and nginx in front of the server, in the configurations of docs/proxies.md with other addresses:
phones and browsers are told apart by their own addresses, and nobody else says who it is."""

import json
import os
import re
import socket
import subprocess
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import certificates  # noqa: E402
from phone import Closed, Phone, Refused, Stream, WebSocket, connect  # noqa: E402
from refork import Refork, free_port, loopback_net, wait_until  # noqa: E402

WORK = Path(os.environ["WORK"])
PAGE = (HERE.parents[2] / "docs" / "proxies.md").read_text()
USERS = ("alice", "bob", "carol")
FORGED = "192.0.2.1"
GUESSES = 5
REST = """
node: {{ name: proxied, workers: 1, data_dir: {data} }}
domains:
  example.org: {{ registrar: {{ auth: users }} }}
users:
{users}
bans: {{ after: {guesses} }}
admin: {{ listen: "{admin}", token: null }}
log: {{ level: info, format: text }}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def shown(language, words):
    """Returns the configuration that the page shows, with other words."""
    text, = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    for word, other in words.items():
        text = text.replace(word, other)
    return text


class House:
    """The server, with both proxies in front of it."""

    def __init__(self):
        self.net = loopback_net()
        outside, inside = f"{self.net}.2", f"{self.net}.1"
        ports = {port: free_port(outside, socket.SOCK_STREAM) for port in ("5061", "5062", "443")}
        self.ended, self.passed, self.web = ((outside, ports[port]) for port in ports)
        listens = {port: free_port(inside, socket.SOCK_STREAM) for port in ("5070", "5071", "5080")}
        self.behind, _, self.web_behind = ((inside, listens[port]) for port in listens)
        certificates.make(WORK, outside)
        pem = (WORK / "certificate.pem").read_text() + (WORK / "key.pem").read_text()
        (WORK / "phone.pem").write_text(pem)
        words = {f"203.0.113.5:{port}": f"{outside}:{other}" for port, other in ports.items()}
        words |= {f"127.0.0.1:{port}": f"{inside}:{other}" for port, other in listens.items()}
        words |= {"203.0.113.5": outside}
        words |= {f"/etc/{program}": str(WORK) for program in ("refork", "haproxy", "nginx")}
        admin = f"127.0.0.1:{free_port('127.0.0.1', socket.SOCK_STREAM)}"
        users = "\n".join(f"  sip:{user}@example.org: {{ password: {user}-secret }}" for user in USERS)
        self.proxies = []
        self.server = Refork(str(WORK / "server"), shown("yaml", words) + REST.format(
            data=WORK / "data", users=users, guesses=GUESSES, admin=admin), admin)
        haproxy, nginx = WORK / "haproxy.cfg", WORK / "nginx.conf"
        haproxy.write_text(shown("haproxy", words))
        nginx.write_text(NGINX.format(folder=WORK, server=shown("nginx", words)))
        try:
            self.start("haproxy", "-db", "-f", str(haproxy))
            self.start("nginx", "-p", str(WORK), "-e", str(WORK / "nginx.errors"), "-c", str(nginx))
            for at in (self.ended, self.passed, self.web):
                wait_until(f"a proxy listens at {at}", lambda at=at: self.listens(at))
        except BaseException:
            self.kill()
            raise

    def start(self, *command):
        path = os.environ["PATH"] + ":/usr/sbin"
        with open(WORK / f"{command[0]}.out", "w") as out:
            self.proxies.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=WORK,
                                                 env={**os.environ, "PATH": path}))

    def listens(self, at):
        for one in self.proxies:
            if one.poll() is not None:
                raise AssertionError(f"{one.args[0]} ended: {(WORK / f'{one.args[0]}.out').read_text()}")
        try:
            socket.create_connection(at, 1).close()
            return True
        except ConnectionRefusedError:
            return False

    def kill(self):
        for one in self.proxies:
            one.terminate()
        for one in self.proxies:
            try:
                one.wait(5)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        self.server.kill()

    def phone(self, user, number, at, secret=None, transport="TLS"):
        way = Stream(connect(f"{self.net}.{number}", at, WORK / "ca.pem"))
        return Phone(user, secret or f"{user}-secret", way, transport)

    def browser(self, user, number, more="Origin: https://phone.example.org\r\n", at=None):
        authority = None if at else WORK / "ca.pem"
        connection = connect(f"{self.net}.{number}", at or self.web, authority)
        return Phone(user, f"{user}-secret", WebSocket(connection, "phone.example.org", more), "WSS")

    def asked(self, what, query=""):
        return json.loads(self.server.get(f"/api/v1/{what}{query}"))[what]

    def counted(self, series):
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.server.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0


def registered(house, phone, transport, port=True):
    """Registers a phone: the answer and the API name its own address."""
    answer = phone.registers()
    assert answer.status == 200, answer.first
    ip = phone.at.split(":")[0]
    assert f"received={ip}" in answer["via"], answer["via"]
    flow, = [one["flow"] for one in house.asked("bindings") if one["contact"].startswith(f"sip:{phone.user}@{phone.at}")]
    assert flow == f"{transport}:{phone.at}" or not port and flow.startswith(f"{transport}:{ip}:"), flow
    print(f"    {phone.user} at {phone.at} is {flow}", flush=True)


def call(house, caller, callee, contacts):
    """One calls the other, and hangs up; each is told a Contact that leads to the proxy."""
    uri, sdp = f"sip:{callee.user}@example.org", caller.sdp()
    challenged = caller.ask("INVITE", uri, uri, sdp)
    came = callee.hears("INVITE")
    assert contacts[1] in came["contact"], came["contact"]
    callee.answers(came, 200, callee.sdp())
    answer = challenged or caller.final()
    assert answer.status == 200, answer.first
    assert contacts[0] in answer["contact"], answer["contact"]
    for body in (came.body, answer.body):
        assert f"c=IN IP4 {house.ended[0]}" in body, body
    target = re.search("<(.*)>", answer["contact"])[1]
    dialog = re.sub("To: .*\r\n", f"To: {answer['to']}\r\n", caller.dialog)
    caller.send("ACK", target, dialog, caller.number)
    callee.hears("ACK")
    conversation, = house.asked("conversations", "?state=established")
    legs = json.loads(house.server.get(f"/api/v1/conversations/{conversation['id']}"))["legs"]
    assert {leg["flow"].split(":", 1)[1] for leg in legs} == {caller.at, callee.at}, legs
    caller.send("BYE", target, dialog, caller.number + 1)
    callee.answers(callee.hears("BYE"), 200)
    assert caller.final().status == 200
    wait_until("the call is over", lambda: not house.counted("refork_legs"))


def phones_behind_haproxy(house):
    """Two phones register and call, one over TLS that ends at HAProxy, one over TLS that ends here."""
    alice = house.phone("alice", 11, house.ended)
    bob = house.phone("bob", 12, house.passed)
    registered(house, alice, "tcp")
    registered(house, bob, "tls")
    ended, passed = ("{}:{}".format(*at) for at in (house.ended, house.passed))
    call(house, alice, bob, (f"@{ended};transport=tls", f"@{passed};transport=tls"))
    call(house, bob, alice, (f"@{passed};transport=tls", f"@{ended};transport=tls"))


def browsers_behind_nginx(house):
    """A browser is its own address, whatever it says; what is no proxy is not believed; pages must be listed."""
    forged = f"X-Forwarded-For: {FORGED}\r\n"
    listed = "Origin: https://phone.example.org\r\n"
    registered(house, house.browser("carol", 21), "ws", port=False)
    registered(house, house.browser("carol", 22, listed + forged), "ws", port=False)
    registered(house, house.browser("carol", 23, listed + forged, house.web_behind), "ws")
    try:
        house.browser("carol", 21, "Origin: https://elsewhere.example\r\n")
        raise AssertionError("a page of another origin opened a WebSocket")
    except Refused as refused:
        assert refused.args == (403,), refused
    assert house.counted('refork_handshakes_failed_total{reason="origin"}') == 1


def nobody_comes_past_haproxy(house):
    """Who is no proxy, but speaks as one, is turned away, and a proxy that does not say who comes as well."""
    def turned_away(number, series, said):
        before = house.counted(series)
        stranger = Stream(connect(number and f"{house.net}.{number}" or "127.0.0.1", house.behind))
        try:
            stranger.send(said)
            stranger.more()
            raise AssertionError(f"was answered: {stranger.bytes}")
        except Closed:
            pass
        wait_until("it is counted", lambda: house.counted(series) == before + 1)
    turned_away(31, 'refork_connections_refused_total{reason="not_a_proxy"}', f"PROXY TCP4 {FORGED} 127.0.0.1 4000 5070\r\n")
    turned_away(None, 'refork_handshakes_failed_total{reason="proxy"}', "OPTIONS sip:a@example.org SIP/2.0\r\n")


def one_guesses_and_the_others_go_on(house):
    """Who guesses passwords is shut out behind either proxy, and nobody else is."""
    alice = house.phone("alice", 11, house.ended)
    guesser = house.phone("bob", 41, house.ended, "wrong")
    for _ in range(GUESSES - 1):
        assert guesser.registers().status in (401, 403)
    try:
        guesser.registers()
    except Closed:
        pass
    banned = wait_until("who guesses is shut out", lambda: house.asked("bans"))
    assert [ban["source"] for ban in banned] == [f"{house.net}.41"], banned
    for door in (house.ended, house.passed):
        try:
            house.phone("bob", 41, door).registers()
            raise AssertionError(f"who is shut out was answered at {door}")
        except (Closed, OSError):
            pass
    try:
        house.browser("bob", 41).registers()
        raise AssertionError("who is shut out was answered over a WebSocket")
    except (Closed, Refused, OSError):
        pass
    registered(house, alice, "tcp")
    registered(house, house.phone("bob", 12, house.passed), "tls")
    registered(house, house.browser("carol", 21), "ws", port=False)


def main():
    house, failed = House(), []
    try:
        for act in (phones_behind_haproxy, browsers_behind_nginx, nobody_comes_past_haproxy,
                    one_guesses_and_the_others_go_on):
            print(f"-- {act.__name__}", flush=True)
            try:
                act(house)
            except Exception:
                traceback.print_exc()
                failed.append(act.__name__)
        house.server.stop()
    finally:
        house.kill()
    print(f"FAIL: {failed}" if failed else "PASS")
    return 1 if failed else 0


sys.exit(main())
