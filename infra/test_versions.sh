#!/bin/sh
# Runs the unit and architecture tests with the oldest Python of pyproject.toml and with the one of the image.
# A version that this machine does not have is named, with what to do; the last line says what was not tested. Then
# the exit status is 3, and 1 if tests fail or there is neither.
set -eu
oldest=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"$/\1/p' pyproject.toml)
image=$(sed -n 's/^ARG PYTHON=python:\([0-9]*\.[0-9]*\).*$/\1/p' infra/docker/Dockerfile | head -n 1)
[ -n "$oldest" ] && [ -n "$image" ] || { printf '%s\n' 'error: no version in pyproject.toml or infra/docker/Dockerfile' >&2; exit 1; }

# On PATH, of a distribution, of uv, or of pyenv. Prints nothing if there is none.
found() {
  for python in "python$1" "/usr/bin/python$1" \
    "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-"$1".*/bin/python "$HOME"/.pyenv/versions/"$1".*/bin/python; do
    if "$python" -c "import sys, ensurepip, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      printf '%s\n' "$python"
      return
    fi
  done
}

tested='' missing=''
for version in $(printf '%s\n' "$oldest" "$image" | sort -u); do
  python=$(found "$version")
  if [ -z "$python" ]; then
    missing="$missing $version"
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
  tested="$tested $version"
done
printf '%s\n' "Python tested:${tested:- none}; NOT TESTED:${missing:- none}"
[ -n "$missing" ] || exit 0
printf '%s\n' "error: put python$missing on PATH (your distribution's package, 'uv python install$missing', or pyenv)" >&2
[ -n "$tested" ] || exit 1
exit 3
