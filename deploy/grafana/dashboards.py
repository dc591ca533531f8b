"""Writes the dashboards into `dashboards/`: `make dashboards`. A test compares the files with this program."""

import itertools
import pathlib
import sys

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, VariableRefresh

FOLDER = pathlib.Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL, ONE = "", 'connection="$connection"'


def queries(panel, targets):
    for number, (expression, legend) in enumerate(targets):
        query = Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        panel.with_target(query)
    return panel


def lines(title, description, unit, *targets):
    """Values over time."""
    panel = Timeseries().title(title).description(description).unit(unit).datasource(SOURCE).span(8).height(8).min(0)
    panel.legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    panel.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI)).fill_opacity(8).show_points("never")
    return queries(panel, targets)


def number(title, description, unit, expression, orange=None, red=None):
    """The value of now, coloured from `orange` and from `red` on."""
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=value, color=color) for value, color in [(orange, "orange"), (red, "red")] if value is not None]
    panel = Stat().title(title).description(description).unit(unit).datasource(SOURCE).span(4).height(4)
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    return queries(panel, [(expression, "")])


def rate(metric, by="", where="", function="rate"):
    expression = f"sum by ({by}) ({function}({metric}{{{where}}}[$__rate_interval]))"
    return expression.replace("{}", "").replace("sum by () ", "sum ")


def quantiles(metric, by=""):
    """The median and the 99th percentile of a histogram."""
    groups = ", ".join(filter(None, ["le", by]))
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        (f"histogram_quantile({share}, sum by ({groups}) (rate({metric}_bucket[$__rate_interval])))", f"{legend}{name}")
        for share, name in [(0.5, "median"), (0.99, "99th percentile")]
    ]


def largest(metric, where=ALL, by="connection"):
    """Several copies say the same, or zero for what another does."""
    return f"max by ({by}) ({metric}{{{where}}})".replace("{}", "")


def dashboard(uid, title, description, rows, of_connection=False):
    made = Dashboard(title).uid(uid).description(description).tags(["cmsync"]).refresh("30s").time("now-6h", "now").timezone("browser")
    made.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    if of_connection:
        names = QueryVariable("connection").label("Connection").datasource(SOURCE).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        made.with_variable(names.query("label_values(cmsync_connection_stages_blocked, connection)"))
    ids = itertools.count(1)
    for name, panels in rows:
        made.with_row(Row(name).id(next(ids)))
        for panel in panels:
            made.with_panel(panel.id(next(ids)))
    return made.build()


def overview():
    blocked = 'sum(cmsync:stages_blocked{cause!="asked"})'
    return dashboard(
        "cmsync-overview",
        "cmsync: overview",
        "Is every connection true, and is anything asked of a person?",
        [
            (
                "At one glance",
                [
                    number("Connections", "Connections that are configured.", "short", "count(count by (connection) (cmsync_connection_stages_blocked))"),
                    number("Alerts", "Alerts that fire.", "short", 'count(ALERTS{alertname=~"Cmsync.*", alertstate="firing"}) or vector(0)', 1),
                    number("Blocked stages", "Stages that wait for a right, a credential, or whatever `cmsync status` says.", "short", blocked, 1, 1),
                    number("Longest without an answer", "Of all sites: neither the list of collections nor members of one.", "s", "max(cmsync:answer_age_seconds)", 300, 900),
                    number("Oldest change that waits", "Of all connections.", "s", "max(cmsync:oldest_undelivered_age_seconds)", 300, 900),
                    number("Late changes", "Share of an hour's changes that took more than five minutes; the objective allows 0.5 %.", "percentunit", "max(cmsync:changes_late:ratio_rate1h) or vector(0)", 0.005, 0.05),
                    number("Held removals", "Collections whose removals wait for `cmsync removals approve`.", "short", f"sum({largest('cmsync_producer_held_removals')})", 1),
                    number("Dead letters", "What was set aside and waits for a decision.", "short", f"sum({largest('cmsync_dead_letters')})", 1),
                    number("Findings", "What the last verification of each workspace found wrong.", "short", f"sum({largest('cmsync_verify_findings')})", 1),
                    number("Memberships", "Kept in all workspaces.", "short", "sum(cmsync_producer_members)"),
                    number("Billed a day", "Estimate of what Azure bills.", "decbytes", "sum(cmsync:billed_bytes:increase1d)"),
                    number("Next credential ends in", "Of secrets and certificates whose end is known.", "s", "min(cmsync:credential_ends_in_seconds)"),
                ],
            ),
            (
                "Each connection",
                [
                    lines("Since the last poll", "Time since a poll of the site came whole.", "s", ("cmsync:poll_age_seconds", "{{connection}}")),
                    lines("Oldest change that waits", "Age of the oldest change that the workspace has not taken.", "s", ("cmsync:oldest_undelivered_age_seconds", "{{connection}}")),
                    lines("Stages that do not go on", "By who must act.", "short", ("cmsync:stages_blocked > 0 or sum by (connection) (cmsync:stages_blocked)", "{{connection}} {{cause}}")),
                    lines("Changes taken", "Changes of collections a second that workspaces took; snapshots are not counted.", "ops", (rate("cmsync_uploader_changes_accepted_total", "connection"), "{{connection}}")),
                    lines("Memberships", "Kept of each connection.", "short", (largest("cmsync_producer_members"), "{{connection}}")),
                    lines("Billed bytes", "Bytes a second that Azure bills, estimated.", "Bps", (rate("cmsync_uploader_billed_bytes_total", "connection"), "{{connection}}")),
                ],
            ),
        ],
    )


