// Answers of one version, or of two beside each other: pictures with boxes, counts, a table, files to take along.
import { $ } from "./send.js";

const swipe = $("#swipe");
const least = $("#least");
const switched = $("#boxes");
const edges = [...document.querySelectorAll("#place input")];
const MOST_ROWS = 500;
const SVG = "http://www.w3.org/2000/svg";
let shown = []; // {reply, panel, overlay, alone}
let links = []; // blob URLs that the result holds

function link(blob) {
  links.push(URL.createObjectURL(blob));
  return links.at(-1);
}

function add(parent, name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  parent.append(made);
  return made;
}

const percent = (share) => `${Math.round(100 * share)} %`;
const kept = (reply) => reply.detections.filter((one) => one.conf >= Number(least.value));

// ---- two answers compared
function overlap([a, b, c, d], [e, f, g, h]) {
  const both = Math.max(0, Math.min(c, g) - Math.max(a, e)) * Math.max(0, Math.min(d, h) - Math.max(b, f));
  return both / ((c - a) * (d - b) + (g - e) * (h - f) - both || 1);
}

/** Boxes of the same building: each has at most one partner, of an overlap (IoU) of at least a half. */
function partners(one, other) {
  const free = new Set(other);
  const found = [];
  for (const box of one) {
    let best = null;
    for (const rival of free) {
      const part = overlap(box.xyxy, rival.xyxy);
      if (part >= 0.5 && part > (best?.part ?? 0)) best = { rival, part };
    }
    if (!best) continue;
    free.delete(best.rival);
    found.push([box, best.rival]);
  }
  return found;
}

function difference() {
  const words = $("#difference");
  words.hidden = shown.length < 2;
  for (const one of shown) one.alone = new Set();
  if (shown.length < 2) return;
  const [a, b] = shown.map((one) => kept(one.reply));
  const same = partners(a, b);
  const paired = new Set(same.flat());
  shown[0].alone = new Set(a.filter((box) => !paired.has(box)));
  shown[1].alone = new Set(b.filter((box) => !paired.has(box)));
  const other = same.filter(([box, rival]) => box.class_name !== rival.class_name).length;
  const [first, second] = shown.map((one) => `version ${one.reply.model.version}`);
  words.textContent = `${same.length} building${same.length === 1 ? "" : "s"} seen by both, ${other} of them with another class; ${shown[0].alone.size} by ${first} alone, ${shown[1].alone.size} by ${second} alone (dashed).`;
}

// ---- one answer
function draw({ reply, panel, alone }) {
  const svg = $("svg", panel);
  const { width, height } = reply.image_size;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const boxes = kept(reply);
  svg.setAttribute("aria-label", `${boxes.length} boxes: ${Object.entries(counts(reply)).map(([name, number]) => `${number} ${name}`).join(", ")}`);
  const size = Math.max(width, height) / 42;
  // The worst last: it must not be hidden.
  svg.replaceChildren(
    ...[...boxes].sort((a, b) => a.cls - b.cls || a.conf - b.conf).map((box) => {
      const [left, top, right, bottom] = box.xyxy;
      const group = document.createElementNS(SVG, "g");
      group.setAttribute("class", `k${box.cls % 5}${alone.has(box) ? " alone" : ""}${box.cls ? "" : " whole"}`);
      group.dataset.box = box.id;
      const title = document.createElementNS(SVG, "title");
      title.textContent = `#${box.id} ${box.class_name}, ${percent(box.conf)}`;
      group.append(title);
      for (const kind of ["halo", "line"]) {
        const rect = document.createElementNS(SVG, "rect");
        for (const [name, value] of Object.entries({ class: kind, x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) })) rect.setAttribute(name, value);
        group.append(rect);
      }
      if (box.cls) {
        const mark = document.createElementNS(SVG, "text");
        for (const [name, value] of Object.entries({ x: left + size * 0.15, y: Math.max(top, size) - size * 0.15, "font-size": size })) mark.setAttribute(name, value);
        mark.textContent = box.cls;
        group.append(mark);
      }
      return group;
    }),
  );
}

function counts(reply) {
  const found = Object.fromEntries(Object.keys(reply.counts).map((name) => [name, 0]));
  for (const box of kept(reply)) found[box.class_name] = (found[box.class_name] ?? 0) + 1;
  return found;
}

