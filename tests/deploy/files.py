"""Checks what deploy/ holds with the tools of those who will read it: container file, compose files, systemd unit, scripts and
Bicep.

usage: files.py <folder of Python's tools>
"""

import pathlib
import subprocess
import sys
import tempfile

import tree_sitter
import tree_sitter_bicep

PROJECT = pathlib.Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
TOOLS = pathlib.Path(sys.argv[1])


def run(what, command, **options):
    told = subprocess.run(command, capture_output=True, text=True, **options)
    # systemd-analyze verify exits with 0 for a key that it does not know.
    is_fine = told.returncode == 0 and not told.stderr.strip()
    return [] if is_fine else [f"{what}: {told.stdout}{told.stderr}"]


def unit():
    """The unit with a program that is there: its own is not installed yet."""
    text = (DEPLOY / "systemd/cmsync.service").read_text().replace("/usr/bin/cmsync", "/bin/true")
    text = text.replace("/usr/share/doc/cmsync/README.md", str(PROJECT / "README.md"))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "cmsync.service"
        path.write_text(text)
        return run("systemd unit", ["systemd-analyze", "verify", path])


def bicep():
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
    assert parser.parse(b"resource x 'a@b' = { name: }").root_node.has_error, "the parser notices nothing"
    found = parser.parse((DEPLOY / "azure/workspace.bicep").read_bytes())
    return ["workspace.bicep cannot be parsed"] if found.root_node.has_error else []


def main():
    # What it downloads at first it says where problems are said.
    subprocess.run(["go", "mod", "download"], cwd=PROJECT / "tests/deploy/compose", check=True)
    compose = sorted((DEPLOY / "compose").glob("*.yml"))
    own = [PROJECT / "tests" / path for path in ("lint/sizes.sh", "deploy/image.sh", "windows/prefix.sh")]
    scripts = [*sorted(DEPLOY.rglob("*.sh")), *sorted((DEPLOY / "debian").iterdir()), *own, PROJECT / ".ci/run"]
    problems = [
        *run("container file", [TOOLS / "hadolint", DEPLOY / "container/Containerfile"]),
        *run("compose files", ["go", "run", ".", *compose], cwd=PROJECT / "tests/deploy/compose"),
        *run("scripts", [TOOLS / "shellcheck", *scripts]),
        *run("Prometheus", ["promtool", "check", "config", DEPLOY / "prometheus/prometheus.yml"]),
        *run("Prometheus", ["promtool", "check", "config", DEPLOY / "prometheus/kafka.yml"]),
        *unit(),
        *bicep(),
    ]
    return "\n".join(problems) or None


if __name__ == "__main__":
    sys.exit(main())
