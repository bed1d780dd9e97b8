// Draws the charts, adds buttons that copy commands, keeps the state of the page over refreshes, and pauses refreshing.
"use strict";

(() => {
  const plots = new Map(); // from the element of a chart to its plot
  const inside = () => document.getElementById("inside");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const octets = (value) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let index = 0;
    while (value >= 1024 && index < units.length - 1) { value /= 1024; index += 1; }
    return `${Number(value.toFixed(1))} ${units[index]}`;
  };
  const lasting = (value) => { // the largest unit, as in the tables
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) {
      if (value >= size) return `${Number((value / size).toFixed(1))}${unit}`;
    }
    return `${Math.round(value)}s`;
  };
  const count = (value) => (Number.isInteger(value) ? value.toLocaleString("en") : "");

  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  function moment(seconds, step) { // of local time, which the server has made of UTC; a day where one begins
    const time = new Date(seconds * 1000);
    const isDay = step >= 86400 || seconds % 86400 === 0;
    return isDay ? `${time.getUTCDate()} ${months[time.getUTCMonth()]}` : time.toISOString().slice(11, 16);
  }

  const whole = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

  const steps = [1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800];

  function axes(chart, narrow) {
    const ink = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const font = "12px system-ui, sans-serif";
    const x = { ...ink, font, grid: { show: false } };
    if (chart.kind === "bars") {
      x.splits = () => chart.labels.map((_, index) => index);
      const short = (text) => text.replace(/^.* to /, "").replace(/^up to /, "").replace("over ", ">");
      x.values = () => chart.labels.map((text, index) => (narrow && index % 3 ? "" : short(text)));
      x.size = 36;
    } else {
      x.values = (_, splits, axis, space, step) => splits.map((seconds) => moment(seconds, step));
      x.space = 64;
    }
    const isTime = chart.lines.every((line) => line.unit === "seconds");
    const y = { ...ink, font, size: narrow ? 44 : 64, incrs: isTime ? steps : whole,
      values: (_, splits) => splits.map(isTime ? lasting : count) };
    const found = [x, y];
    if (chart.lines.some((line) => line.unit === "octets")) {
      found.push({ ...ink, font, side: 1, scale: "octets", size: narrow ? 56 : 76, grid: { show: false },
        values: (_, splits) => splits.map(octets) });
    }
    return found;
  }

  function options(chart, width) {
    const dashes = { back: [6, 3], wait: [2, 3], seen: [1, 4] }; // so that lines differ without colours, too
    const series = chart.lines.map((line) => ({
      label: line.name,
      scale: line.unit === "octets" ? "octets" : "y",
      stroke: colour(`--${line.look}`),
      fill: chart.kind === "bars" ? colour(`--${line.look}-soft`) : undefined,
      width: 2,
      dash: chart.kind === "bars" ? undefined : dashes[line.look],
      points: { show: chart.kind !== "bars" && chart.times.length < 3 },
      paths: chart.kind === "bars" ? uPlot.paths.bars({ size: [0.7, 80] }) : undefined,
    }));
    const [first, last] = [chart.times[0], chart.times[chart.times.length - 1]];
    const around = (_, low, high) => // uPlot would show a single point with a range of years
      last - first < 7200 ? [first - 3600, last + 3600] : [low, high];
    const from = (_, low, high) => [0, Math.max(high, 1) * 1.1];
    return {
      width,
      height: width < 480 ? 200 : 260,
      legend: { show: false },
      cursor: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: chart.kind === "bars" ? { time: false, range: [-0.6, chart.labels.length - 0.4] } : { time: true, range: around },
        y: { range: from },
        octets: { range: from },
      },
      axes: axes(chart, width < 480),
      series: [{}, ...series],
    };
  }

  function draw(element) {
    const chart = JSON.parse(element.dataset.chart);
    const x = chart.kind === "bars" ? chart.labels.map((_, index) => index) : chart.times;
    const width = Math.floor(element.clientWidth);
    if (!width) return;
    element.textContent = "";
    plots.set(element, new uPlot(options(chart, width), [x, ...chart.lines.map((line) => line.values)], element));
  }

  function drawAll() {
    for (const [element, plot] of plots) {
      plot.destroy();
      plots.delete(element);
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  function close() {
    document.querySelectorAll(".chart ~ details[open]").forEach((element) => { element.open = false; });
  }

  // State that a refresh must keep: open tables, the keyboard focus, the scroll position of tables.
  let kept = null;
  function keep() {
    const focused = document.activeElement;
    const tabbable = [...inside().querySelectorAll("a, button, summary, [tabindex]")];
    kept = {
      open: [...inside().querySelectorAll("details[open]")].map((element) => element.id),
      focus: inside().contains(focused) ? tabbable.indexOf(focused) : -1,
      scrolled: [...inside().querySelectorAll(".wide")].map((element) => element.scrollLeft),
    };
  }
  function giveBack() {
    close();
    if (kept === null) return;
    kept.open.forEach((id) => {
      const element = document.getElementById(id);
      if (element !== null) element.open = true;
    });
    [...inside().querySelectorAll(".wide")].forEach((element, index) => { element.scrollLeft = kept.scrolled[index] || 0; });
    const tabbable = [...inside().querySelectorAll("a, button, summary, [tabindex]")];
    if (kept.focus >= 0 && tabbable[kept.focus]) tabbable[kept.focus].focus({ preventScroll: true });
    kept = null;
  }

  // Commands can be copied without a script too: a click marks them whole.
  async function copy(button, text) {
    let done = false;
    try {
      await navigator.clipboard.writeText(text); // only https and loopback have it
      done = true;
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
    }
    button.textContent = done ? "Copied" : "Marked: press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  }
  function addButtons() {
    document.querySelectorAll(".command").forEach((element) => {
      if (element.nextElementSibling !== null) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy: ${element.textContent}`);
      button.addEventListener("click", () => copy(button, element.textContent));
      element.after(button);
    });
  }

  function begin() {
    close();
    drawAll();
    addButtons();
    const pause = document.getElementById("pause");
    pause.hidden = false;
    pause.addEventListener("click", () => {
      const paused = pause.getAttribute("aria-pressed") === "true";
      pause.setAttribute("aria-pressed", String(!paused));
    });
    document.body.addEventListener("htmx:beforeRequest", (event) => {
      if (pause.getAttribute("aria-pressed") === "true" || document.hidden) event.preventDefault();
    });
    document.body.addEventListener("htmx:beforeSwap", keep);
    document.body.addEventListener("htmx:afterSwap", () => { giveBack(); drawAll(); addButtons(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      drawAll();
    });
  }

  if (document.getElementById("inside") !== null) begin();
})();
