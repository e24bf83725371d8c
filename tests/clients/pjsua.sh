#!/usr/bin/env bash
# Phones of PJSIP's library call, text, hold and transfer through Refork; one of a call is killed, or frozen, and
# the other phone of the same person goes on.
set -euo pipefail
FAMILY=pjsua
# Fetched once, before the namespaces that have no way out.
if [ ! -d "$WORK/modules" ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary=:all: \
    --target "$WORK/modules" pjsua2-python==2.15.1.post1
fi
source "$(dirname "$0")/common/namespaces.sh" "$@"
