#!/bin/sh
# Makes the Python environment in the folder $1 from the locked requirements.
# Needs: Python 3.11 or newer with venv. On Debian and Ubuntu, as root, a missing venv is installed.
set -eu
folder=$1

fail() { printf '%s\n' "error: $1" >&2; exit 1; }
suits() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The system's own Python first: distributions build it with profile-guided optimisation, version managers mostly
# do not, and that is a fifth of the processor time of all that runs here.
python=${PYTHON:-}
[ -n "$python" ] || { suits /usr/bin/python3 && python=/usr/bin/python3; } || python=python3

command -v "$python" >/dev/null 2>&1 || fail "no $python found: install Python 3.11 or newer, or name one with PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old: Python 3.11 or newer is needed (name one with PYTHON=…)"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf '%s\n' 'Python has no venv: installing the package python3-venv'
    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
  else
    fail 'Python has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)'
  fi
fi

printf '%s\n' "making the environment in $folder (once, about a minute)"
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
quietly="--quiet --quiet --disable-pip-version-check --no-input"  # errors only: warnings about packaging are for packagers
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install $quietly --require-hashes -r requirements-dev.txt
# The project itself, in place: its dependencies are all there, so nothing more may be fetched.
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install $quietly --no-deps --no-index --no-build-isolation --editable .
