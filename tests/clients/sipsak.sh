#!/usr/bin/env bash
# sipsak asks whether the server is there, registers with digest, and sends a text.
# As of client-tests: REFORK is the server's path, WORK an empty folder.
set -euo pipefail
exec python3 "$(dirname "$0")/sipsak/run.py"
