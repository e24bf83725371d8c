#!/usr/bin/env bash
# Phones (baresip) call through Refork; one of a call is killed, or frozen, and the other phone of the same
# person goes on. Judged from a capture at the survivor.
set -euo pipefail
FAMILY=baresip
source "$(dirname "$0")/common/namespaces.sh" "$@"
