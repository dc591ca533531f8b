"""Checks the rules with promtool: their syntax, and of each alert that it fires, with its texts, and that it does not.

The cases are below: of each alert the series with which it fires at a time, those with which it does not, and what
its texts say of them. An alert without a case is an error.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

PROJECT = pathlib.Path(__file__).parents[2]
RULES = PROJECT / "deploy/prometheus/cmsync.rules.yml"
RUNBOOK = PROJECT / "docs/runbook.md"
METRICS = PROJECT / "docs/metrics.md"
CONTOSO = {"connection": "contoso"}


def series(metric, values, **labels):
    """Samples a minute apart; promtool's clock begins at 1970, so that its timestamps are small."""
    labels = {"connection": "contoso", **labels}
    text = ", ".join(f'{name}="{value}"' for name, value in labels.items() if value is not None)
    return {"series": f"{metric}{{{text}}}", "values": values}


def blocked(cause, values="1x90"):
    return series("cmsync_connection_stages_blocked", values, cause=cause)


def late(values):
    return [series("cmsync_uploader_changes_late_total", values), series("cmsync_uploader_changes_accepted_total", "0+60x2000")]


def whole(metric, values, **labels):
    """Of a process and not of a connection."""
    return series(metric, values, connection=None, **labels)


ANSWER = "cmsync_producer_last_answer_timestamp_seconds"
POLLS = whole("cmsync_poll_interval_seconds", "60x3000")
SNAPSHOTS = whole("cmsync_snapshot_interval_seconds", "43200x3000")
VERIFICATIONS = whole("cmsync_verify_interval_seconds", "21600x3000")
UNDELIVERED = "cmsync_queue_oldest_undelivered_age_seconds"
WAITING = "cmsync_queue_waiting_messages"
OWNER = "cmsync_producer_owner"
VERIFIED = "cmsync_verify_last_success_timestamp_seconds"
MARKER = "cmsync_verify_newest_marker_timestamp_seconds"
EXPIRY = "cmsync_credential_expiry_timestamp_seconds"
POSTS = "cmsync_uploader_posts_total"
DAY = 86_400