def pipeline():
    return dashboard(
        "cmsync-pipeline",
        "cmsync: pipeline",
        "From the sites through the queue to the workspaces.",
        [
            (
                "Producer",
                [
                    lines("Polls", "Polls a second that came whole, and that failed.", "ops", (rate("cmsync_producer_polls_total"), "whole"), (rate("cmsync_producer_poll_failures_total"), "failed")),
                    lines("Time of a poll", "With all that it led to.", "s", *quantiles("cmsync_producer_poll_seconds")),
                    lines("Site's time", "Seconds a second that sites were busy, and that reads waited for their bounds.", "short", (rate("cmsync_producer_site_seconds_total"), "busy"), (rate("cmsync_producer_site_wait_seconds_total"), "bounded")),
                    lines("Rows read", "Membership rows a second.", "ops", (rate("cmsync_producer_rows_read_total"), "rows")),
                    lines("Members published", "A second.", "ops", (rate("cmsync_producer_devices_published_total"), "present or added"), (rate("cmsync_producer_devices_removed_total"), "removed")),
                    lines("Snapshots", "Collections a second that were sent whole.", "ops", (rate("cmsync_producer_snapshots_total"), "snapshots")),
                    lines("Reads that did not settle", "A second; each is repeated.", "ops", (rate("cmsync_producer_unsettled_reads_total"), "reads")),
                    lines("Rows that are no computers", "Of whole reads, a second.", "ops", (rate("cmsync_producer_rows_skipped_total", "reason"), "{{reason}}")),
                    lines("State repaired", "Collections whose state lacked members.", "short", (rate("cmsync_producer_state_repairs_total", function="increase"), "collections")),
                ],
            ),
            (
                "Queue",
                [
                    lines("Messages that wait", "By the stage that they wait for.", "short", ("sum by (stage) (cmsync:waiting_messages)", "{{stage}}")),
                    lines("Bytes that wait", "Of each connection, and the limit above which its site is not read further.", "bytes", (largest("cmsync_queue_backlog_bytes"), "{{connection}}"), ("max(cmsync_queue_max_backlog_bytes)", "limit")),
                    lines("Time of a commit", "One `fdatasync`, or one transaction of the brokers.", "s", *quantiles("cmsync_queue_commit_seconds")),
                    lines("Queue's file", "It keeps its largest size.", "bytes", (largest("cmsync_queue_file_bytes", by="instance"), "{{instance}}")),
                    lines("Can be written", "0 while the disk is full or fails.", "short", ("min by (instance) (cmsync_queue_writable)", "{{instance}}")),
                    lines("Transformer", "A second.", "ops", (rate("cmsync_transformer_changes_total"), "changes"), (rate("cmsync_transformer_records_total"), "records")),
                ],
            ),
            (
                "To the workspaces",
                [
                    lines("Records taken", "A second.", "ops", (rate("cmsync_uploader_records_delivered_total"), "records"), (rate("cmsync_uploader_markers_delivered_total"), "markers")),
                    lines("From a poll to acceptance", "Age of records when the workspace took them.", "s", *quantiles("cmsync_uploader_record_age_seconds")),
                    lines("Set aside", "Records and messages.", "short", (rate("cmsync_uploader_dead_letters_total", "reason", function="increase"), "uploader: {{reason}}"), (rate("cmsync_transformer_dead_letters_total", "reason", function="increase"), "transformer: {{reason}}")),
                ],
            ),
            (
                "Processes",
                [
                    lines("Memory", "Resident.", "bytes", ("max by (instance) (process_resident_memory_bytes)", "{{instance}}")),
                    lines("CPU", "Seconds a second.", "short", ("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{instance}}")),
                    lines("Configuration accepted", "0 while the file has a mistake.", "short", ("min by (instance) (cmsync_configuration_accepted)", "{{instance}}")),
                ],
            ),
        ],
    )


