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
# What differs between systems is in one small module of a crate.
while read -r file; do
  case "$file" in
    */platform/*.rs | clients/configmgr/src/kerberos/*.rs)
      lines=$(wc -l < "$file")
      if [ "$lines" -gt 150 ]; then
        echo "$file: $lines lines, at most 150 for what differs between systems"
        fail=1
      fi
      ;;
    *)
      echo "$file: what differs between systems belongs in a crate's module platform"
      fail=1
      ;;
  esac
done < <(git grep -lE 'cfg!?\(.*\b(unix|windows|target_os)\b|std::os::(unix|windows)|signal::(unix|windows)' -- '*.rs' | grep -v '^tests/\|/tests\.rs$\|/tests/')
exit $fail
