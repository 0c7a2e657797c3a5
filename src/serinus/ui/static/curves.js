// A training's curves over its epochs (uPlot).
import { colour, draw, options } from "./charts.js";

const figure = (value) => (value == null ? "–" : value.toFixed(3));

function curve(box, points, epochs, name, tone) {
  const some = points.filter((one) => one.metrics[name] != null);
  box.classList.toggle("empty", !some.length);
  if (!some.length) return;
  const whole = epochs || Math.max(...some.map((one) => one.step));
  const at = some.map((one) => one.fraction * whole);
  const data = [at, some.map((one) => one.metrics[name])];
  draw(box, data, () => {
    const line = { label: name === "map50" ? "mAP50" : name, class: "line", stroke: colour(tone), width: 2.2, value: (_, value) => figure(value) };
    const scales = { x: { time: false, range: () => [0, whole] } };
    if (name === "map50") scales.y = { range: (_, low, high) => [Math.max(0, low - 0.05), Math.min(1, high + 0.05)] };
    const made = options(box, [line], (value) => `${+value.toPrecision(3)}`, { scales });
    made.axes[0].values = (_, values) => values.map((value) => (Number.isInteger(value) ? value : ""));
    made.series[0] = { label: "epoch", value: (_, value) => (value == null ? "–" : value.toFixed(1)) };
    return made;
  });
}

/** Draws loss and mAP50 of `points` ({step, fraction, metrics}) into their boxes. `epochs`: 0 when unknown. */
export function curves(boxes, points, epochs) {
  curve(boxes.loss, points, epochs, "loss", "current");
  curve(boxes.map50, points, epochs, "map50", "good");
}
