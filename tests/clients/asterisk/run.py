"""pjsua2 behind Refork, in front of Asterisk: registered through it, called both ways, transferred, lost and replaced."""

import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE.parent / "pjsua"))

import acts  # noqa: E402
import household  # noqa: E402
from household import PBX_BEHIND, perform  # noqa: E402
from loss import lost  # noqa: E402
from phone import Phone  # noqa: E402
from refork import Refork, wait_until  # noqa: E402

ASTERISK = "10.99.0.1:5080"
ROOT = Path(os.environ["ASTERISK"])


class Asterisk:
    """The PBX."""

    def __init__(self, folder, path):
        self.folder = folder / "asterisk"
        self.folder.mkdir()
        words = {"ADDRESS": ASTERISK, "FOLDER": self.folder, "MODULES": ROOT / "usr/lib/asterisk/modules",
                 "DATA": ROOT / "usr/share/asterisk", "PATH": "yes" if path else "no",
                 # By the Contacts of all phones it would not go by their Path.
                 "PHONES": "PJSIP/${EXTEN}" if path else "${PJSIP_DIAL_CONTACTS(${EXTEN})}"}
        for file in (HERE / "etc").iterdir():
            text = file.read_text()
            for word, value in words.items():
                text = text.replace(f"@{word}@", str(value))
            (self.folder / file.name).write_text(text)
        libraries = sorted({str(file.parent) for file in (ROOT / "usr/lib").rglob("*.so.*")})
        with open(self.folder / "out", "w") as out:
            self.process = subprocess.Popen(
                [str(ROOT / "usr/sbin/asterisk"), "-f", "-n", "-C", str(self.folder / "asterisk.conf")],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
                env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)})
        wait_until("Asterisk listens", self.listens, 60)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "out").read_text())
        listening = subprocess.run(["ss", "-Hlun", "sport", "=", ":5080"], capture_output=True, text=True)
        return listening.stdout

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Stage(household.Stage):
    """Refork in front of Asterisk, and phones behind it."""

    # It plays music of its own to who is held.
    holds_cross = False

    def __init__(self, name, make):
        self.make, self.transport = make, "udp"
        self.folder = household.WORK / name
        self.folder.mkdir(parents=True, exist_ok=True)
        path = name.startswith("with_path")
        self.phones, self.captures = {}, []
        self.pbx = Asterisk(self.folder, path)
        try:
            self.server = Refork(str(self.folder), PBX_BEHIND.format(
                data=self.folder / "data", path="path" if path else "contact"), household.ADMIN)
        except AssertionError:
            self.pbx.stop()
            raise

    def beyond(self, name):
        """A phone that registers with Asterisk itself."""
        user = household.USERS[name]
        phone = self.make(self.folder, f"{household.NAMESPACE}-{name}", name, household.ADDRESSES[name], user,
                          household.secret(user), ASTERISK, True, self.transport)
        self.phones[name] = phone
        phone.start()
        phone.wait_for("registered")
        self.past += 1
        return phone

    def seen(self, name, capture):
        for at in self.captures:
            past = at.fields("udp.port == 5080", ["frame.number"])
            assert not past, f"{at.address} and Asterisk spoke past Refork"
        return super().seen(name, capture)

    def stop(self):
        super().stop()
        self.pbx.stop()


def killed(stage):
    lost(stage, signal.SIGKILL)


def caller_killed(stage):
    lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"))


def beyond_passes_on(stage):
    acts.lost_after_transfer(stage, stage.beyond, joins=None)


def beyond_joins(stage):
    acts.lost_after_transfer(stage, stage.beyond, lambda phone: phone.joins())


def with_path(act):
    """Returns an act played with what is for a phone coming by its Path."""
    def played(stage):
        act(stage)
    played.__name__ = f"with_path_{act.__name__}"
    return played


SCENARIOS = (killed, caller_killed, acts.calls_both_ways, acts.blind_transfer, acts.attended_transfer, acts.texts,
             beyond_passes_on, beyond_joins, with_path(acts.calls_both_ways), with_path(killed))
sys.exit(perform(SCENARIOS, Phone, Stage))