def connection():
    def of(metric):
        return largest(metric, ONE)

    def since(metric):
        return f"time() - ({of(metric)} > 0)"

    return dashboard(
        "cmsync-connection",
        "cmsync: one connection",
        "One hierarchy and its workspace.",
        [
            (
                "Is it true?",
                [
                    number("Since the last poll", "Time since a poll of the site came whole.", "s", since("cmsync_producer_last_poll_timestamp_seconds"), 300, 900),
                    number("Oldest change that waits", "Of what the workspace has not taken.", "s", of("cmsync_queue_oldest_undelivered_age_seconds"), 300, 900),
                    number("Oldest snapshot", "Since the collection that was sent whole longest ago was sent.", "s", since("cmsync_producer_oldest_snapshot_timestamp_seconds"), 14 * 3600, 26 * 3600),
                    number("Since verified", "Time since the workspace was verified.", "s", since("cmsync_verify_last_success_timestamp_seconds"), 13 * 3600, 24 * 3600),
                    number("Newest marker", "Age of the newest marker that the workspace showed.", "s", since("cmsync_verify_newest_marker_timestamp_seconds")),
                    number("Findings", "What the last verification found wrong.", "short", of("cmsync_verify_findings"), 1),
                ],
            ),
            (
                "What is asked of a person",
                [
                    number("Held removals", "Collections whose removals wait.", "short", of("cmsync_producer_held_removals"), 1),
                    number("Dead letters", "What was set aside.", "short", of("cmsync_dead_letters"), 1),
                    number("Failed links", "Replication links of the hierarchy.", "short", of("cmsync_producer_failed_links"), 1),
                    number("Groups behind", "Saved searches that are not as they should be.", "short", of("cmsync_uploader_groups_behind"), 100),
                    number("Credential ends in", "The first that ends.", "s", f"min(cmsync:credential_ends_in_seconds{{{ONE}}})"),
                    number("Copies that read the site", "One, if all is well.", "short", f"sum(cmsync_producer_owner{{{ONE}}})", None, 2),
                ],
            ),
            (
                "Over time",
                [
                    lines("Stages that do not go on", "By who must act.", "short", (largest("cmsync_connection_stages_blocked", ONE, "cause"), "{{cause}}")),
                    lines("Messages that wait", "By the stage that they wait for.", "short", (largest("cmsync_queue_waiting_messages", ONE, "stage"), "{{stage}}")),
                    lines("Bytes that wait", "For the workspace.", "bytes", (of("cmsync_queue_backlog_bytes"), "bytes")),
                    lines("Changes taken", "A second, and those of them that took more than five minutes.", "ops", (rate("cmsync_uploader_changes_accepted_total", where=ONE), "all"), (rate("cmsync_uploader_changes_late_total", where=ONE), "late")),
                    lines("Memberships", "Kept.", "short", (of("cmsync_producer_members"), "memberships")),
                    lines("Billed bytes", "A second, estimated.", "Bps", (rate("cmsync_uploader_billed_bytes_total", where=ONE), "bytes")),
                ],
            ),
        ],
        of_connection=True,
    )


