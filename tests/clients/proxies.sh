#!/usr/bin/env bash
# HAProxy and nginx in front of the server, in the configurations of docs/proxies.md, on loopback.
# As of client-tests: REFORK is the server's path, WORK an empty folder.
set -euo pipefail
exec python3 "$(dirname "$0")/proxies/run.py" "$@"
