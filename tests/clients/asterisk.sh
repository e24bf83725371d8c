#!/usr/bin/env bash
# Phones (pjsua2) register with Asterisk through Refork, call each other by it and pass calls on; one of a call is
# killed, and the other phone of the same person goes on. Skipped where no Asterisk can be had.
set -euo pipefail
FAMILY=asterisk
here=$(cd "$(dirname "$0")" && pwd)
# Fetched once, before the namespaces that have no way out.
if [ -z "${ASTERISK:-}" ]; then
  ASTERISK=$(dirname "$(dirname "$REFORK")")/asterisk
  bash "$here/../bootstrap/asterisk" "$ASTERISK" || exit $?
  export ASTERISK
  bash "$here/pjsua/fetch" "$WORK/modules"
fi
source "$here/common/namespaces.sh" "$@"
