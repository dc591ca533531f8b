#!/usr/bin/env bash
# Makes the Windows Installer package: package.sh PROGRAM VERSION OUTPUT
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "$1") version=$2 output=$(realpath -m "$3")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
x86_64-w64-mingw32-strip -o "$stage/cmsync.exe" "$program"
cd "$project" && cp LICENSE CHANGELOG.md cmsync.example.toml docs/windows.md deploy/windows/cmsync.wxs "$stage"
# Windows' own editors of old show one line otherwise.
sed -i 's/$/\r/' "$stage/LICENSE" "$stage/CHANGELOG.md" "$stage/cmsync.example.toml" "$stage/windows.md"
cd "$stage" && mkdir -p "$(dirname "$output")" && rm -f "$output"
wixl --arch x64 -D Version="$version" -o "$output" cmsync.wxs

# What wixl has no words for: PATH, and properties that an elevated installation takes from whoever began it.
printf 'Environment\tName\tValue\tComponent_\r\ns72\tl255\tL255\ts72\r\nEnvironment\tEnvironment\r\nPath\t=-*PATH\t[~];[INSTALLDIR]\tProgram\r\n' > Environment.idt
secure=$(msiinfo export "$output" Property | tr -d '\r' | sed -n 's/^SecureCustomProperties\t//p')
msibuild "$output" -i Environment.idt \
	-q "INSERT INTO \`InstallExecuteSequence\` (\`Action\`, \`Sequence\`) VALUES ('WriteEnvironmentStrings', 5200)" \
	-q "INSERT INTO \`InstallExecuteSequence\` (\`Action\`, \`Sequence\`) VALUES ('RemoveEnvironmentStrings', 3300)" \
	-q "UPDATE \`Property\` SET \`Value\` = '$secure;ACCOUNT;PURGE;START' WHERE \`Property\` = 'SecureCustomProperties'"
