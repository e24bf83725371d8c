"""Pages of a headless Chromium as phones over secure WebSockets: a call, texts, and a page that is lost."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

from refork import Refork, wait_until  # noqa: E402

WORK = Path(os.environ["WORK"])
MODULES = WORK / "modules"
SERVER = "wss://10.99.0.1:8443"
ALICE, BOB, CAROL = (f"sip:{user}@example.org" for user in ("alice", "bob", "carol"))
CONFIG = """
node: {{ name: clients, workers: 2, data_dir: {data} }}
listen: [wss://10.99.0.1:8443]
tls: {{ certificate: {folder}/cert.pem, key: {folder}/key.pem }}
domains:
  example.org:
    realm: example.org
    registrar: {{ auth: users }}
users:
  sip:alice@example.org: {{ password: alice-secret }}
  sip:bob@example.org: {{ password: bob-secret }}
  sip:carol@example.org: {{ password: carol-secret }}
detect:
  grace: 2s
  probe: {{ interval: 15s, timeout: 1s, tries: 2 }}
restore:
  same_first_for: {{ audio: 1s, message: 1s }}
media: {{ mode: direct }}
admin: {{ listen: "127.0.0.1:8080", token: null }}
timers: {{ t1: 100ms, t2: 1s, t4: 1s }}
log: {{ level: debug, format: text }}
"""


class Pages:
    """The browser; an answer is waited for by its number."""

    def __init__(self, folder):
        self.answers, self.numbers = {}, itertools.count()
        self.errors = open(folder / "browser.log", "w")
        self.process = subprocess.Popen(
            ["node", str(MODULES / "pages.mjs"), str(MODULES / "bundle.js"), str(folder / "profile"),
             shutil.which("chromium")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, "HOME": str(folder)})
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            self.answers[answer.pop("id")] = answer

    def ask(self, page, act, *parts, seconds=30):
        number = next(self.numbers)
        line = json.dumps({"id": number, "page": page, "act": act, "with": parts})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

        def answered():
            assert self.process.poll() is None, "the browser ended"
            return self.answers.pop(number, None)
        answer = wait_until(f"{page}: {act}", answered, seconds)
        assert "error" not in answer, f"{page}: {act}: {answer['error']}"
        return answer["answer"]

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


class Stage:
    """A server, and pages at it."""

    def __init__(self, name):
        self.folder = WORK / name
        self.folder.mkdir(parents=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=10.99.0.1", "-addext", "subjectAltName=IP:10.99.0.1"],
            cwd=self.folder, check=True, capture_output=True)
        self.server = Refork(str(self.folder), CONFIG.format(
            data=self.folder / "data", folder=self.folder), "127.0.0.1:8080")
        self.pages = Pages(self.folder)
        self.registered = 0

    def phone(self, page, user, library="sip.js", answers=True):
        self.pages.ask(page, "open")
        self.pages.ask(page, "start", {
            "user": user, "password": f"{user}-secret", "server": SERVER, "library": library, "answers": answers,
            "instance": f"00000000-0000-4000-8000-{abs(hash(page)) % 10**12:012d}"})
        self.registered += 1
        wait_until(f"{page} is registered", lambda: self.server.metrics().get("refork_bindings") == self.registered, 10)

    def events(self, page, what):
        return [event["detail"] for event in self.pages.ask(page, "events") if event["what"] == what]

    def wait_for(self, page, what, times=1, seconds=20):
        wait_until(f"{page}: {what}", lambda: len(self.events(page, what)) >= times, seconds)

    def hears(self, page, packets=50):
        """Waits until so much more audio has come."""
        before = self.pages.ask(page, "media")["heard"]
        wait_until(f"{page} hears something", lambda: self.pages.ask(page, "media")["heard"] >= before + packets, 15)

    def hears_nothing(self, page):
        """Waits until no more audio comes."""
        def quiet():
            before = self.pages.ask(page, "media")["heard"]
            time.sleep(1)
            return self.pages.ask(page, "media")["heard"] == before
        wait_until(f"{page} hears nothing", quiet, 15)

    def stop(self):
        self.pages.end()
        self.server.kill()


def call_and_text(stage):
    """A call with audio end to end, texts within it and outside, both ways; one hangs up."""
    stage.phone("alice", "alice")
    stage.phone("bob", "bob")
    stage.pages.ask("alice", "call", BOB)
    for page in ("alice", "bob"):
        stage.wait_for(page, "established")
    for page in ("alice", "bob"):
        stage.hears(page)
    stage.pages.ask("alice", "textInCall", "can you read this?")
    stage.wait_for("bob", "text in call")
    stage.pages.ask("bob", "textInCall", "loud and clear: é, 日本")
    stage.wait_for("alice", "text in call")
    assert stage.events("alice", "text in call") == ["loud and clear: é, 日本"]
    stage.pages.ask("bob", "hangUp")
    stage.wait_for("alice", "ended")
    stage.pages.ask("alice", "text", BOB, "call me back")
    stage.wait_for("bob", "text")
    stage.pages.ask("bob", "text", ALICE, "later")
    stage.wait_for("alice", "text")
    assert (stage.events("alice", "text"), stage.events("bob", "text")) == (["later"], ["call me back"])
    stage.server.wait_for_rest()


def lost(stage, how):
    """Bob's page is lost in a call; his other page goes on, and Alice is told."""
    stage.phone("alice", "alice", library="jssip")
    stage.phone("bob-desk", "bob")
    stage.pages.ask("alice", "call", BOB)
    for page in ("alice", "bob-desk"):
        stage.wait_for(page, "established")
        stage.hears(page)
    stage.phone("bob-laptop", "bob")
    lost_at = time.monotonic()
    stage.pages.ask("bob-desk", how)
    stage.wait_for("bob-laptop", "established")
    print(f"    restored {time.monotonic() - lost_at:.1f} s after the loss")
    stage.wait_for("alice", "text")
    told = stage.events("alice", "text")
    print(f"    Alice reads: {told}")
    assert len(told) == 1 and "is continuing on" in told[0], told
    assert not stage.events("alice", "ended"), "Alice's call has ended"
    for page in ("alice", "bob-laptop"):
        stage.hears(page)
    assert len(stage.events("alice", "reinvited")) == 1, "direct media costs one re-INVITE"
    stage.pages.ask("alice", "hangUp")
    stage.wait_for("bob-laptop", "ended")
    stage.server.wait_for_rest()


def hold_and_resume(stage):
    """Each library holds and takes it back."""
    stage.phone("alice", "alice", library="jssip")
    stage.phone("bob", "bob")
    stage.pages.ask("alice", "call", BOB)
    for page in ("alice", "bob"):
        stage.wait_for(page, "established")
    for holder, held in (("bob", "alice"), ("alice", "bob")):
        stage.pages.ask(holder, "hold", True)
        stage.hears_nothing(holder)
        stage.pages.ask(holder, "hold", False)
        for page in (holder, held):
            stage.hears(page)
    stage.pages.ask("bob", "hangUp")
    stage.wait_for("alice", "ended")
    stage.server.wait_for_rest()


def transferred(stage, library, target):
    """Bob passes Alice's call on to Carol: by her address, or by the call that he has with her."""
    stage.phone("alice", "alice", library="jssip")
    stage.phone("bob", "bob", library=library)
    stage.phone("carol", "carol")
    stage.pages.ask("alice", "call", BOB)
    for page in ("alice", "bob"):
        stage.wait_for(page, "established")
        stage.hears(page)
    if not target:
        stage.pages.ask("bob", "call", CAROL)
        stage.wait_for("bob", "established", 2)
        stage.hears("carol")
    stage.pages.ask("bob", "refer", target)
    stage.wait_for("bob", "ended", 1 if target else 2)
    stage.wait_for("carol", "established")
    for page in ("alice", "carol"):
        stage.hears(page)
    assert not stage.events("alice", "ended"), "Alice's call has ended"
    assert len(stage.events("alice", "reinvited")) == 1, "direct media costs one re-INVITE"
    stage.pages.ask("alice", "hangUp")
    stage.wait_for("carol", "ended")
    stage.server.wait_for_rest()


def blind_transfer(stage):
    transferred(stage, "sip.js", CAROL)


def blind_transfer_by_jssip(stage):
    transferred(stage, "jssip", CAROL)


def attended_transfer(stage):
    transferred(stage, "sip.js", None)


def attended_transfer_by_jssip(stage):
    transferred(stage, "jssip", None)


def texts_over_a_loss(stage):
    """Alice writes while she talks; Bob's page crashes; his other one has what that had not, in order."""
    stage.phone("alice", "alice")
    stage.phone("bob-desk", "bob")
    stage.pages.ask("alice", "call", BOB)
    for page in ("alice", "bob-desk"):
        stage.wait_for(page, "established")
    stage.phone("bob-laptop", "bob")
    written = [f"text {number}" for number in range(8)]
    for number, text in enumerate(written):
        if number == 3:
            stage.wait_for("bob-desk", "text in call", 3)
            assert stage.events("bob-desk", "text in call") == written[:3]
            stage.pages.ask("bob-desk", "crash")
        if number == 7:
            stage.wait_for("bob-laptop", "established")
        stage.pages.ask("alice", "textInCall", text)
    stage.wait_for("bob-laptop", "text in call", 5)
    assert stage.events("bob-laptop", "text in call") == written[3:], stage.events("bob-laptop", "text in call")
    stage.wait_for("alice", "text in call")
    told = stage.events("alice", "text in call")
    assert len(told) == 1 and "is continuing on" in told[0], told
    stage.pages.ask("alice", "hangUp")
    stage.wait_for("bob-laptop", "ended")
    stage.server.wait_for_rest()


def page_crashed(stage):
    lost(stage, "crash")


def page_closed(stage):
    lost(stage, "close")


SCENARIOS = (call_and_text, page_crashed, page_closed, hold_and_resume, blind_transfer, blind_transfer_by_jssip,
             attended_transfer, attended_transfer_by_jssip, texts_over_a_loss)


def perform():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(scenario.__name__ for scenario in SCENARIOS))
        return 0
    results = []
    for scenario in SCENARIOS:
        name = scenario.__name__
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(f"-- {name}", flush=True)
        started, failure, stage = time.monotonic(), None, Stage(name)
        try:
            scenario(stage)
            stage.server.stop()
        except (AssertionError, OSError, subprocess.SubprocessError):
            failure = traceback.format_exc()
            for page in ("alice", "bob", "bob-desk", "bob-laptop", "carol"):
                try:
                    print(f"    {page}: {stage.pages.ask(page, 'events', seconds=2)} "
                          f"{stage.pages.ask(page, 'media', seconds=2)}")
                except (AssertionError, OSError):
                    pass
        finally:
            stage.stop()
        if failure:
            print(failure)
            print("    the server's last words:")
            with open(stage.server.log) as log:
                print("".join(f"    {line}" for line in log.readlines()[-40:]))
            print("    the browser's:")
            print("".join(f"    {line}" for line in open(stage.folder / "browser.log").readlines()[-20:]))
        results.append((name, failure is None))
        print(f"-- {name}: {'FAIL' if failure else 'PASS'} in {time.monotonic() - started:.1f} s", flush=True)
    for name, passed in results:
        print(f"{'PASS' if passed else 'FAIL'}  {name}")
    return 0 if results and all(passed for _, passed in results) else 1


sys.exit(perform())
