"""The life of the Windows Installer package under Wine: installed, set up, its service run against the lab on the
Linux side, told to stop and cut off, upgraded with its state kept, removed, purged.

usage: windows.py <prefix of Wine's, made anew> <package> <the same as a newer version>
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

from lab import Lab, until

PROJECT = pathlib.Path(__file__).parents[2]
CONFIG = r"C:\ProgramData\cmsync\cmsync.toml"
PROGRAM = r"C:\Program Files\cmsync\cmsync.exe"
# Rights of others on a directory are inherited by what is made in it.
os.umask(0o077)


class Windows:
    """A Windows of Wine's, which lives while this does."""

    def __init__(self, prefix):
        subprocess.run([PROJECT / "tests/windows/prefix.sh", prefix], check=True)
        self.drive = prefix / "drive_c"
        self.home = self.drive / "ProgramData/cmsync"
        # A program that cannot be loaded says so here alone.
        debug = "-all,err+module,err+seh,err+virtual"
        self.environment = {**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": debug}
        self.events_file = tempfile.TemporaryFile("w+")
        self.begin()

    def begin(self):
        # Services end with the last ordinary program; what they report as events this one shows.
        debug = {**self.environment, "WINEDEBUG": "-all,err+eventlog,warn+eventlog,trace+eventlog"}
        self.session = subprocess.Popen(
            ["wine", "cmd"], env=debug, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.events_file
        )
        # What comes first brings the system up, and holds its files open.
        assert self.session.stdout.readline()

    def run(self, *command, code=0, text=None):
        ended = subprocess.run(
            ["wine", *command], env=self.environment, capture_output=True, text=True, input=text, timeout=180
        )
        assert ended.returncode == code, f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}{self.log()}"
        return ended.stdout + ended.stderr

    def cmsync(self, *arguments, code=0):
        return self.run(PROGRAM, *arguments, code=code)

    def service(self):
        return re.search(r"is (\w+)$", self.cmsync("service", "status").strip())[1]

    def events(self):
        self.events_file.seek(0)
        return self.events_file.read()

    def log(self):
        file = self.home / "log/cmsync.log"
        return file.read_text() if file.exists() else ""

    def members(self):
        return sum(connection["members"] or 0 for connection in json.loads(self.cmsync("status", "--json")))

    def end(self):
        subprocess.run(["wineserver", "-k"], env=self.environment)
        self.session.wait()


