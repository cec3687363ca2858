#!/bin/sh
# Creates the Python environment in the folder $1 from the locked requirements.
# Needs Python 3.11 or newer with venv. As root on Debian or Ubuntu, it installs a missing venv.
set -eu
folder=$1

fail() { printf '%s\n' "error: $1" >&2; exit 1; }
suits() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The system's own Python comes first: distributions build it with profile-guided optimisation, most version managers
# do not. That saves a fifth of the processor time.
python=${PYTHON:-}
[ -n "$python" ] || { suits /usr/bin/python3 && python=/usr/bin/python3; } || python=python3

command -v "$python" >/dev/null 2>&1 || fail "no $python found: install Python 3.11 or newer, or set PYTHON=… to another Python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old: Python 3.11 or newer is needed (set PYTHON=… to another Python)"

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf '%s\n' 'Python has no venv: installing the package python3-venv'
    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
  else
    fail 'Python has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)'
  fi
fi

printf '%s\n' "creating the Python environment in $folder (once, about a minute)"
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
quietly="--quiet --quiet --disable-pip-version-check --no-input"  # show errors only: warnings about packaging do not help here
# The lock names every package, so nothing is left to resolve. With extras (`pydantic[email]`) the pip of Debian 12 would
# look past the lock, and fail as soon as there is a newer release.
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install $quietly --no-deps --require-hashes -r requirements-dev.txt
# The project itself, editable. Its dependencies are installed already, so nothing may be downloaded.
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install $quietly --no-deps --no-index --no-build-isolation --editable .
