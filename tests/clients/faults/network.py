"""What can happen to the cable of a phone, and how it is mended. Called in the server's namespace."""

import subprocess

BRIDGE = "10.99.0.1"


def run(*command):
    subprocess.run(command, check=True, timeout=20)


class Cable:
    """Between the server's bridge and one phone."""

    def __init__(self, namespace, phone, address):
        self.namespace, self.phone, self.address = namespace, phone, address
        # Where the phone is found after a change.
        self.other = address.rsplit(".", 1)[0] + ".1" + address.rsplit(".", 1)[1]

    def pull(self):
        """The phone sees that it has no link."""
        run("ip", "link", "set", self.phone, "down")

    def plug(self):
        run("ip", "link", "set", self.phone, "up")

    def drop(self):
        """Nothing passes, in either direction, and nobody is told."""
        run("bridge", "link", "set", "dev", self.phone, "state", "0")

    def carry(self):
        run("bridge", "link", "set", "dev", self.phone, "state", "3")

    def change_address(self):
        """The phone's host has another address, and the old one no more."""
        place = ("ip", "-n", f"{self.namespace}-{self.phone}")
        run(*place, "address", "del", f"{self.address}/24", "dev", "eth0")
        run(*place, "address", "add", f"{self.other}/24", "dev", "eth0")
        run(*place, "route", "replace", "default", "via", BRIDGE)

    def stay(self):
        """Nothing is to be mended."""
