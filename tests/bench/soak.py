#!/usr/bin/env python3
"""Plots what `make soak` measured: memory and handles of each process, the queue's size, rows sent."""

import collections
import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot


def main(source, target):
    with open(source) as file:
        rows = list(csv.DictReader(file))
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    minutes = lambda row: int(row["seconds"]) / 60
    kills = sorted({minutes(row) for row in rows if row["killed"]})
    # On a broker the queue is no directory.
    totals = {"queue_mib": "queue's directory, MiB", "bodies": "bodies taken"}
    totals = {c: title for c, title in totals.items() if any(float(row[c]) for row in rows)}
    count = 2 + len(totals)
    figure, axes = plot.subplots(count, 1, figsize=(10, 2.75 * count), sharex=True)
    for stage in stages:
        for axis, column in zip(axes, ["rss_mib", "handles"]):
            largest = collections.defaultdict(float)
            for row in (row for row in rows if row["stage"] == stage):
                largest[minutes(row)] = max(largest[minutes(row)], float(row[column]))
            axis.plot(list(largest), list(largest.values()), label=stage)
    for axis, column in zip(axes[2:], totals):
        values = {minutes(row): float(row[column]) for row in rows}
        axis.plot(list(values), list(values.values()), color="tab:gray")
    titles = ["memory of the largest process, MiB", "open handles", *totals.values()]
    for axis, title in zip(axes, titles):
        axis.set_title(title, loc="left")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        for kill in kills:
            axis.axvline(kill, color="tab:red", linewidth=0.8, linestyle=":")
    axes[0].legend(loc="lower right")
    axes[-1].set_xlabel("minutes; dotted: a process is killed and another one started")
    figure.tight_layout()
    figure.savefig(target, dpi=90)


main(*sys.argv[1:])
