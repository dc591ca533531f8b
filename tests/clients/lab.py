"""Starts the lab, and signs in to it as any application does."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

from azure.core.credentials import AccessToken

LAB = pathlib.Path(__file__).resolve().parents[2] / "target/release/cmsync-lab"


class Tokens:
    """Tokens from the lab's Entra, through the same request as any application's."""

    def __init__(self, url, authority, directory):
        self.url, self.authority, self.directory = url, authority, directory
        self.asked = 0

    def get_token(self, *scopes, **_):
        import requests

        self.asked += 1
        form = {
            "grant_type": "client_credentials",
            "client_id": "99999999-8888-7777-6666-555555555555",
            "client_secret": (self.directory / "client-secret").read_text(),
            "scope": scopes[0],
        }
        tenant = "11111111-2222-3333-4444-555555555555"
        answer = requests.post(f"{self.url}/{tenant}/oauth2/v2.0/token", form, verify=self.authority)
        answer.raise_for_status()
        return AccessToken(answer.json()["access_token"], int(time.time()) + 3600)


class Administrator:
    """The tokens of whoever sets things up, as the Azure CLI gives them after a login."""

    def __init__(self, directory):
        self.az = directory / "bin" / "az"

    def get_token(self, *scopes, **_):
        resource = scopes[0].removesuffix("/.default").rstrip("/")
        answer = subprocess.run([self.az, "account", "get-access-token", "--resource", resource], capture_output=True, check=True)
        return AccessToken(json.loads(answer.stdout)["accessToken"], int(time.time()) + 3600)


@contextlib.contextmanager
def running(devices=10, collections=1, memberships=5):
    """A lab while the block lasts: its URL, its authority's file, and tokens."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        lab = subprocess.Popen([LAB, "--directory", directory, "--devices", str(devices), "--collections", str(collections), "--memberships", str(memberships)], stderr=subprocess.DEVNULL)
        try:
            while not (directory / "lab-url").exists():
                assert lab.poll() is None, "the lab ended"
                time.sleep(0.05)
            url = (directory / "lab-url").read_text()
            authority = str(directory / "lab-ca.pem")
            os.environ["REQUESTS_CA_BUNDLE"] = authority
            yield url, authority, Tokens(url, authority, directory)
        finally:
            lab.kill()
            lab.wait()
