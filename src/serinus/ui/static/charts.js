// A rollout's series as charts (uPlot): evidence against its limits, error rates with confidence sequences.
const LEAST = 1e-3;
const MOST = 1e6;

const TELLING = 2; // evidence below it says nothing, and its line would only be in the way
const CLAIMS = {
  signals: ["invalid or empty answers", "ink"],
  shift: ["other answers than current", "ink"],
  drift: ["other answers than before", "current"],
  disagreement: ["disagreement", "soft"],
  split: ["traffic not split as declared", "soft"],
};

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const held = (value) => (value == null ? null : Math.min(MOST, Math.max(LEAST, value)));
const percent = (value) => (value == null ? "–" : `${+(100 * value).toPrecision(3)} %`);
/** An e-value for people. */
export const weight = (value) => (value == null ? "–" : value >= MOST ? "> a million" : value.toLocaleString("en", { maximumSignificantDigits: 3 }));
const clock = (seconds) => {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};
const wash = (name, part) => `color-mix(in srgb, ${colour(name)} ${part}%, transparent)`;

const isPower = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6;

function axes(format) {
  const common = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return [
    { ...common, values: (_, values) => values.map(clock), size: 34 },
    { ...common, values: (_, values) => values.map((value) => (value == null ? "" : format(value))), size: 64 },
  ];
}

/** Of a chart over time: its series, how values of the upright axis are written, and what else it wants. */
export function options(box, series, format, more) {
  return {
    width: Math.max(240, box.clientWidth),
    height: 240,
    scales: { x: { time: false } },
    legend: { live: true },
    cursor: { drag: { x: true, y: false }, focus: { prox: 24 } },
    axes: axes(format),
    series: [{ label: "after", value: (_, at) => (at == null ? "–" : clock(at)) }, ...series],
    ...more,
  };
}

/** What the legend says while nobody points at a moment. */
function newest(plot) {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 }, false);
}

/** Draws anew, or hands new data to the chart that is there when its lines are the same. */
export function draw(box, data, made) {
  const key = `${box.clientWidth} ${data.length} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
  if (box.chart && box.chartKey === key) {
    box.chart.setData(data);
    return newest(box.chart);
  }
  box.chart?.destroy();
  box.chartKey = key;
  box.chart = new uPlot({ ...made(), hooks: { setCursor: [newest] } }, data, box);
  // The legend is a table without head cells: for a screen reader it is a list of values, told by the words beside.
  box.querySelector(".u-legend")?.setAttribute("role", "presentation");
}

function evidence(box, points) {
  const line = (label, name, width = 2) => ({ label, stroke: colour(name), width, value: (_, v) => weight(v), spanGaps: true });
  const limit = (label, name) => ({ ...line(label, name), class: "edge", width: 1.2, dash: [6, 5], points: { show: false } });
  const slow = points.some((one) => one.e_latency != null);
  const of = (field) => points.map((one) => held(one[field]));
  const data = [points.map((one) => one.seconds), of("e_errors"), of("limit_errors"), of("e_good"), of("limit_good")];
  if (slow) data.push(of("e_latency"), of("limit_latency"));
  const told = Object.keys(CLAIMS).filter((claim) => points.some((one) => one.claims[claim]?.e > TELLING));
  for (const claim of told) for (const field of ["e", "limit"]) data.push(points.map((one) => held(one.claims[claim]?.[field])));
  const values = data.slice(1).flat().filter((value) => value != null);
  const span = [Math.max(LEAST, Math.min(0.1, ...values)), Math.min(MOST * 2, 2 * Math.max(1000, ...values))];
  const series = [line("fails too often", "bad"), limit("its limit", "bad"), line("proof of health", "good", 4), limit("its limit", "good")];
  if (slow) series.push(line("slower", "canary"), limit("its limit", "canary"));
  for (const claim of told) series.push(line(...CLAIMS[claim]), limit("its limit", CLAIMS[claim][1]));
  draw(box, data, () => {
    const made = options(box, series, (value) => `${+value.toPrecision(1)}`, { scales: { x: { time: false }, y: { distr: 3, range: () => span } } });
    const powers = (_, values) => values.map((value) => (value != null && isPower(value) ? value : null));
    Object.assign(made.axes[1], { filter: powers, grid: { ...made.axes[1].grid, filter: powers } });
    return made;
  });
}

function rates(box, points, most) {
  const of = (arm, field) =>
    points.map(({ [arm]: seen }) => (seen.requests ? (field === "rate" ? seen.failures / seen.requests : seen[field]) : null));
  const data = [points.map((one) => one.seconds)];
  for (const arm of ["canary", "current"]) for (const field of ["high", "rate", "low"]) data.push(of(arm, field));
  data.push(points.map(() => most));
  const edge = (label, name) => ({ label, class: "edge", stroke: wash(name, 45), width: 1, points: { show: false }, value: (_, v) => percent(v) });
  const line = (label, name) => ({ ...edge(label, name), class: "line", stroke: colour(name), width: 2.2 });
  const series = ["canary", "current"].flatMap((name) => [edge(`${name} at most`, name), line(name, name), edge(`${name} at least`, name)]);
  series.push({ ...edge("allowed", "bad"), class: "line", stroke: colour("bad"), dash: [6, 5] });
  const bands = [
    { series: [1, 3], fill: wash("canary", 16) },
    { series: [4, 6], fill: wash("current", 14) },
  ];
  // The sequences begin at 0 to 100 %: the picture is about where they come to.
  const late = points[Math.floor(points.length / 4)];
  const top = () => [0, Math.min(1, 1.15 * Math.max(3 * most, late.canary.requests ? late.canary.high : 0, late.current.requests ? late.current.high : 0))];
  draw(box, data, () => options(box, series, percent, { bands, scales: { x: { time: false }, y: { range: top } } }));
}

/** Both charts of `told` (/api/rollouts/N/explain) into their boxes; `until`: seconds, for a replay. */
export function chart(told, boxes, until = Infinity) {
  const points = told.series.filter((one) => one.seconds <= until);
  for (const box of Object.values(boxes)) box.classList.toggle("empty", !points.length);
  if (!points.length) return;
  evidence(boxes.evidence, points);
  rates(boxes.rates, points, told.policy.max_error_rate);
}

/** The charts follow their width and the colours of the day. */
export function redraw(again) {
  let due = 0;
  const soon = () => {
    clearTimeout(due);
    due = setTimeout(again, 150);
  };
  addEventListener("resize", soon);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
}
