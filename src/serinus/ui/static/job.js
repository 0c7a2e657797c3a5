// One job as it goes on: progress, curves and log over its own event stream.
import { curves } from "./curves.js";
import { redraw } from "./charts.js";
import { refresh } from "./live.js";
import { $ } from "./send.js";

const LINES = 5000; // of the log, in the page
const place = $("#job");
const log = $("#log");
const boxes = { loss: $("#chart-loss"), map50: $("#chart-map50") };
const epochs = Number(place.dataset.epochs);
const address = `/api/jobs/${place.dataset.job}`;
let points = [];
let lines = [];
let events = null;
let over = false;
let due = 0;

function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function draw() {
  if (!boxes.loss || !points.length) return;
  curves(boxes, points, epochs);
  const told = Object.entries(points.at(-1).metrics).map(([name, value]) => `${name === "map50" ? "mAP50" : name.replaceAll("_", " ")} ${value.toFixed(3)}`);
  $("#curve-words").textContent = `Last: ${told.join(", ")}, in epoch ${points.at(-1).step}.`;
}

/** Many messages come at once after a start: they are drawn together. */
function soon() {
  due ||= requestAnimationFrame(() => {
    due = 0;
    draw();
    const below = log.scrollHeight - log.scrollTop - log.clientHeight;
    log.textContent = lines.join("\n");
    if (below < 40) log.scrollTop = log.scrollHeight;
  });
}

function told(job) {
  const bar = $("#job-progress");
  if (!bar) return;
  // From waiting to work, or to trouble: the server has the words.
  if ($("#job-state").textContent !== job.state || $("#job").dataset.reason !== job.reason) refresh();
  bar.value = job.fraction;
  if (job.state !== "running") return;
  const message = job.message || "Starting";
  const left = job.eta_seconds == null ? "" : ` · about ${clock(job.eta_seconds)} left`;
  $("#job-words").textContent = message[0].toUpperCase() + message.slice(1) + left;
}

function follow() {
  if (events || over || document.hidden) return;
  let fresh = true; // the stream begins at the beginning; when the browser itself connects again, it goes on
  events = new EventSource(`${address}/events`);
  const heard = (name, act) =>
    events.addEventListener(name, ({ data }) => {
      if (fresh) [points, lines, fresh] = [[], [], false];
      act(JSON.parse(data));
    });
  heard("job", told);
  heard("point", (point) => {
    points.push(point);
    soon();
  });
  heard("log", (more) => {
    lines = lines.concat(more.lines).slice(-LINES);
    soon();
  });
  heard("end", () => {
    over = true;
    leave();
    refresh();
  });
  events.onerror = () => {
    if (events?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    leave();
    setTimeout(follow, 10_000);
  };
}

function leave() {
  events?.close();
  events = null;
}

async function look() {
  try {
    const reply = await fetch(address);
    if (!reply.ok) return;
    const detail = await reply.json();
    points = detail.points;
    draw();
  } catch {
    // The words of the page stand for the curves.
  }
}

// A browser opens six connections to a server: a tab that nobody looks at keeps none.
document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
addEventListener("pagehide", leave);
addEventListener("serinus:back", () => {
  if (!events) return;
  leave(); // its connection may have died without a word
  follow();
});
addEventListener("pageshow", (event) => event.persisted && follow());
if (boxes.loss) redraw(draw);
log.scrollTop = log.scrollHeight;
if (place.dataset.active === "yes") follow();
else look();
