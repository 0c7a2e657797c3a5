// A rollout on its time line: a slider goes through it, charts and words show what was known then.
import { $ } from "./send.js";
import { chart, redraw, weight } from "./charts.js";

const place = $("#replay");
const slider = $("#replay-at");
const button = $("#replay-play");
const boxes = { evidence: $("#chart-evidence"), rates: $("#chart-rates") };
const moments = [...document.querySelectorAll("#moments [data-seconds]")];
let told = null;
let playing = 0;

function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function show() {
  const whole = Number(slider.max);
  const at = Number(slider.value);
  const offset = told.canary_from; // the series begins with the first request, the time line with the checks
  for (const moment of moments) moment.classList.toggle("to-come", Number(moment.dataset.seconds) > at + 0.5);
  const known = told.series.filter((one) => one.seconds + offset <= at + 0.5);
  const last = known.at(-1);
  $("#replay-clock").textContent = `${clock(at)} of ${clock(whole)}`;
  slider.setAttribute("aria-valuetext", `${clock(at)} after the start`);
  $("#replay-words").textContent = last
    ? `${last.canary.failures} of ${last.canary.requests} canary requests failed, ${last.current.failures} of ${last.current.requests} of current's. Evidence of harm ${weight(last.e_errors)} of ${weight(last.limit_errors)}, of health ${weight(last.e_good)} of ${weight(last.limit_good)}. The canary's share: ${+(100 * last.share).toPrecision(3)} %.`
    : "No request was judged yet.";
  chart(told, boxes, at >= whole ? Infinity : at - offset + 0.5);
}

function stop() {
  clearInterval(playing);
  playing = 0;
  button.textContent = "Play";
}

button.addEventListener("click", () => {
  if (playing) return stop();
  if (slider.value === slider.max) slider.value = 0;
  button.textContent = "Stop";
  playing = setInterval(() => {
    slider.value = Number(slider.value) + Number(slider.max) / 100;
    show();
    if (slider.value === slider.max) stop();
  }, 100);
});
slider.addEventListener("input", () => {
  stop();
  show();
});

const reply = await fetch(`/api/rollouts/${place.dataset.rollout}/explain`);
told = await reply.json();
told.canary_from = told.timeline.find((one) => one.row.kind === "verified")?.seconds ?? 0;
slider.max = Math.ceil(Math.max(...told.timeline.map((one) => one.seconds), ...told.series.map((one) => one.seconds + told.canary_from)));
slider.step = Number(slider.max) / 100; // else a short rollout could not be played: its steps would be rounded away
slider.value = slider.max;
show();
redraw(show);
