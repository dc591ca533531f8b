"""Azure's own ingestion client against the lab: a pretend service that only its own client can talk
to proves nothing. The client must meet the lab's answers as it would meet Azure's."""

import sys
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.monitor.ingestion import LogsIngestionClient

import lab

RULE = "dcr-00000000000000000000000000000001"
STREAM = "Custom-ConfigMgrCollectionMember"


def rows(count, width=10):
    return [
        {
            "TimeGenerated": "2026-11-22T10:00:00.000000Z",
            "SiteCode": "CAS",
            "GroupId": "PS100001",
            "ResourceId": 16777216 + n,
            "Computer": "x" * width,
            "NetbiosName": f"PC{n}",
            "AssignedSite": None,
            "Action": "Present",
            "Seq": 1,
        }
        for n in range(count)
    ]


def counts(url, authority):
    import requests

    return requests.get(f"{url}/lab/counts", verify=authority).json()


def faults(url, authority, **wanted):
    import requests

    requests.post(f"{url}/lab/faults", json=wanted, verify=authority).raise_for_status()


def refused(status, upload):
    try:
        upload()
    except HttpResponseError as error:
        assert error.status_code == status, error
        return error
    raise AssertionError(f"expected {status}")


def main():
    checks = 0
    with lab.running() as (url, authority, tokens):
        client = LogsIngestionClient(url, tokens, connection_verify=authority, retry_total=3, retry_backoff_factor=0.1)

        client.upload(RULE, STREAM, rows(20_000))
        taken = counts(url, authority)
        assert taken["bodies"] >= 4 and not taken["refused"], taken
        checks += 1

        faults(url, authority, throttle_next=2)
        client.upload(RULE, STREAM, rows(5))
        assert counts(url, authority)["refused"] == {"429": 2}
        checks += 1

        faults(url, authority, body_limit=500)
        error = refused(413, lambda: client.upload(RULE, STREAM, rows(2_000)))
        assert "ContentLengthLimitExceeded" in str(error), error
        faults(url, authority, body_limit=0)
        checks += 1

        faults(url, authority, expire_tokens=True)
        asked = tokens.asked
        refused(401, lambda: LogsIngestionClient(url, Fixed("old"), connection_verify=authority).upload(RULE, STREAM, rows(1)))
        assert tokens.asked == asked
        checks += 1

        wrong = LogsIngestionClient(url, tokens, credential_scopes=["https://management.azure.com/.default"], connection_verify=authority)
        assert "InvalidAudience" in str(refused(401, lambda: wrong.upload(RULE, STREAM, rows(1))))
        refused(404, lambda: LogsIngestionClient(url, tokens, connection_verify=authority).upload("dcr-unknown", STREAM, rows(1)))
        checks += 2
    print(f"{checks} passed, 0 failed")


class Fixed:
    def __init__(self, token):
        self.token = token

    def get_token(self, *_, **__):
        return AccessToken(self.token, int(time.time()) + 3600)


if __name__ == "__main__":
    sys.exit(main())
