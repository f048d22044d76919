#!/usr/bin/env bash
# The browser tests need Chromium, which no pip package carries. Installs Debian's where this user may.
set -euo pipefail
if command -v chromium >/dev/null; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The browser tests need Chromium and this user cannot install it." >&2
  echo "Install it (Debian, Ubuntu: sudo apt-get install chromium) and run make test-slow again." >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
