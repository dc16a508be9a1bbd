#!/usr/bin/env bash
# The browser for the page's tests: Debian's chromium with Chinese letters, where nothing of the kind is there yet.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "[browser] no chromium here, and it takes root and apt to install it: the page's browser tests are skipped" >&2
    exit 0
fi
echo "[browser] installing chromium" >&2
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends chromium fonts-noto-cjk; } >/dev/null; then
    echo "[browser] chromium could not be installed: the page's browser tests are skipped" >&2
fi