function count({ reply, panel }) {
  const boxes = kept(reply);
  const damaged = boxes.filter((box) => box.cls > 0).length;
  $(".words", panel).textContent = boxes.length
    ? `${boxes.length} building${boxes.length === 1 ? "" : "s"}, ${percent(damaged / boxes.length)} of them damaged.`
    : reply.detections.length
      ? "No box is as confident as that."
      : "No building found. Is it the same place twice, seen from above?";
  const list = $(".classes", panel);
  list.replaceChildren();
  Object.entries(counts(reply)).forEach(([name, number], place) => {
    const row = add(list, "div", undefined, `k${place % 5}`);
    add(row, "dt", name);
    add(row, "dd", number);
  });
}

function rows() {
  const all = shown.flatMap(({ reply }) => kept(reply).map((box) => [reply, box])).sort((a, b) => b[1].conf - a[1].conf);
  const body = $("#detections tbody");
  body.replaceChildren(
    ...all.slice(0, MOST_ROWS).map(([reply, box]) => {
      const row = document.createElement("tr");
      const cell = add(row, "td");
      const button = add(cell, "button", box.id, "quiet");
      button.type = "button";
      button.setAttribute("aria-label", `Show box ${box.id} of version ${reply.model.version}`);
      Object.assign(button.dataset, { show: box.id, version: reply.model.version });
      for (const text of [reply.model.version, box.class_name, box.conf.toFixed(2), box.xyxy.map(Math.round).join(", ")]) add(row, "td", text);
      return row;
    }),
  );
  const more = $("#more-rows");
  more.hidden = all.length <= MOST_ROWS;
  more.textContent = `${all.length - MOST_ROWS} more are in the JSON.`;
}

// ---- what is taken along
/** The edges of the picture in degrees; null where they were not told; an Error where they are none. */
function place() {
  if (edges.every((input) => !input.value)) return null;
  const [west, south, east, north] = edges.map((input) => (input.value && input.validity.valid ? Number(input.value) : NaN));
  if (!(west < east && south < north)) throw new Error("West must be smaller than east, south smaller than north, all four in degrees.");
  return { west, south, east, north };
}

function geojson(reply, at) {
  const { width, height } = reply.image_size;
  const x = (value) => (at ? at.west + ((at.east - at.west) * value) / width : value);
  const y = (value) => (at ? at.north - ((at.north - at.south) * value) / height : value);
  return {
    type: "FeatureCollection",
    coordinates: at ? "WGS 84, degrees" : "pixels of the picture: x to the right, y down",
    request_id: reply.request_id,
    notice: reply.notice,
    features: kept(reply).map((box) => {
      const [left, top, right, bottom] = box.xyxy;
      const ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]];
      return {
        type: "Feature",
        id: box.id,
        geometry: { type: "Polygon", coordinates: [ring.map(([a, b]) => [x(a), y(b)])] },
        properties: { class: box.class_name, cls: box.cls, confidence: box.conf, version: reply.model.version },
      };
    }),
  };
}

/** The answer with the boxes that are shown. */
function filtered(reply) {
  const { overlay_png_base64: _, ...rest } = reply;
  if (kept(reply).length === reply.detections.length) return rest;
  const boxes = kept(reply);
  const damaged = boxes.filter((box) => box.cls > 0).length;
  return { ...rest, detections: boxes, counts: counts(reply), total: boxes.length, damaged_pct: boxes.length ? Math.round((1000 * damaged) / boxes.length) / 10 : 0, least_confidence: Number(least.value) };
}

function files(one) {
  const { reply, panel } = one;
  const name = shown.length > 1 ? `-version-${reply.model.version}` : "";
  const words = $("#place-words");
  let at = null;
  words.textContent = "";
  try {
    at = place();
  } catch (error) {
    words.textContent = error.message;
  }
  const made = {
    json: [`detections${name}.json`, filtered(reply), "application/json"],
    geojson: [`detections${name}.geojson`, geojson(reply, at), "application/geo+json"],
  };
  for (const anchor of panel.querySelectorAll("[data-kind]")) {
    if (anchor.dataset.kind === "overlay") {
      anchor.hidden = !one.overlay;
      Object.assign(anchor, { download: `overlay${name}.png`, href: one.overlay });
      continue;
    }
    const [file, value, type] = made[anchor.dataset.kind];
    URL.revokeObjectURL(anchor.href);
    links = links.filter((url) => url !== anchor.href);
    Object.assign(anchor, { download: file, href: link(new Blob([JSON.stringify(value, null, 2)], { type })) });
  }
}

function update() {
  $("#least-words").textContent = percent(Number(least.value));
  difference();
  for (const one of shown) {
    draw(one);
    count(one);
    files(one);
  }
  rows();
}

