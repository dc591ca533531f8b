#!/usr/bin/env bash
# What the container file collects runs as its user in a root that holds nothing else but a C library, as the
# base image does. Takes root, to change it.  image.sh <program>
set -euo pipefail
program=$1
image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
deploy/container/collect.sh "$program" "$image"
# The base: what the program needs and was not collected, and the loader.
ldd "$program" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    machine=$(basename "$(dirname "$library")")
    [ -e "$image/usr/lib/$machine/$(basename "$library")" ] || install -D "$library" "$image$library"
done
chmod 755 "$image"
run() { chroot --userspec=65532:65532 "$image" /usr/bin/cmsync "$@"; }
run --version
[ ! -e "$image/bin" ] || { echo "the image has a /bin"; exit 1; }
# No /tmp, no writable place but the volume, no configuration: it says so, and helps all the same.
bundle=$(run support-bundle --output - | tar -tz)
grep -q about.txt <<<"$bundle"
mkdir "$image/etc"
printf '[connections.a]\ncollections = ["SMS00001"]\n' >"$image/cmsync.toml"
if run check --offline; then echo "a mistake was not noticed"; exit 1; fi
[ "$(stat -c %u "$image/var/lib/cmsync")" = 65532 ]
size=$(du -sm "$image/usr/bin/cmsync" | cut -f1)
[ "$size" -lt 60 ] || { echo "the program has $size MB: are its symbols in it?"; exit 1; }
echo "image: $size MB"
