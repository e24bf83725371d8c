#!/usr/bin/env bash
# Phones of PJSIP's library call, text, hold and transfer through Refork; one of a call is killed, or frozen, and
# the other phone of the same person goes on.
set -euo pipefail
FAMILY=pjsua
# Fetched once, before the namespaces that have no way out.
bash "$(dirname "$0")/pjsua/fetch" "$WORK/modules"
source "$(dirname "$0")/common/namespaces.sh" "$@"
