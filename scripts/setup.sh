#!/usr/bin/env bash
# Make .venv beside the repository and install everything in it at the tested versions; done before: return at once.
#   bash scripts/setup.sh                            takes no words
#   LLMGA_PYTHON=python3.12 bash scripts/setup.sh    makes .venv with this Python
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
"") ;;
*) echo "error: scripts/setup.sh takes no words, but got '$*'." >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/llmga-setup.stamp
log=$venv/llmga-setup.log
candidates=(${LLMGA_PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}) # LLMGA_PYTHON: this one only

say() { printf '[setup] %s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }

works() { "$@" >/dev/null 2>&1; }

find_python() {
    local name
    for name in "${candidates[@]}"; do
        works "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && { echo "$name"; return; }
    done
    die "no Python 3.11 or newer was found (tried ${candidates[*]}); install one and run this again."
}

# What the installation depends on: the two files, the Python, and the place (an editable install holds the path).
fingerprint() {
    "$venv/bin/python" - <<'PY'
import hashlib, pathlib, sys
parts = [pathlib.Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
parts += [sys.version.encode(), str(pathlib.Path.cwd()).encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
}

make_venv() {
    local python
    python=$(find_python)
    works "$python" -c 'import venv, ensurepip' ||
        die "$python cannot make virtual environments; install its venv package (on Debian and Ubuntu: python3-venv)."
    say "making $venv with $("$python" -V 2>&1)"
    "$python" -m venv --clear "$venv"
}

# Shows the large downloads as they begin, keeps everything in the log.
install() {
    "$venv/bin/python" -m pip install --progress-bar off --disable-pip-version-check \
        -e ".[train,serve,dev]" -c constraints.txt 2>&1 | tee "$log" |
        awk '/Downloading .* MB\)/ { print "[setup]   " $2, $3, $4 > "/dev/stderr"; fflush() }
             /^Installing collected/ { print "[setup]   unpacking" > "/dev/stderr"; fflush() }'
}

# Installing into another checkout's venv would change what that one runs; a link to a place of our own is fine.
owner=$(sed -n 's|.*"url": "file://\([^"]*\)".*|\1|p' "$venv"/lib/python*/site-packages/llmga-*.dist-info/direct_url.json \
    2>/dev/null || true)
if [[ -d $owner && ! $owner -ef . ]]; then
    die "$venv belongs to the checkout $owner; take it away (rm $venv if it is a link, else rm -r $venv) and run this again."
fi

# A venv of an older Python, or one whose making was interrupted, is made anew.
works "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' || make_venv

if [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]]; then
    exit 0
fi
rm -f "$stamp"
say "installing the packages (the first time takes some minutes; details in $log)"
if ! install; then
    tail -n 15 "$log" >&2
    die "the installation failed, see the lines above or $log; running this again continues."
fi
fingerprint >"$stamp.new"
mv "$stamp.new" "$stamp"
say "ready"
