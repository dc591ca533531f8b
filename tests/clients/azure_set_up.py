"""Azure's own clients set up in the lab what cmsync sets up, and ask its workspace: they must meet its
answers, refusals included, as they would meet Azure's."""

import sys
from datetime import timedelta

from azure.core.exceptions import HttpResponseError
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.loganalytics.models import Column, Schema, Table
from azure.mgmt.monitor import MonitorManagementClient
from azure.monitor.query import LogsQueryClient, LogsQueryStatus

import lab

SUBSCRIPTION = "5ab5c000-0000-4000-8000-000000000001"
PLACE = ("lab", "lab-workspace")
WORKSPACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/lab/providers/Microsoft.OperationalInsights/workspaces/lab-workspace"


def table(name, *columns):
    columns = [Column(name=column, type=kind) for column, kind in columns]
    return Table(schema=Schema(name=name, columns=columns), plan="Analytics")


def rule(stream, output, location="westeurope"):
    return {
        "location": location,
        "kind": "Direct",
        "properties": {
            "streamDeclarations": {stream: {"columns": [{"name": "TimeGenerated", "type": "datetime"}, {"name": "A", "type": "string"}]}},
            "destinations": {"logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "workspace"}]},
            "dataFlows": [{"streams": [stream], "destinations": ["workspace"], "transformKql": "source", "outputStream": output}],
        },
    }


def refused(part, ask):
    try:
        ask()
    except HttpResponseError as error:
        assert part in str(error), error
        return
    raise AssertionError(f"expected {part}")


def tables(client):
    made = client.tables.begin_create_or_update(*PLACE, "Extra_CL", table("Extra_CL", ("TimeGenerated", "datetime"), ("A", "string"))).result()
    assert made.schema.name == "Extra_CL" and made.provisioning_state == "Succeeded", made
    refused("SchemaUpdateFatalError", lambda: client.tables.begin_create_or_update(*PLACE, "Bad_CL", table("Bad_CL", ("A", "string"))).result())
    refused("_CL", lambda: client.tables.begin_create_or_update(*PLACE, "Bad", table("Bad", ("TimeGenerated", "datetime"))).result())
    refused("cannot be changed", lambda: client.tables.begin_create_or_update(*PLACE, "Extra_CL", table("Extra_CL", ("TimeGenerated", "datetime"), ("A", "int"))).result())


def rules(client):
    made = client.data_collection_rules.create("lab", "extra", rule("Custom-Extra", "Custom-Extra_CL"))
    assert made.immutable_id.startswith("dcr-") and made.provisioning_state == "Succeeded", made
    refused("InvalidOutputTable", lambda: client.data_collection_rules.create("lab", "bad", rule("Custom-Extra", "Custom-None_CL")))
    refused("InvalidStream", lambda: client.data_collection_rules.create("lab", "bad", rule("Extra", "Custom-Extra_CL")))
    refused("location", lambda: client.data_collection_rules.create("lab", "bad", rule("Custom-Extra", "Custom-Extra_CL", "eastus")))
    assert {r.name for r in client.data_collection_rules.list_by_resource_group("lab")} == {"extra", "lab-0"}
    endpoint = client.data_collection_endpoints.create("lab", "private", {"location": "westeurope"})
    assert endpoint.logs_ingestion.endpoint.startswith("https://"), endpoint
    client.data_collection_rules.delete("lab", "extra")


def main():
    with lab.running() as (url, authority, _):
        administrator = lab.Administrator(lab.pathlib.Path(authority).parent)
        known = {"base_url": url, "credential_scopes": [f"{url}/.default"], "connection_verify": authority}
        client = LogAnalyticsManagementClient(administrator, SUBSCRIPTION, polling_interval=0.1, **known)
        assert [w.name for w in client.workspaces.list()] == ["lab-workspace"]
        tables(client)
        rules(MonitorManagementClient(administrator, SUBSCRIPTION, **known))
        query = LogsQueryClient(administrator, endpoint=f"{url}/v1", audience=url, connection_verify=authority)
        answer = query.query_workspace("lab-workspace", "// cmsync: heartbeats\nHeartbeat", timespan=timedelta(days=1))
        assert answer.status == LogsQueryStatus.SUCCESS and len(answer.tables[0].rows) > 3, answer
        refused("does not know", lambda: query.query_workspace("lab-workspace", "Nothing", timespan=None))
    print("set up and asked by Azure's own clients")


if __name__ == "__main__":
    sys.exit(main())
