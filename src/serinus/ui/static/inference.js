// The inspection page: previews, sends the pair, shows what the model found.
import { $, send } from "./send.js";

const pair = $("#pair");
const words = $("#pair-status");
const links = new Map(); // the picture or link on the page -> the blob URL that it shows

function show(element, attribute, blob) {
  if (links.has(element)) URL.revokeObjectURL(links.get(element));
  links.set(element, URL.createObjectURL(blob));
  element[attribute] = links.get(element);
}

for (const drop of document.querySelectorAll(".drop")) {
  const input = $("input", drop);
  const image = $("img", drop);
  image.onerror = () => (image.hidden = true); // a TIFF: the browser cannot show it, the model can read it
  input.addEventListener("change", () => {
    const file = input.files[0];
    $(".muted", drop).textContent = file ? file.name : "Drop a picture here, or choose one";
    image.hidden = !file;
    if (file) show(image, "src", file);
  });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
}

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent?.append(made);
  return made;
}

function present(reply) {
  const detections = reply.detections || [];
  const total = reply.total ?? detections.length;
  const damaged = reply.damaged_pct == null ? "" : `, ${Math.round(reply.damaged_pct)} % of them damaged`;
  $("#result-words").textContent = total
    ? `${total} building${total === 1 ? "" : "s"}${damaged}.`
    : "No building found. Is it the same place twice, seen from above?";
  $("#counts").replaceChildren(
    ...Object.entries(reply.counts || {}).map(([name, number]) => {
      const tile = document.createElement("div");
      element("dt", name, tile);
      element("dd", number, tile);
      return tile;
    }),
  );
  const warnings = reply.warnings || [];
  $("#warnings").hidden = !warnings.length;
  $("#warnings").replaceChildren(...warnings.map((warning) => element("li", warning)));
  const model = reply.model || {};
  const canary = reply.model_used === "canary";
  $("#model").className = `chip ${canary ? "wait" : "blue"}`;
  $("#model").textContent = `${canary ? "◆" : "●"} ${reply.model_used}, version ${model.version ?? "?"} · ${(model.sha256 || "").slice(0, 12)}`;
  $("#request-id").textContent = reply.request_id || "";
  const spent = reply.timing_ms?.total ?? reply.timing_ms;
  $("#timing").textContent = typeof spent === "number" ? ` · ${Math.round(spent)} ms` : "";
  $("#detections tbody").replaceChildren(
    ...detections.map((found, index) => {
      const row = document.createElement("tr");
      const box = (found.xyxy || []).map((side) => Math.round(side)).join(", ");
      for (const cell of [found.id ?? index + 1, found.class_name ?? found.cls, Number(found.conf).toFixed(2), box])
        element("td", cell, row);
      return row;
    }),
  );
  const { overlay_png_base64: overlay, ...rest } = reply;
  show($("#download"), "href", new Blob([JSON.stringify(rest, null, 2)], { type: "application/json" }));
  $("#overlay").hidden = !overlay;
  if (overlay) show($("#overlay"), "src", new Blob([Uint8Array.from(atob(overlay), (c) => c.charCodeAt(0))], { type: "image/png" }));
  $("#result").hidden = false;
  $("#result").focus();
}

pair.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("button", pair);
  button.disabled = true;
  words.className = "";
  words.textContent = "Looking …";
  try {
    present(await send(pair.action, { body: new FormData(pair) }));
    words.textContent = "";
  } catch (error) {
    words.className = "bad-text";
    words.textContent = error.message;
  } finally {
    button.disabled = false;
  }
});
