#!/usr/bin/env bash
# Collects what the image holds: the program without symbols, what it needs beside the C library, and what it
# was made of (CycloneDX).  collect.sh <program> <folder>
set -euo pipefail
program=$1 image=$2
mkdir -p "$image/usr/bin" "$image/usr/share/cmsync" "$image/var/lib/cmsync"
chown 65532:65532 "$image/var/lib/cmsync"
strip -o "$image/usr/bin/cmsync" "$program"
# Kerberos' library and its own; the C library is in the base.
ldd "$program" | awk '$3 ~ /krb5|gssapi|k5crypto|com_err|keyutils/ { print $3 }' | while read -r library; do
    machine=$(basename "$(dirname "$library")")
    install -D "$library" "$image/usr/lib/$machine/$(basename "$library")"
    # What it loads by name.
    plugins=/usr/lib/$machine/krb5/plugins
    [ ! -d "$plugins" ] || { mkdir -p "$image$plugins" && cp -r "$plugins/." "$image$plugins/"; }
done
if command -v cargo-cyclonedx >/dev/null; then
    cargo cyclonedx --manifest-path Cargo.toml --format json --override-filename cmsync.sbom
    install -m 644 cmsync.sbom.json "$image/usr/share/cmsync/sbom.cdx.json"
fi
