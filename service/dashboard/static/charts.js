// Line charts with uPlot from what the page says in JSON: {x, xKind, yLabel, zero, series, band, marks, difference}.

export function clock(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

const short = (value) => (value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(4))));

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const xFormats = {
  time: { label: "time", values: (_, splits) => splits.map(clock), incrs: [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200], said: clock },
  date: { label: "date", said: (value) => new Date(value * 1000).toISOString().slice(0, 10) },
  epoch: { label: "epoch", incrs: [1, 2, 5, 10, 20, 50, 100], said: String },
  count: { label: "workout", incrs: [1, 2, 5, 10, 20, 50, 100], said: String },
};

function options(spec, width, height) {
  const format = xFormats[spec.xKind];
  const axis = { stroke: () => color("text"), grid: { stroke: () => color("line") }, ticks: { stroke: () => color("line") } };
  const x = { ...axis, size: 36 };
  if (format.values) x.values = format.values;
  if (format.incrs) x.incrs = format.incrs;
  return {
    width,
    height,
    scales: { x: { time: spec.xKind === "date" }, y: spec.zero ? { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.05 || 1] } : {} },
    axes: [x, { ...axis, size: 66, values: (_, splits) => splits.map(short), label: spec.yLabel, labelSize: 18, labelFont: "13px system-ui" }],
    series: [{ label: format.label, value: (_, value) => (value === null ? "–" : format.said(value)) }, ...spec.series.map(line)],
    bands: spec.band ? [{ series: spec.band, fill: () => color("band") }] : [],
    hooks: { drawClear: [(plot) => drawMarks(plot, spec.marks ?? [])] },
    cursor: { drag: { x: true, y: false } },
  };
}

function line(series) {
  const edge = series.color === "band";
  return {
    label: series.label,
    stroke: () => color(series.color),
    width: edge ? 0 : 2,
    points: { show: Boolean(series.points), size: 7 },
    value: (_, value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(4)),
  };
}

function drawMarks(plot, marks) {
  for (const mark of marks) {
    const left = plot.valToPos(mark.begins, "x", true);
    const right = plot.valToPos(mark.ends, "x", true);
    plot.ctx.fillStyle = color("fault");
    plot.ctx.fillRect(left, plot.bbox.top, Math.max(2, right - left), plot.bbox.height);
  }
}

function columns(spec) {
  if (!spec.difference) return [spec.x, ...spec.series.map((series) => series.values)];
  const [from, less] = spec.difference;
  return [spec.x, from.map((value, i) => (value === null || less[i] === null ? null : value - less[i]))];
}

class Chart {
  constructor(figure) {
    this.place = figure.querySelector(".plot");
    this.height = Number(figure.dataset.height);
    this.spec = JSON.parse(figure.querySelector("script").textContent);
    new ResizeObserver(() => this.resize()).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot?.redraw());
    this.draw();
  }

  draw() {
    if (!this.place.clientWidth) return;
    this.plot?.destroy();
    this.plot = new uPlot(options(this.spec, this.place.clientWidth, this.height), columns(this.spec), this.place);
  }

  resize() {
    if (!this.plot) this.draw();
    else if (this.plot.width !== this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: this.height });
  }

  show(x, rows) {
    this.spec.x = x;
    rows.forEach((values, i) => { this.spec.series[i].values = values; });
    if (this.plot) this.plot.setData(columns(this.spec));
    else this.draw();
  }
}

export function startCharts() {
  return Object.fromEntries([...document.querySelectorAll("[data-chart]")].map((figure) => [figure.dataset.chart, new Chart(figure)]));
}