def azure():
    return dashboard(
        "cmsync-azure",
        "cmsync: Azure",
        "What Azure answers, and what it costs.",
        [
            (
                "Logs Ingestion",
                [
                    lines("Posts by answer", "A second.", "ops", (rate("cmsync_uploader_posts_total", "status"), "{{status}}")),
                    lines("Waits for a quota", "Seconds a second that rules asked to wait for, all rules together.", "short", (rate("cmsync_uploader_throttle_wait_seconds_total"), "seconds")),
                    lines("Bodies on their way", "Fewer when the service slows down.", "short", ("sum by (instance) (cmsync_uploader_bodies_in_flight)", "{{instance}}")),
                    lines("Size of a body", "On the wire; one holds 1 MiB at most.", "bytes", *quantiles("cmsync_uploader_body_bytes")),
                    lines("Attempts of a body", "1 when all is well.", "short", *quantiles("cmsync_uploader_body_attempts")),
                    lines("Bodies that were halved", "By why.", "short", (rate("cmsync_uploader_bodies_split_total", "reason", function="increase"), "{{reason}}")),
                ],
            ),
            (
                "Everything else",
                [
                    lines("Requests by target", "A second.", "ops", (rate("cmsync_http_requests_total", "target"), "{{target}}")),
                    lines("Requests that failed", "By target and answer, a second.", "ops", (rate("cmsync_http_requests_total", "target, status", 'status!="2xx"'), "{{target}} {{status}}")),
                    lines("Time to an answer", "99th percentile by target.", "s", quantiles("cmsync_http_request_seconds", "target")[1]),
                    lines("Tokens", "By outcome.", "short", (rate("cmsync_azure_tokens_total", "outcome", function="increase"), "{{outcome}}")),
                    lines("Computer groups", "Saved searches a second that were written, and that failed.", "ops", (rate("cmsync_uploader_group_writes_total"), "written"), (rate("cmsync_uploader_group_failures_total"), "failed")),
                    lines("Billed a day", "Estimate of what Azure bills.", "decbytes", ("cmsync:billed_bytes:increase1d", "{{connection}}")),
                ],
            ),
        ],
    )


def kafka():
    return dashboard(
        "cmsync-kafka",
        "cmsync: Kafka",
        "Copies that share the work on brokers.",
        [
            (
                "Who does what",
                [
                    lines("Copies that read a site", "One of each connection.", "short", ("cmsync:owners", "{{connection}}")),
                    lines("Partitions", "That each copy has, by group.", "short", ("sum by (instance, group) (cmsync_queue_owned_partitions)", "{{instance}} {{group}}")),
                    lines("Held up by a move", "How long partitions waited for what was on its way, by group.", "s", ("sum by (group) (cmsync_queue_revocation_seconds_sum) / (sum by (group) (cmsync_queue_revocation_seconds_count) > 0)", "{{group}}")),
                    lines("State taken over", "Messages a second.", "ops", (rate("cmsync_queue_restored_messages_total", "group"), "{{group}}")),
                    lines("Versions", "Copies of each version.", "short", ("count by (version) (cmsync_build_info)", "{{version}}")),
                ],
            ),
            (
                "The brokers",
                [
                    lines("Time of a transaction", "Of all stages.", "s", *quantiles("cmsync_queue_commit_seconds")),
                    lines("Polls that failed", "A second, by group.", "ops", (rate("cmsync_queue_poll_failures_total", "group"), "{{group}}")),
                    lines("Messages that wait", "By the stage that they wait for.", "short", ("sum by (stage) (cmsync:waiting_messages)", "{{stage}}")),
                    lines("Deleted before they were taken", "Offsets; everything is sent whole then.", "short", (rate("cmsync_transformer_messages_lost_total", function="increase"), "transformer"), (rate("cmsync_uploader_messages_lost_total", function="increase"), "uploader")),
                ],
            ),
        ],
    )


def main(check=False):
    wrong = []
    for made in [overview(), pipeline(), connection(), azure(), kafka()]:
        text = JSONEncoder(sort_keys=True, indent=1).encode(made) + "\n"
        path = FOLDER / f"{made.uid}.json"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(f"{path} is not what {__file__} makes: make dashboards")
    return "\n".join(wrong) or None


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
