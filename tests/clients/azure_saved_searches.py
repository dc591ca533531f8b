"""Azure's own management client against the lab's Resource Manager: it must meet the lab's answers as
it would meet Azure's."""

import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.loganalytics.models import SavedSearch, SavedSearchProperties, Tag

import lab

SUBSCRIPTION = "5ab5c000-0000-4000-8000-000000000001"
PLACE = ("lab", "lab-workspace")


def search(alias, etag="*"):
    properties = SavedSearchProperties(
        category="ConfigMgr",
        display_name="Servers",
        query="datatable(Computer:string)['a'] | distinct Computer",
        function_alias=alias,
        tags=[Tag(name="Group", value="Computer")],
        version=2,
    )
    return SavedSearch(properties=properties, etag=etag)


def refused(status, kind, ask):
    try:
        ask()
    except HttpResponseError as error:
        assert error.status_code == status and isinstance(error, kind), error
        return
    raise AssertionError(f"expected {status}")


def main():
    with lab.running() as (url, authority, tokens):
        scopes = [f"{url}/.default"]
        client = LogAnalyticsManagementClient(tokens, SUBSCRIPTION, base_url=url, credential_scopes=scopes, connection_verify=authority)
        workspace = client.workspaces.get(*PLACE)
        assert workspace.customer_id == "lab-workspace", workspace
        assert client.saved_searches.list_by_workspace(*PLACE).value == []
        client.saved_searches.create_or_update(*PLACE, "cmsync-one", search("CMG_CAS_PS100001"))
        found = client.saved_searches.list_by_workspace(*PLACE).value
        assert [s.function_alias for s in found] == ["CMG_CAS_PS100001"], found
        assert found[0].tags[0].value == "Computer", found
        refused(409, HttpResponseError, lambda: client.saved_searches.create_or_update(*PLACE, "cmsync-one", search("CMG_A", "old")))
        refused(400, HttpResponseError, lambda: client.saved_searches.create_or_update(*PLACE, "two", search("no alias")))
        client.saved_searches.delete(*PLACE, "cmsync-one")
        refused(404, ResourceNotFoundError, lambda: client.saved_searches.get(*PLACE, "cmsync-one"))
        wrong = LogAnalyticsManagementClient(tokens, SUBSCRIPTION, base_url=url, credential_scopes=["https://monitor.azure.com/.default"], connection_verify=authority)
        refused(401, HttpResponseError, lambda: wrong.workspaces.get(*PLACE))
    print("8 passed, 0 failed")


if __name__ == "__main__":
    sys.exit(main())
