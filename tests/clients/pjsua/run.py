"""pjsua2 to pjsua2 through Refork: calls, holds, transfers and texts; one phone of a call is lost, another goes on."""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
sys.path.insert(0, str(HERE))

import acts  # noqa: E402
from household import perform  # noqa: E402
from loss import HOUSEHOLD, lost, texts_over_a_loss  # noqa: E402
from phone import Phone  # noqa: E402


def killed(stage):
    lost(stage, signal.SIGKILL)


def frozen_over_tcp(stage):
    lost(stage, signal.SIGSTOP)


def caller_killed_over_tls(stage):
    # Nothing is in the clear: keys that cross by SIP are worth as much as it.
    lost(stage, signal.SIGKILL, "desk", ("INVITE", "ACK"), encrypt=dict.fromkeys(HOUSEHOLD, True))


SCENARIOS = (killed, frozen_over_tcp, caller_killed_over_tls, texts_over_a_loss, acts.over("tls", acts.calls_both_ways),
             acts.hold_and_resume, acts.blind_transfer, acts.attended_transfer, acts.semi_attended_transfer,
             acts.over("tls", acts.attended_transfer), acts.digits, acts.texts, acts.early_media)
sys.exit(perform(SCENARIOS, Phone))
