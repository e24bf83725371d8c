#!/usr/bin/env bash
# Phones (baresip) register with Kamailio through Refork and call each other by it; the called one is killed,
# and another phone of the same person goes on. As baresip.sh.
set -euo pipefail
FAMILY=kamailio
source "$(dirname "$0")/common/namespaces.sh" "$@"