# alert: (minute, fires with, does not fire with, labels, $value in words)
CASES = {
    "CmsyncFreshnessBudgetBurnsFast": (70, late("0+6x2000"), late("0+3x2000"), CONTOSO, "10%"),
    "CmsyncFreshnessBudgetBurnsSlowly": (400, late("0+3x2000"), late("0+1x2000"), CONTOSO, "5%"),
    "CmsyncConnectionStalled": (30, [series(ANSWER, "0x90"), POLLS], [series(ANSWER, "0x90"), POLLS, blocked("asked")], CONTOSO, "30m 0s"),
    "CmsyncChangesUndelivered": (30, [series(UNDELIVERED, "0+60x90")], [series(UNDELIVERED, "600x90")], CONTOSO, "30m 0s"),
    "CmsyncLagGrows": (
        30,
        [series(WAITING, "0+10x90", stage="uploader")],
        [series(WAITING, "400-10x39", stage="uploader")],
        CONTOSO | {"stage": "uploader"},
        "300",
    ),
    "CmsyncSnapshotOverdue": (
        1640,
        [series("cmsync_producer_oldest_snapshot_timestamp_seconds", "1x2000"), SNAPSHOTS],
        [series("cmsync_producer_oldest_snapshot_timestamp_seconds", "10000x2000"), SNAPSHOTS],
        CONTOSO,
        "1d 3h 19m 59s",
    ),
    "CmsyncDown": (
        30,
        # The one in `b` is gone, the other is there.
        [whole("cmsync_build_info", "1x90", namespace="a", job="j"), whole("cmsync_build_info", "1x5", namespace="b", job="j")],
        [whole("cmsync_build_info", "1x90", namespace="a", job="j"), whole("cmsync_build_info", "1x90", namespace="b", job="j")],
        {"namespace": "b", "job": "j"},
        "1",
    ),
    "CmsyncRestartsOften": (
        30,
        [whole("cmsync_start_timestamp_seconds", "1x5 2x5 3x5 4x90", instance="a")],
        [whole("cmsync_start_timestamp_seconds", "1x12 2x5 3x90", instance="a")],
        {"instance": "a"},
        "3",
    ),
    "CmsyncPausedOnRights": (30, [blocked("rights")], [blocked("rights", "0x26 1x9")], CONTOSO | {"cause": "rights"}, "1"),
    "CmsyncPausedOnCredential": (30, [blocked("credential")], [blocked("other")], CONTOSO | {"cause": "credential"}, "1"),
    "CmsyncPaused": (30, [blocked("other")], [blocked("asked")], CONTOSO | {"cause": "other"}, "1"),
    "CmsyncStageStopped": (30, [blocked("stopped")], [blocked("other")], CONTOSO | {"cause": "stopped"}, "1"),
    "CmsyncProducerWithoutOwner": (
        30,
        # No producer at all: the uploader says what waits.
        [series(WAITING, "0x90", stage="uploader")],
        [series(OWNER, "0x90", instance="a"), series(OWNER, "1x90", instance="b")],
        CONTOSO,
        "0",
    ),
    "CmsyncProducerWithTwoOwners": (
        30,
        [series(OWNER, "1x90", instance="a"), series(OWNER, "1x90", instance="b")],
        # A moment of two while a partition moves.
        [series(OWNER, "1x28 0x9", instance="a"), series(OWNER, "0x27 1x9", instance="b")],
        CONTOSO,
        "2",
    ),
    "CmsyncConfigurationRejected": (
        30,
        [whole("cmsync_configuration_accepted", "0x90", instance="a")],
        [whole("cmsync_configuration_accepted", "1x90", instance="a")],
        {"instance": "a"},
        "0",
    ),
    "CmsyncReplicationFailed": (
        30,
        [series("cmsync_producer_failed_links", "1x90")],
        [series("cmsync_producer_failed_links", "1x20 0x9")],
        CONTOSO,
        "1",
    ),
    "CmsyncRemovalHeld": (
        30,
        [series("cmsync_producer_held_removals", "3x90")],
        [series("cmsync_producer_held_removals", "3x20 0x9")],
        CONTOSO,
        "3",
    ),
    "CmsyncDeadLetters": (30, [series("cmsync_dead_letters", "2x90")], [series("cmsync_dead_letters", "0x90")], CONTOSO, "2"),
    "CmsyncDriftFound": (
        30,
        [series("cmsync_verify_findings", "1x90")],
        [series("cmsync_verify_findings", "0x90")],
        CONTOSO,
        "1",
    ),
    "CmsyncVerificationOverdue": (
        1500,
        [series(VERIFIED, "1x2000"), VERIFICATIONS],
        # Where nothing is verified there is no time.
        [series(VERIFIED, "0x2000"), VERIFICATIONS],
        CONTOSO,
        "1d 0h 59m 59s",
    ),
    "CmsyncVerificationFails": (
        1500,
        [whole("cmsync_verifications_total", "0x300 1x300 2x300 3x300 4x400", outcome="failed")],
        [whole("cmsync_verifications_total", "4x2000", outcome="failed")],
        {},
        "4",
    ),
    "CmsyncWorkspaceBehind": (
        900,
        [series(VERIFIED, "50000x1000"), series(MARKER, "1000x1000"), SNAPSHOTS],
        [series(VERIFIED, "50000x1000"), series(MARKER, "40000x1000"), SNAPSHOTS],
        CONTOSO,
        "13h 36m 40s",
    ),
    "CmsyncCredentialEndsWithin30Days": (
        100,
        [series(EXPIRY, f"{20 * DAY + 6000}x200")],
        [series(EXPIRY, "0x200")],
        CONTOSO,
        "20d 0h 0m 0s",
    ),
    "CmsyncCredentialEndsWithin7Days": (
        100,
        [series(EXPIRY, f"{3 * DAY + 6000}x200")],
        [series(EXPIRY, f"{20 * DAY + 6000}x200")],
        CONTOSO,
        "3d 0h 0m 0s",
    ),
    "CmsyncCredentialEndsWithin1Day": (
        100,
        [series(EXPIRY, "9600x200")],
        [series(EXPIRY, f"{3 * DAY}x200")],
        CONTOSO,
        "1h 0m 0s",
    ),
    "CmsyncTicketEnds": (
        100,
        [whole("cmsync_ticket_expiry_timestamp_seconds", "6600x200", instance="a")],
        [whole("cmsync_ticket_expiry_timestamp_seconds", "0x200", instance="a")],
        {"instance": "a"},
        "10m 0s",
    ),
    "CmsyncQueueNearlyFull": (
        30,
        [series("cmsync_queue_backlog_bytes", "900x90"), whole("cmsync_queue_max_backlog_bytes", "1024x90", instance="a")],
        [series("cmsync_queue_backlog_bytes", "700x90"), whole("cmsync_queue_max_backlog_bytes", "1024x90", instance="a")],
        CONTOSO,
        "900",
    ),
    "CmsyncQueueUnwritable": (
        30,
        [whole("cmsync_queue_writable", "1x9 0x90", instance="a")],
        [whole("cmsync_queue_writable", "1x90", instance="a")],
        {"instance": "a"},
        "0",
    ),
    "CmsyncMessagesDeleted": (
        60,
        [whole("cmsync_uploader_messages_lost_total", "0x30 60x60"), whole("cmsync_transformer_messages_lost_total", "0x90")],
        [whole("cmsync_uploader_messages_lost_total", "60x90"), whole("cmsync_transformer_messages_lost_total", "0x90")],
        {},
        "60",
    ),
    "CmsyncThrottled": (
        60,
        [whole(POSTS, "0+60x90", status="429"), whole(POSTS, "0+60x90", status="2xx")],
        [whole(POSTS, "0+6x90", status="429"), whole(POSTS, "0+60x90", status="2xx")],
        {},
        "1",
    ),
    "CmsyncGroupsBehind": (
        200,
        [series("cmsync_uploader_groups_behind", "7x300")],
        [series("cmsync_uploader_groups_behind", "7x100 0x5 7x300")],
        CONTOSO,
        "7",
    ),
}


