"""Renders the Helm chart in every mode and checks what comes out against the schemas of Kubernetes, of the Prometheus
operator and of KEDA; and that its own schema refuses wrong values.

usage: chart.py <folder of tools>
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

PROJECT = pathlib.Path(__file__).parents[2]
CHART = PROJECT / "deploy/helm/cmsync"
TOOLS = pathlib.Path(sys.argv[1])
# The oldest that the chart allows, and the newest.
KUBERNETES = ["1.27.0", "1.37.0"]
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KEDA = "github.com/kedacore/keda/v2@v2.17.2"
RESOURCES = [
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
]

ON_KAFKA = {"mode": "kafka", "config": '[queue.kafka]\nbrokers = "kafka:9092"\n[connections.contoso]\n'}
WATCHED = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
CLOSED = {"networkPolicy": {"enabled": True, "egress": [{"cidr": "10.1.2.0/24", "ports": [443, 88]}]}}


def scaled(kind):
    return {stage: {"autoscaling": {"kind": kind}} for stage in ["transformer", "uploader"]}


# name: (values, kinds that must come out)
MODES = {
    "embedded": ({}, {"StatefulSet", "Service", "ConfigMap", "ServiceAccount"}),
    "embedded, all of it": (
        {"existingSecret": "s", "krb5ConfigMap": "k", "persistence": {"storageClass": "fast"}} | WATCHED | CLOSED,
        {"StatefulSet", "ServiceMonitor", "PrometheusRule", "NetworkPolicy"},
    ),
    "kafka": (ON_KAFKA, {"Deployment", "PodDisruptionBudget"}),
    "kafka with an HPA": (ON_KAFKA | scaled("hpa") | WATCHED, {"HorizontalPodAutoscaler", "ServiceMonitor"}),
    "kafka with KEDA": (ON_KAFKA | scaled("keda") | CLOSED, {"ScaledObject", "NetworkPolicy"}),
    "another account": (
        {"serviceAccount": {"create": False, "name": "mine"}, "image": {"repository": "r", "digest": "sha256:" + "a" * 64}},
        {"StatefulSet"},
    ),
}

# What the chart must refuse, with a word that it must say.
WRONG = [
    ({"mode": "both"}, "mode"),
    ({"config": "nothing"}, "config"),
    ({"mode": "kafka"}, "queue.kafka"),
    (ON_KAFKA | {"mode": "embedded"}, "set mode to kafka"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"persistence": {"size": "20"}}, "size"),
    ({"producer": {"replicas": 0}}, "replicas"),
    ({"uploader": {"autoscaling": {"kind": "magic"}}}, "kind"),
    ({"terminationGracePeriodSeconds": 10}, "terminationGracePeriodSeconds"),
    ({"networkPolicy": {"egress": [{"cidr": "10.0.0.1", "ports": [443]}]}}, "cidr"),
    ({"unheardOf": True}, "unheardOf"),
]


def helm(command, values, *arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [TOOLS / "bin/helm", *command, CHART, "--values", file.name, *arguments]
        return subprocess.run(command, capture_output=True, text=True)


def schemas(folder):
    """Schemas of what operators brought in, as kubeconform reads them."""
    for module, path in RESOURCES:
        told = subprocess.check_output(["go", "mod", "download", "-json", module], cwd=PROJECT / "tests/deploy/compose")
        definition = yaml.safe_load((pathlib.Path(json.loads(told)["Dir"]) / path).read_text())
        for version in definition["spec"]["versions"]:
            kind = definition["spec"]["names"]["kind"].lower()
            schema = strict(version["schema"]["openAPIV3Schema"])
            (folder / f"{kind}_{version['name']}.json").write_text(json.dumps(schema))
    return f"{folder}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"


def kubernetes(version, folder):
    """Those of Kubernetes, which point at each other as a web server would serve them: as files beside each other."""
    own = pathlib.Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{version}-local-strict"
    target = folder / version
    target.mkdir()
    for path in own.glob("*.json"):
        schema = json.loads(path.read_text().replace('"/api/_definitions.json#', '"_definitions.json#'))
        schema.pop("$id", None)
        (target / path.name).write_text(json.dumps(schema))
    return f"{target}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def strict(schema):
    """The same, which allows no key that it does not name."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and schema.get("type") == "object":
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [strict(value) for value in schema]
    return schema


def check(name, values, kinds, schema_folders, operators):
    problems = []
    for version in KUBERNETES:
        rendered = helm(["template", "contoso"], values, "--namespace", "cmsync", "--kube-version", version)
        if rendered.returncode:
            return [f"{name}: {rendered.stderr}"]
        found = {document["kind"] for document in yaml.safe_load_all(rendered.stdout) if document}
        problems += [f"{name}: no {kind}" for kind in kinds - found]
        locations = ["-schema-location", schema_folders[version], "-schema-location", operators]
        command = [TOOLS / "bin/kubeconform", "-strict", "-summary", *locations]
        judged = subprocess.run(command, input=rendered.stdout, capture_output=True, text=True)
        if judged.returncode:
            problems.append(f"{name} on {version}: {judged.stdout}{judged.stderr}")
        else:
            print(f"{name} on {version}: {judged.stdout.splitlines()[0]}")
    return problems


def main():
    problems = []
    linted = helm(["lint", "--strict"], {})
    if linted.returncode:
        problems.append(linted.stdout)
    with tempfile.TemporaryDirectory() as folder:
        operators = schemas(pathlib.Path(folder))
        schema_folders = {version: kubernetes(version, pathlib.Path(folder)) for version in KUBERNETES}
        for name, (values, kinds) in MODES.items():
            problems += check(name, values, kinds, schema_folders, operators)
        # The check must be able to fail.
        bad = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n"
        command = [TOOLS / "bin/kubeconform", "-strict", "-schema-location", schema_folders[KUBERNETES[0]]]
        if "additional properties" not in subprocess.run(command, input=bad, capture_output=True, text=True).stdout:
            problems.append("a misspelt key is not noticed")
    for values, word in WRONG:
        refused = helm(["template", "contoso"], values, "--kube-version", KUBERNETES[-1])
        if not refused.returncode or word not in refused.stderr:
            problems.append(f"{values} is not refused with `{word}`: {refused.stderr}")
    print(f"{len(MODES)} modes, {len(WRONG)} wrong values refused")
    return "\n".join(problems) or None


if __name__ == "__main__":
    sys.exit(main())
