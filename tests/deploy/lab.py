"""The lab as a program beside what is installed, and how to wait for what is to become true."""

import json
import pathlib
import ssl
import subprocess
import time
import urllib.request

PROJECT = pathlib.Path(__file__).parents[2]
LAB = PROJECT / "target/release/cmsync-lab"
# What a configuration of the lab's names beside itself.
FILES = ["client-secret", "site-token", "lab-ca.pem"]
PATIENCE = 120


def until(what, found):
    """Waits until `found` gives something true."""
    started = time.monotonic()
    while not (value := found()):
        assert time.monotonic() - started < PATIENCE, f"waited in vain for {what}"
        time.sleep(0.1)
    return value


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


class Lab:
    def __init__(self, directory):
        self.directory = directory
        command = [LAB, "--directory", directory, "--devices", "200", "--collections", "6", "--memberships", "600"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        url = directory / "lab-url"
        self.url = until("the lab", lambda: url.exists() and url.read_text())

    def ask(self, what):
        trust = ssl.create_default_context(cafile=str(self.directory / "lab-ca.pem"))
        with urllib.request.urlopen(f"{self.url}/lab/{what}", context=trust) as answer:
            return json.loads(answer.read() or "null")

    def is_equal(self):
        return self.ask("report")["report"]["equal"]

    def configuration(self, directory, named):
        """As an administrator would leave it: secrets in `directory`, which the file names so, the queue at its default."""
        for name in FILES:
            target = directory / name
            target.write_bytes((self.directory / name).read_bytes())
            target.chmod(0o640)
        lines = (self.directory / "cmsync.toml").read_text().replace(f"{self.directory}/", named).splitlines()
        kept, in_queue = [], False
        for line in lines:
            in_queue = line == "[queue]" or in_queue and not line.startswith("[")
            if not in_queue:
                kept.append(line)
        return "\n".join(kept).replace('poll_interval = "60s"', 'poll_interval = "1s"') + "\n"

    def end(self):
        self.process.kill()
        self.process.wait()
