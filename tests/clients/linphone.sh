#!/usr/bin/env bash
# Phones (linphone-daemon) call and text through Refork; the called one is killed, or frozen, and the other phone
# of the same person goes on. Judged from a capture at the survivor.
set -euo pipefail
FAMILY=linphone
source "$(dirname "$0")/common/namespaces.sh" "$@"