def counted(name):
    """Of the running service."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics") as page:
        (value,) = re.findall(rf"^{name} (\d+)$", page.read().decode(), re.MULTILINE)
    return int(value)


def is_in_path(windows):
    found = windows.run("reg", "query", r"HKLM\System\CurrentControlSet\Control\Session Manager\Environment", "/v", "PATH")
    return r"C:\Program Files\cmsync" in found


def install(windows, package):
    windows.run("msiexec", "/i", package, "/qn")
    assert windows.cmsync("--version").startswith("cmsync "), "the program is there"
    assert is_in_path(windows)
    assert "0." in windows.run("reg", "query", r"HKLM\SOFTWARE\cmsync", "/v", "Version")
    service = windows.run("reg", "query", r"HKLM\System\CurrentControlSet\Services\cmsync")
    wanted = [f'"{PROGRAM}" --config {CONFIG} service run', r"NT SERVICE\cmsync"]
    assert all(part in service for part in wanted), service


def refuse_what_is_wrong(windows, config):
    """A start that fails says why, in the words of the command."""
    config.write_bytes(b"[connections.contoso]\r\nimprot = true\r\n")
    said = windows.cmsync("service", "start", code=1)
    assert "code 2" in said and "event log" in said, said
    told = windows.cmsync("check", "--offline", code=2)
    assert "improt" in told, told
    assert "improt" in windows.events(), windows.events()
    assert windows.service() == "Stopped"


def secrets_are_kept(windows):
    """Whoever else can read a secret is named, until they cannot."""
    secret = windows.home / "client-secret"
    secret.chmod(0o644)
    told = windows.cmsync("check", "--offline", code=1)
    assert "client-secret" in told and "Everyone" in told and "icacls" in told, told
    secret.chmod(0o600)
    windows.cmsync("check", "--offline")
    before = secret.read_text().strip()
    windows.cmsync("secret", "protect", "lab")
    sealed = secret.read_text()
    assert sealed.startswith("dpapi:") and before not in sealed
    windows.cmsync("secret", "verify", "lab")
    # As on another machine, whose key it is not under.
    secret.write_text("dpapi:" + "A" * 64 + "\n")
    assert "DPAPI" in windows.cmsync("check", "--offline", code=2)
    plain = windows.home / "renewed"
    plain.write_text(before)
    windows.cmsync("secret", "renew", "lab", "--from-file", r"C:\ProgramData\cmsync\renewed")
    plain.unlink()
    windows.cmsync("secret", "verify", "lab")


def live(windows, old, new, directory):
    lab = Lab(directory)
    try:
        install(windows, old)
        config = windows.home / "cmsync.toml"
        assert windows.service() == "Stopped" and not config.exists(), "nothing runs before it is set up"
        refuse_what_is_wrong(windows, config)
        text = lab.configuration(windows.home, r"C:\\ProgramData\\cmsync\\")
        # As an editor of Windows leaves it.
        config.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        windows.cmsync("service", "start")
        until("equal collections", lab.is_equal)
        kept = until("the status", windows.members)
        assert counted("cmsync_producer_snapshots_total") > 0
        assert (windows.home / "queue/queue.redb").exists() and "running" in windows.log()
        assert "is running" in windows.events()
        secrets_are_kept(windows)
        print(f"runs as a service: {kept} memberships")

        # A second one is refused, and the first goes on.
        said = windows.cmsync("run", code=1)
        assert "another" in said or "in use" in said or "locked" in said, said
        windows.cmsync("service", "stop")
        assert windows.service() == "Stopped" and "stopping" in windows.log()
        assert "cmsync stopped" in windows.events()
        windows.cmsync("service", "start")
        # Wine's service manager does not notice that a service was killed: all of it goes, as with the power.
        windows.end()
        lab.ask("churn?collections=3")
        windows.begin()
        windows.cmsync("service", "start")
        until("a change after it was cut off", lab.is_equal)
        print("stopped, and cut off")

        kept = windows.members()
        windows.run("msiexec", "/i", new, "/qn")
        assert windows.service() == "Running", "an upgrade starts it again"
        until("what is kept", lambda: windows.members() == kept)
        assert b"[connections.lab]" in config.read_bytes()
        lab.ask("churn?collections=3")
        until("a change after the upgrade", lab.is_equal)
        assert counted("cmsync_producer_snapshots_total") == 0, "sent whole again: the state was not kept"
        print("upgraded with its state")

        windows.run("msiexec", "/x", new, "/qn", "PURGE=0")
        assert not (windows.drive / "Program Files/cmsync/cmsync.exe").exists() and not is_in_path(windows)
        windows.run("sc", "query", "cmsync", code=1)
        assert config.exists() and (windows.home / "queue/queue.redb").exists(), "what is kept"
        windows.run("msiexec", "/i", new, "/qn", "START=0")
        assert windows.service() == "Stopped"
        windows.run("msiexec", "/x", new, "/qn", "PURGE=1")
        assert not windows.home.exists()
        print("removed, and purged")
    finally:
        lab.end()


def main():
    prefix, old, new = (pathlib.Path(path).resolve() for path in sys.argv[1:4])
    windows = Windows(prefix)
    try:
        with tempfile.TemporaryDirectory() as directory:
            live(windows, str(old), str(new), pathlib.Path(directory))
    finally:
        windows.end()


if __name__ == "__main__":
    sys.exit(main())
