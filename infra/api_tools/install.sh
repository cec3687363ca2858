#!/bin/sh
# Installs the tools of package-lock.json into the folder $1. Needs npm; the lock names no address of a registry.
set -eu
here=$(dirname "$0")
command -v npm >/dev/null 2>&1 || {
  printf '%s\n' 'error: no npm found, which installs the tools that check the API descriptions: install Node.js 20 or newer' >&2
  exit 1
}
mkdir -p "$1"
cp "$here/package.json" "$here/package-lock.json" "$here/asyncapi.mjs" "$here/redocly.yaml" "$1"
cd "$1"
printf '%s\n' "installing the tools that check the API descriptions in $1 (once)"
npm ci --silent --ignore-scripts --no-audit --no-fund
