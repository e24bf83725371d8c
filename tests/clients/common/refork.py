"""The server under test: started on a configuration, asked by HTTP, ended by SIGTERM."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request

GAUGES_OF_WORK = (
    "refork_conversations", "refork_legs", "refork_messages_waiting", "refork_transactions",
    "refork_relay_sessions",
)


def wait_until(what, condition, seconds=30.0):
    """Waits for a condition, and returns what it returns; fails with `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)


def loopback_net():
    """Returns a random 127.x.y: nobody else's ports are there."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"


def free_port(address, kind=socket.SOCK_DGRAM):
    """Returns a port that is free at this moment, even and with a free one above it."""
    for _ in range(200):
        port = random.randrange(30000, 60000, 2)
        try:
            for number in (port, port + 1):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind((address, number))
            return port
        except OSError:
            continue
    raise AssertionError(f"no free port at {address}")


class Refork:
    """One server process, in a network namespace if one is named."""

    def __init__(self, folder, config, admin, namespace=None):
        os.makedirs(folder, exist_ok=True)
        self.admin = admin
        self.log = os.path.join(folder, "refork.log")
        self.prefix = ["ip", "netns", "exec", namespace] if namespace else []
        file = os.path.join(folder, "refork.yaml")
        with open(file, "w") as out:
            out.write(config)
        command = self.prefix + [os.environ["REFORK"], "run", "-c", file]
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=folder,
                env={**os.environ, "NO_COLOR": "1"})
        try:
            wait_until("the server is ready", self.is_ready)
        except AssertionError:
            self.kill()
            raise AssertionError(open(self.log).read()) from None

    def get(self, path):
        """Asks the admin interface."""
        url = f"http://{self.admin}{path}"
        if self.prefix:
            return subprocess.run(
                self.prefix + ["python3", "-c", "import sys,urllib.request as r;"
                               "print(r.urlopen(sys.argv[1],timeout=5).read().decode(),end='')", url],
                check=True, capture_output=True, text=True, timeout=15).stdout
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}")
        try:
            return self.get("/readyz").startswith("ready")
        except (OSError, subprocess.SubprocessError):
            return False

    def conversations(self):
        return json.loads(self.get("/api/v1/conversations"))["conversations"]

    def hang_up(self, conversation):
        """Ends a conversation by the operator's order."""
        order = urllib.request.Request(f"http://{self.admin}/api/v1/conversations/{conversation}", method="DELETE")
        urllib.request.urlopen(order, timeout=5).close()

    def metrics(self):
        """Returns the sums of all series by name."""
        sums = {}
        for line in self.get("/metrics").splitlines():
            found = re.match(r"(\w+)(?:\{.*\})? (\S+)$", line)
            if found:
                sums[found[1]] = sums.get(found[1], 0.0) + float(found[2])
        return sums

    def standing(self):
        """Returns the gauges of work in progress that are not zero."""
        sums = self.metrics()
        return {name: sums[name] for name in GAUGES_OF_WORK if sums.get(name)}

    def wait_for_rest(self, seconds=60.0):
        """Waits until nothing is left of the last conversation."""
        try:
            wait_until("all gauges are zero", lambda: not self.standing(), seconds)
        except AssertionError:
            raise AssertionError(f"left behind: {self.standing()}") from None

    def stop(self):
        """Drains the server; fails where it did not end well, or logged an error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not end within 20 s of SIGTERM") from None
        errors = [line for line in open(self.log) if " ERROR " in line or "panicked" in line]
        if errors:
            raise AssertionError("the server logged errors:\n" + "".join(errors))
        if self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}")

    def kill(self):
        """Ends the process, if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
