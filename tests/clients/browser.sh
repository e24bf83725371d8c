#!/usr/bin/env bash
# Phones in pages of a headless Chromium (JsSIP and SIP.js) call and text through Refork over secure WebSockets, DTLS
# and ICE from end to end; the called page crashes, or is closed, and the person's other page goes on.
set -euo pipefail
FAMILY=browser
# Fetched once, before the namespaces that have no way out.
if [ ! -d "$WORK/modules" ]; then
  mkdir "$WORK/modules"
  cp "$(dirname "$0")"/browser/{package.json,package-lock.json,phone.js,pages.mjs} "$WORK/modules"
  (cd "$WORK/modules" && npm ci --ignore-scripts --no-audit --no-fund --silent &&
    node_modules/.bin/esbuild phone.js --bundle --format=iife --outfile=bundle.js --log-level=warning)
fi
source "$(dirname "$0")/common/namespaces.sh" "$@"
