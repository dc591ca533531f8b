// Draws what the process sampled, and keeps it up to date while it is looked at.
"use strict";
(() => {
  const STEPS = ["", "k", "M", "G", "T"];
  const short = (value, base) => {
    let step = 0;
    while (Math.abs(value) >= base && step < STEPS.length - 1) {
      value /= base;
      step += 1;
    }
    return `${Number(value.toPrecision(3))}${step && base === 1024 ? ` ${STEPS[step]}i` : STEPS[step]}`;
  };
  const UNITS = {
    "per-second": (value) => `${short(value, 1000)}/s`,
    "per-minute": (value) => `${short(value, 1000)}/min`,
    seconds: (value) => (value >= 7200 ? `${short(value / 3600, 1000)} h` : value >= 120 ? `${short(value / 60, 1000)} min` : `${short(value, 1000)} s`),
    bytes: (value) => `${short(value, 1024)}${Math.abs(value) < 1024 ? " " : ""}B`,
    count: (value) => short(value, 1000),
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Steps of an axis of bytes: round in the units that they are said in.
  const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);
  const STROKES = ["--accent", "--behind"];

  const drawn = new Map();
  const draw = (box, plot, times) => {
    const say = UNITS[plot.unit];
    const data = [times, ...plot.lines.map((line) => line.values)];
    const known = drawn.get(box);
    if (known) {
      known.setData(data);
      return;
    }
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
    const lines = plot.lines.map((line, at) => ({
      label: line.name, stroke: () => colour(STROKES[at]), width: 2, dash: at ? [6, 4] : [], spanGaps: false, points: { show: times.length < 3 },
    }));
    drawn.set(box, new uPlot({
      width: box.clientWidth, height: box.clientHeight, legend: { show: false }, cursor: { y: false },
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 0) > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, size: 32, space: 80, values: [[3600, "{HH}:{mm}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]] }, { ...axis, size: 78, values: (_, ticks) => ticks.map(say), ...(plot.unit === "bytes" ? { incrs: POWERS } : {}) }],
      series: [{}, ...lines],
    }, data, box));
  };

  const show = (answer) => {
    for (const plot of answer.plots) {
      const figure = document.getElementById(`plot-${plot.id}`);
      draw(figure.querySelector(".canvas"), plot, answer.times);
      plot.lines.filter((line) => line.summary).forEach((line, at) => {
        const cells = figure.querySelectorAll(`tbody tr:nth-child(${at + 1}) td`);
        line.summary.forEach((text, column) => { cells[column].textContent = text; });
      });
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const all = document.getElementById("plots");
    if (!all) return;
    const look = async () => {
      if (document.hidden) return;
      const lost = document.getElementById("lost");
      try {
        const answer = await fetch(all.dataset.from, { headers: { accept: "application/json" } });
        if (!answer.ok) throw new Error(String(answer.status));
        show(await answer.json());
        lost.hidden = true;
      } catch {
        lost.hidden = false;
      }
    };
    new ResizeObserver(() => {
      for (const [box, plot] of drawn) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
    }).observe(all);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const plot of drawn.values()) plot.redraw(); });
    if (all.dataset.plots) {
      show(JSON.parse(all.dataset.plots));
      return;
    }
    document.addEventListener("visibilitychange", look);
    look();
    setInterval(look, 10_000);
  });
})();
