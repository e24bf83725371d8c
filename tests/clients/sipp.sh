#!/usr/bin/env bash
# SIPp calls through Refork: ordinary calls, and calls whose callee is killed or frozen.
# As of client-tests: REFORK is the server's path, WORK an empty folder. Names of scenarios as arguments
# run only those.
set -euo pipefail
exec python3 "$(dirname "$0")/sipp/run.py" "$@"
