#!/usr/bin/env bash
# Makes a Windows of Wine's in the directory that is given, for tests: prefix.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
WINEPREFIX=$(realpath -m "$1")
export WINEPREFIX WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
# Rights of others on a directory are inherited by what is made in it.
umask 077
rm -rf "$WINEPREFIX"
mkdir -p "$WINEPREFIX"
wineboot -i >/dev/null 2>&1
wineserver -w
x86_64-w64-mingw32-gcc -shared -O2 -s -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
	"$here/process_prng.c" -ladvapi32
touch "$WINEPREFIX/.ready"
