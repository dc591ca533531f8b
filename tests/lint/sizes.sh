#!/usr/bin/env bash
# No file above 400 production lines: those before its first inline test module.
set -euo pipefail
cd "$(dirname "$0")/../.."
fail=0
while read -r file; do
  lines=$(awk '/^#\[cfg\(test\)\]/{exit} {n++} END{print n+0}' "$file")
  if [ "$lines" -gt 400 ]; then
    echo "$file: $lines production lines, at most 400"
    fail=1
  fi
done < <(git ls-files '*.rs' | grep -v '/tests/')
# One place alone calls what Rust cannot check.
while read -r file; do
  if [ "$file" != queue/src/kafka/token.rs ]; then
    echo "$file: unsafe code belongs in queue/src/kafka/token.rs alone"
    fail=1
  fi
done < <(git grep -lE 'unsafe_code|unsafe \{' -- '*.rs')
exit $fail
