#!/bin/sh
# Runs the unit and architecture tests with the oldest Python of pyproject.toml and with the one of the image.
# A version that this machine does not have is named, and not tested.
set -eu
oldest=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"$/\1/p' pyproject.toml)
image=$(sed -n 's/^ARG PYTHON=python:\([0-9]*\.[0-9]*\).*$/\1/p' infra/docker/Dockerfile | head -n 1)
[ -n "$oldest" ] && [ -n "$image" ] || { printf '%s\n' 'error: no version in pyproject.toml or infra/docker/Dockerfile' >&2; exit 1; }

# On PATH, of a distribution, or of pyenv. Prints nothing if there is none.
found() {
  for python in "python$1" "/usr/bin/python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
    if "$python" -c "import sys, ensurepip, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      printf '%s\n' "$python"
      return
    fi
  done
}

tested=0
for version in $(printf '%s\n' "$oldest" "$image" | sort -u); do
  python=$(found "$version")
  if [ -z "$python" ]; then
    printf '%s\n' "Python $version: not on this machine, NOT TESTED"
    continue
  fi
  folder=.artefacts/python-$version
  if [ ! -f "$folder/.ready" ] || [ requirements-dev.txt -nt "$folder/.ready" ]; then
    PYTHON="$python" sh infra/environment.sh "$folder"
    touch "$folder/.ready"
  fi
  "$folder/bin/python" --version
  "$folder/bin/python" -m compileall -q services shared infra
  "$folder/bin/python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/architecture tests/unit "$@"
  tested=$((tested + 1))
done
[ "$tested" -gt 0 ] || { printf '%s\n' 'error: none of these versions of Python is on this machine' >&2; exit 1; }
