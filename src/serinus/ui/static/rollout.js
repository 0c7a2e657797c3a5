// The charts of the home page: fetched anew when there is a new slice of evidence, at most once a second.
import { $ } from "./send.js";
import { chart, redraw } from "./charts.js";

let drawn = "";
let told = null;
let busy = false;

function show() {
  const boxes = { evidence: $("#chart-evidence"), rates: $("#chart-rates") };
  if (told && boxes.evidence) chart(told, boxes);
}

async function update() {
  const place = $("#charts");
  if (!place || busy || document.hidden) return;
  const wanted = `${place.dataset.charts} ${place.dataset.k} ${place.dataset.seq}`;
  if (wanted === drawn) return;
  busy = true;
  try {
    const reply = await fetch(`/api/rollouts/${place.dataset.charts}/explain`);
    if (reply.ok) {
      told = await reply.json();
      drawn = wanted;
      show();
    }
  } catch {
    // The watch of the page tells that the server is away.
  }
  setTimeout(() => {
    busy = false;
    update();
  }, 1000);
}

addEventListener("serinus:shown", update);
addEventListener("visibilitychange", update);
redraw(show);
update();
