#!/usr/bin/env bash
# Phones of different makes (baresip, linphone, pjsua2) call each other through Refork, hold, text and pass calls on;
# one is lost, and one of another make goes on.
set -euo pipefail
FAMILY=mixed
here=$(cd "$(dirname "$0")" && pwd)
# Fetched once, before the namespaces that have no way out.
bash "$here/pjsua/fetch" "$WORK/modules"
source "$here/common/namespaces.sh" "$@"
