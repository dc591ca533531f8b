#!/usr/bin/env python3
"""Arrows between crates point down and siblings never meet: fails on an arrow that is not listed here."""

import json
import subprocess
import sys

CLIENTS = {"cmsync-configmgr", "cmsync-azure", "cmsync-openid", "cmsync-registry"}
BELOW_STAGES = {"cmsync-telemetry", "cmsync-files", "cmsync-queue", "cmsync-schemas", "cmsync-http"} | CLIENTS
STAGES = {"cmsync-producer", "cmsync-transformer", "cmsync-uploader"}
ALLOWED = {
    "cmsync-telemetry": set(),
    "cmsync-files": set(),
    "cmsync-schemas": set(),
    "cmsync-queue": {"cmsync-telemetry", "cmsync-files"},
    "cmsync-http": {"cmsync-telemetry", "cmsync-files"},
    **{client: {"cmsync-http", "cmsync-telemetry", "cmsync-files"} for client in CLIENTS},
    **{stage: BELOW_STAGES for stage in STAGES},
    "cmsync-control": BELOW_STAGES,
    "cmsync-console": {"cmsync-control", "cmsync-openid", "cmsync-files"},
    "cmsync": None,  # sees all
    "cmsync-lab": None,
    "cmsync-e2e": None,
    "cmsync-bench": None,
    "cmsync-simulation": None,
    "cmsync-broker": set(),
}
TESTS = {"cmsync-lab", "cmsync-e2e", "cmsync-bench", "cmsync-broker", "cmsync-simulation"}
# Crates of others that one crate of ours alone may name.
ONLY_IN = {"rdkafka": {"cmsync-queue"}, "redb": {"cmsync-queue"}, "apache-avro": {"cmsync-schemas"}, "backoff": {"cmsync-http"}}


def main():
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.check_output(command))["packages"]
    wrong = []
    for package in packages:
        name = package["name"]
        if name not in ALLOWED:
            wrong.append(f"{name}: a crate that tests/lint/arrows.py does not know")
            continue
        for dependency in package["dependencies"]:
            to = dependency["name"]
            if to in ONLY_IN and name not in ONLY_IN[to]:
                wrong.append(f"{name} -> {to}: only {', '.join(ONLY_IN[to])} may name it")
            if not to.startswith("cmsync"):
                continue
            # A real broker is no part of what is built: tests of any crate may start one.
            if to == "cmsync-broker" and dependency["kind"] == "dev":
                continue
            allowed = ALLOWED[name]
            if allowed is not None and to not in allowed:
                wrong.append(f"{name} -> {to}")
            if to in TESTS and name not in TESTS:
                wrong.append(f"{name} -> {to}: the tests' own")
    for line in wrong:
        print(f"arrow: {line}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
