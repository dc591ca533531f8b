"""The life of the Debian package on this machine: installed, checked, its service run as its unit says against the lab,
upgraded with its state kept, removed, purged. Takes root; leaves nothing behind.

usage: debian.py <package> <the same as a newer version>
"""

import json
import os
import pathlib
import pwd
import re
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.request

from lab import Lab, run, until

UNIT = pathlib.Path("/usr/lib/systemd/system/cmsync.service")
CONFIG = pathlib.Path("/etc/cmsync/cmsync.toml")
STATE = pathlib.Path("/var/lib/cmsync")


def dpkg(*arguments):
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # What it depends on comes with it; a machine without systemd starts nothing by itself.
    subprocess.run(["apt-get", *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)


class Service:
    """The service, started from the lines of its unit: there is no systemd in a container."""

    def __init__(self):
        lines = UNIT.read_text().splitlines()
        self.options = [tuple(line.split("=", 1)) for line in lines if re.match(r"^[A-Z]\w+=", line)]
        self.user = self.only("User")
        self.process = None

    def only(self, name):
        (value,) = [value for option, value in self.options if option == name]
        return value

    def command(self, line):
        environment = [setting for option, value in self.options if option == "Environment" for setting in value.split()]
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.only('Group')}", "--init-groups"]
        return [*become, "env", "-i", *environment, *shlex.split(line)]

    def start(self):
        subprocess.run(self.command(self.only("ExecStartPre")), check=True, stdout=subprocess.DEVNULL)
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command(self.only("ExecStart")), stderr=self.log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(int(self.only("TimeoutStopSec").removesuffix("s"))) == 0, self.text()

    def text(self):
        self.log.seek(0)
        return self.log.read()


def members():
    return json.loads(run("cmsync", "status", "--json"))[0]["members"]


def counted(name):
    """Of the running service."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics") as page:
        (value,) = re.findall(rf"^{name} (\d+)$", page.read().decode(), re.MULTILINE)
    return int(value)


def check_files():
    user = pwd.getpwnam("cmsync")
    for path, mode, owner in [(CONFIG.parent, 0o2750, 0), (STATE, 0o700, user.pw_uid)]:
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, owner, user.pw_gid), path
    assert "Commands:" in run("cmsync", "--help")
    verified = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stderr
    exposure = run("systemd-analyze", "security", "--offline=true", str(UNIT)).splitlines()[-1]
    level = float(re.search(r"service: ([0-9.]+)", exposure)[1])
    assert level < 2.0, exposure
    print(f"exposure {level}")
    for documented in ["docs/runbook.md", "cmsync.example.toml", "copyright"]:
        assert (pathlib.Path("/usr/share/doc/cmsync") / documented).exists(), documented


def live(old, new, directory):
    lab, service = Lab(directory), None
    try:
        dpkg("install", "-y", "-qq", old)
        check_files()
        # Without a configuration the unit does not start; `cmsync connect` makes it.
        assert f"ConditionPathExists={CONFIG}" in UNIT.read_text() and not CONFIG.exists()
        CONFIG.write_text(lab.configuration(CONFIG.parent, "/etc/cmsync/"))
        # A command of root before the first start leaves nothing that the service cannot use.
        run("cmsync", "status")
        service = Service()
        service.start()
        until("equal collections", lab.is_equal)
        kept = until("the status", members)
        print(f"runs as {service.user}: {kept} memberships")
        assert counted("cmsync_producer_snapshots_total") > 0
        service.stop()

        dpkg("install", "-y", "-qq", new)
        service = Service()
        service.start()
        until("what is kept", lambda: members() == kept)
        lab.ask("churn?collections=3")
        until("a change after the upgrade", lab.is_equal)
        assert counted("cmsync_producer_snapshots_total") == 0, "sent whole again: the state was not kept"
        service.stop()
        print("upgraded with its state")

        dpkg("remove", "-y", "-qq", "cmsync")
        assert not pathlib.Path("/usr/bin/cmsync").exists() and (STATE / "queue.redb").exists() and CONFIG.exists()
        dpkg("purge", "-y", "-qq", "cmsync")
        assert not STATE.exists() and not CONFIG.parent.exists()
        print("removed, and purged")
    except BaseException:
        if service and service.process:
            print(service.text(), file=sys.stderr)
        raise
    finally:
        lab.end()
        if service and service.process and service.process.poll() is None:
            service.process.kill()
        subprocess.run(["apt-get", "purge", "-y", "-qq", "cmsync"], capture_output=True)
        subprocess.run(["userdel", "cmsync"], capture_output=True)


def main():
    if os.geteuid() != 0:
        return "the package's life takes root (sudo make package-test)"
    if subprocess.run(["dpkg-query", "-W", "cmsync"], capture_output=True).returncode == 0:
        return "cmsync is installed on this machine: its package is not touched"
    old, new = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as directory:
        live(old, new, pathlib.Path(directory))


if __name__ == "__main__":
    sys.exit(main())