// ---- the pictures
function pictures(one, before, after) {
  const sight = $(".sight", one.panel);
  const images = { before: $(".before", one.panel), after: $(".after", one.panel) };
  const cannot = $(".cannot", one.panel);
  const failed = (which) => () => {
    cannot.hidden = false;
    if (which === "before") {
      if (sight.classList.contains("drawn")) return;
      cannot.textContent = "This browser cannot show the picture before, so there is nothing to swipe.";
      images.before.remove();
      sight.classList.add("single");
      return;
    }
    // Such as a TIFF: the model has read it, and its own drawing has the boxes.
    cannot.textContent = "This browser cannot show the picture itself; this is the overlay, with all boxes.";
    sight.classList.add("single", "drawn");
    images.before.remove();
    images.after.onerror = null;
    images.after.src = one.overlay;
  };
  images.before.onerror = failed("before");
  images.after.onerror = failed("after");
  images.before.src = before;
  images.after.src = after;
}

function panel(reply) {
  const made = $("#answer").content.cloneNode(true).firstElementChild;
  const canary = reply.model_used === "canary";
  const chip = $(".chip", made);
  $("h3", made).textContent = `Version ${reply.model.version}`;
  chip.classList.add(canary ? "wait" : "blue");
  chip.textContent = `${canary ? "◆" : "●"} ${reply.model_used} · ${reply.model.sha256.slice(0, 12)}`;
  const said = [...(reply.warnings ?? [])];
  if (reply.fallback) said.unshift("The canary could not answer this pair; current answered in its place.");
  const warnings = $(".blockers", made);
  warnings.hidden = !said.length;
  for (const one of said) add(warnings, "li", one);
  $("code", made).textContent = reply.request_id;
  const spent = reply.timing_ms?.total;
  $(".spent", made).textContent = typeof spent === "number" ? ` · ${Math.round(spent)} ms` : "";
  return made;
}

/** Shows answers [{reply}] to the pair `files`. */
export function present(answers, [before, after]) {
  for (const url of links) URL.revokeObjectURL(url);
  links = [];
  const urls = [link(before), link(after)];
  shown = answers.map(({ reply }) => {
    const overlay = reply.overlay_png_base64;
    return {
      reply,
      panel: panel(reply),
      overlay: overlay ? link(new Blob([Uint8Array.from(atob(overlay), (c) => c.charCodeAt(0))], { type: "image/png" })) : "",
      alone: new Set(),
    };
  });
  const place = $("#answers");
  place.replaceChildren(...shown.map((one) => one.panel));
  place.classList.toggle("two", shown.length > 1);
  for (const one of shown) pictures(one, ...urls);
  const lowest = Math.min(1, ...shown.flatMap(({ reply }) => reply.detections.map((box) => box.conf)));
  least.min = Math.floor(100 * lowest) / 100;
  least.value = least.min;
  $("#least-label").hidden = !shown.some(({ reply }) => reply.detections.length);
  update();
  const result = $("#result");
  result.hidden = false;
  result.focus({ preventScroll: true });
  result.scrollIntoView({ block: "start" });
}

// ---- handles
function moved() {
  $("#answers").style.setProperty("--at", `${swipe.value}%`);
}
swipe.addEventListener("input", moved);
moved();
let due = 0;
least.addEventListener("input", () => {
  cancelAnimationFrame(due);
  due = requestAnimationFrame(update);
});
switched.addEventListener("change", () => $("#answers").classList.toggle("bare", !switched.checked));
for (const input of edges) input.addEventListener("input", () => shown.forEach(files));

$("#answers").addEventListener("pointerdown", (event) => {
  const sight = event.target.closest(".sight:not(.single)");
  if (!sight || event.button) return;
  const to = ({ clientX }) => {
    const { left, width } = sight.getBoundingClientRect();
    swipe.value = (100 * (clientX - left)) / width;
    moved();
  };
  sight.setPointerCapture(event.pointerId);
  to(event);
  sight.addEventListener("pointermove", to);
  const over = () => sight.removeEventListener("pointermove", to);
  for (const kind of ["pointerup", "pointercancel"]) sight.addEventListener(kind, over, { once: true });
});

$("#detections").addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  for (const { reply, panel } of shown)
    for (const group of panel.querySelectorAll("g"))
      group.classList.toggle("chosen", String(reply.model.version) === button.dataset.version && group.dataset.box === button.dataset.show);
  $("#answers .chosen")?.scrollIntoView({ block: "center" });
});
