#!/usr/bin/env bash
# Good callers while the server is attacked, on loopback only: garbage, REGISTERs without credentials from one
# address and from a crowd of them, and connections that are opened and left. No call of a good caller may fail.
# As of client-tests: REFORK is the server's path, WORK an empty folder.
# ATTACK_SECONDS (6) is how long each attack lasts, ATTACK_RATE (1) multiplies it; names of attacks as
# arguments run only those.
# Runs alone: good callers would be late for what others do.
set -euo pipefail
exec python3 "$(dirname "$0")/attack/run.py" "$@"
