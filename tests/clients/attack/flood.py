"""One attacker: flood.py KIND SERVER-ADDRESS PORT OWN-ADDRESS PER-SECOND SECONDS. Prints how much it did.

It is bounded in rate and time, and refuses to leave loopback."""

import random
import socket
import sys
import time

KIND, SERVER, PORT, OWN = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
RATE, SECONDS = float(sys.argv[5]), float(sys.argv[6])
HELD_MAX = 150
CROWD = 400
SLICE = 0.01


def paced(act):
    """Calls `act` RATE times a second for SECONDS, in slices; what cannot be kept up with is left out."""
    begun, done = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < SECONDS:
        for _ in range(max(0, int(passed * RATE) - done)):
            act(done)
            done += 1
            if time.monotonic() - begun >= SECONDS:
                break
        time.sleep(SLICE)
    return done


def datagrams():
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    for one in sockets:
        one.bind((OWN, 0))
        one.setblocking(False)
    return sockets


def garbage():
    sockets, chance = datagrams(), random.Random(1)
    heaps = [bytes(chance.randrange(256) for _ in range(chance.randrange(20, 900))) for _ in range(50)]
    heaps += [b"INVITE sip:a@b SIP/2.0\r\n" + b"Via: SIP/2.0/UDP x;branch=z9hG4bK1\r\n" * 300 + b"\r\n",
              b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKrf000000000000000000\r\n\r\n"]

    def act(number):
        send(sockets[number % len(sockets)], heaps[number % len(heaps)])
    return act


def crowd():
    """Many addresses, none of which sends more than it may."""
    sockets = []
    for number in range(CROWD):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((f"127.{random.randrange(100, 250)}.{number // 200}.{number % 200 + 1}", 0))
        one.setblocking(False)
        sockets.append(one)
    return registers(sockets)


def registers(sockets=None):
    sockets = sockets or datagrams()
    at = [one.getsockname() for one in sockets]

    def act(number):
        place = number % len(sockets)
        address, port = at[place]
        text = (f"REGISTER sip:guarded.example SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {address}:{port};branch=z9hG4bK{number};rport\r\n"
                f"From: <sip:user{number}@guarded.example>;tag={number}\r\nTo: <sip:user{number}@guarded.example>\r\n"
                f"Call-ID: {number}-{OWN}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n"
                f"Contact: <sip:user{number}@{address}:{port}>\r\nContent-Length: 0\r\n\r\n")
        send(sockets[place], text.encode())
        try:
            while True:
                sockets[place].recv(4096)
        except (BlockingIOError, ConnectionRefusedError):
            pass
    return act


def connections():
    held = []

    def act(number):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.bind((OWN, 0))
        one.setblocking(False)
        one.connect_ex((SERVER, PORT))
        try:
            # Some begin a message and never end it.
            if number % 3:
                one.send(b"INVITE sip:slow@example.org SIP/2.0\r\nVia: ")
        except OSError:
            pass
        held.append(one)
        if len(held) > HELD_MAX:
            held.pop(0).close()
    return act


def send(one, text):
    try:
        one.sendto(text, (SERVER, PORT))
    except (BlockingIOError, ConnectionRefusedError):
        pass


assert SERVER.startswith("127.") and OWN.startswith("127."), "loopback only"
print(paced({"garbage": garbage, "registers": registers, "connections": connections, "crowd": crowd}[KIND]()))
