"""The table of all scenarios that were played: report.py FOLDER."""

import json
import sys
from pathlib import Path

FAULTS = {"cable": "cable pulled", "drops_3": "3 s of drops", "drops_8": "8 s of drops", "drops_30": "30 s of drops",
          "address": "another address"}
HEAD = ("the network", "the phone", "with", "first sign", "lost", "INVITE", "to the mobile", "speech again",
        "Alice hears none for", "no packet for", "Alice is asked for", "the lost phone is left without a call")


def seconds(value):
    return "–" if value is None else f"{value:.1f}"


def row(result):
    kept = result["outcome"] == "kept"
    sign = result["signal"] or "none"
    return (FAULTS[result["fault"]], result["how"], result["client"],
            f"{seconds(result['suspected'])} {sign}", "no" if result["lost"] is None else seconds(result["lost"]),
            seconds(result.get("invited")), seconds(result.get("mobile")), seconds(result["speech"]),
            seconds(result["silent"]), seconds(result["pause"]), ", ".join(result["asked"]) or "nothing",
            "keeps it" if kept else result["left"])


def main(folder):
    results = [json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")]
    order = list(FAULTS)
    results.sort(key=lambda result: (order.index(result["fault"]), result["how"] != "running", result["how"],
                                     result["client"]))
    for cells in (HEAD, ["---"] * len(HEAD), *map(row, results)):
        print("| " + " | ".join(cells) + " |")


main(sys.argv[1])