def rendered(template, labels, value):
    template = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels.get(found[1], ""), template)
    return re.sub(r"{{ \$value( \| \w+)? }}", value, template)


def tests(rule, case):
    """The test of an alert that fires, and that of one that does not."""
    minute, fires, quiet, labels, value = case
    annotations = {name: rendered(text, labels, value) for name, text in rule["annotations"].items()}
    expected = {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": annotations}
    for name, input_series, alerts in [("fires", fires, [expected]), ("does not fire", quiet, [])]:
        yield {
            "name": f"{rule['alert']} {name}",
            "interval": "1m",
            "input_series": input_series,
            "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": rule["alert"], "exp_alerts": alerts}],
        }


def unknown(text, known):
    """Names of metrics in a text that cmsync does not show: a rule over one of these never fires."""
    names = set(re.findall(r"\bcmsync_\w+", text))
    parts = ("_bucket", "_sum", "_count")
    whole = {name.removesuffix(part) for name in names for part in parts if name.endswith(part) and known.get(name.removesuffix(part)) == "histogram"}
    made = {name for name in names if any(name == f"{metric}{part}" for metric in whole for part in parts)}
    return sorted(names - made - known.keys())


def main():
    known = dict(re.findall(r"^\| `(cmsync_\w+)` \| (\w+) \|", METRICS.read_text(), re.MULTILINE))
    series_of_cases = json.dumps([[fires, quiet] for _, fires, quiet, _, _ in CASES.values()])
    strangers = unknown(RULES.read_text() + series_of_cases, known)
    if strangers:
        return f"no such metrics: {strangers}"
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    if alerts.keys() != CASES.keys():
        return f"alerts and cases differ: {sorted(alerts.keys() ^ CASES.keys())}"
    entries = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    links = [rule["annotations"]["runbook"] for rule in alerts.values()]
    if entries != list(alerts) or links != [f"docs/runbook.md#{name.lower()}" for name in entries]:
        return f"the alerts and the entries of {RUNBOOK} differ, or their order: {list(alerts)}"
    checked = subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES])
    every = [test for name, rule in alerts.items() for test in tests(rule, CASES[name])]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # Without an order a rule may see what another recorded a minute before.
        order = [group["name"] for group in groups]
        suite = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "group_eval_order": order, "tests": every}
        yaml.safe_dump(suite, file)
        file.flush()
        tested = subprocess.run(["promtool", "test", "rules", file.name])
    print(f"{len(alerts)} alerts, {len(every)} tests")
    return checked.returncode or tested.returncode


if __name__ == "__main__":
    sys.exit(main())
