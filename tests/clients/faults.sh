#!/usr/bin/env bash
# The network of a phone fails while it talks, and the phone with it or not: how soon that is noticed, who is
# invited, when there is audio again, and what the other side's phone saw of it. baresip and SIPp, with the
# server's own defaults. `--report` prints the table alone.
set -euo pipefail
FAMILY=faults
folder=$(cd "$(dirname "$0")" && pwd)/faults
if [ "${1:-}" = --report ]; then
  shift
  bash "$0" "$@" >"$WORK/said" || { cat "$WORK/said" >&2; exit 1; }
  exec python3 "$folder/report.py" "$WORK"
fi
# They are mostly waiting, but what they wait for is timed.
cores=$(nproc)
export AT_ONCE=${AT_ONCE:-$((cores < 4 ? 2 * cores : 8))}
[ "$#" = 1 ] || trap 'ended=$?; python3 "$folder/report.py" "$WORK"; exit $ended' EXIT
source "$(dirname "$0")/common/namespaces.sh" "$@"
