"use strict";
// The dashboard: follows the events, asks before it decides, sends the forms. The server renders everything.

// ---- live: an event says that something changed, the page fetches itself anew and morphs
const link = $("#link");
let heard = 0;
let shown = null;
let busy = false;
let again = false;

async function refresh() {
  if (busy) return void (again = true);
  busy = true;
  try {
    const reply = await fetch("/live");
    if (reply.ok) {
      const fresh = document.createElement("template");
      fresh.innerHTML = `<div id="live">${await reply.text()}</div>`;
      morph($("#live"), fresh.content.firstChild);
    }
  } catch {
    shown = null; // the stream's own watch tells the person
  } finally {
    busy = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function onMessage(event) {
  heard = Date.now();
  const { version } = JSON.parse(event.data);
  if (version !== shown) {
    shown = version;
    refresh();
  }
}

const events = new EventSource("/api/events");
events.addEventListener("state", onMessage);
events.addEventListener("tick", onMessage);

setInterval(() => {
  const silent = Math.round((Date.now() - heard) / 1000);
  const lost = heard ? silent > 4 : events.readyState === EventSource.CLOSED;
  link.className = `link ${lost ? "off" : heard ? "on" : ""}`;
  const words = !heard ? "connecting …" : lost ? `last seen ${silent} s ago` : "live";
  if (link.textContent !== words) link.textContent = words;
}, 500);
addEventListener("pagehide", () => events.close());

// ---- decisions: every one asks for a reason, and is refused when something has happened meanwhile
const dialog = $("#decide");
const form = $("form", dialog);
let asked = null;

function ask(button) {
  asked = button.dataset;
  const fields = form.elements;
  $("#decide-title").textContent = asked.title;
  $("#decide-what").textContent = asked.what;
  $("#decide-go").textContent = button.textContent.trim();
  $("#decide-go").className = button.className;
  $("#decide-error").textContent = "";
  $("#decide-override").hidden = !asked.override;
  $("#decide-override span").textContent = asked.override || "";
  fields.confirm.checked = false;
  fields.confirm.required = Boolean(asked.override);
  fields.reason.value = "";
  fields.actor.value = localStorage.getItem("serinus-name") || "";
  dialog.showModal();
  fields.reason.focus();
}

form.addEventListener("submit", async (event) => {
  if (event.submitter?.value === "cancel") return;
  event.preventDefault();
  const { reason, actor, confirm } = form.elements;
  localStorage.setItem("serinus-name", actor.value.trim());
  const body = JSON.stringify({
    reason: reason.value.trim(),
    expect: Number(asked.expect),
    confirm: confirm.checked,
    actor: actor.value.trim(),
  });
  $("#decide-go").disabled = true;
  try {
    await send(`/api/rollout/${asked.action}`, { body, headers: { "content-type": "application/json" } });
    dialog.close();
  } catch (error) {
    $("#decide-error").textContent = error.message;
    const now = $(`#live [data-action="${asked.action}"]`);
    if (error.status === 409 && now) asked = now.dataset;
  } finally {
    $("#decide-go").disabled = false;
    refresh();
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.action) ask(button);
  if (button?.dataset.cancel) {
    button.disabled = true;
    await send(`/api/jobs/${button.dataset.cancel}/cancel`).catch((error) => alert(error.message));
    refresh();
  }
});

// ---- forms: the upload shows how far it is, the others say what came of them
function upload(target) {
  const bar = $("#upload-progress progress");
  const words = $("#upload-progress p");
  const button = $("button", target);
  const request = new XMLHttpRequest();
  request.open("POST", target.action);
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    words.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  };
  request.onloadend = () => {
    button.disabled = false;
    bar.hidden = true;
    const done = request.status === 200;
    words.className = done ? "" : "bad-text";
    const answer = request.response || {};
    words.textContent = done
      ? "Uploaded. Now start a training."
      : [answer.error || "The upload broke off.", answer.remedy].filter(Boolean).join(" ");
    if (done) target.reset();
    refresh();
  };
  bar.hidden = false;
  bar.value = 0;
  words.className = "";
  button.disabled = true;
  request.send(new FormData(target));
}

document.addEventListener("submit", async (event) => {
  const target = event.target;
  if (target.id === "upload") {
    event.preventDefault();
    upload(target);
  } else if (target.dataset.post) {
    event.preventDefault();
    const words = $("[role=status]", target);
    const button = $("button", target);
    button.disabled = true;
    try {
      words.textContent = (await send(target.dataset.post, { body: new FormData(target) })).message;
      words.classList.remove("bad-text");
    } catch (error) {
      words.textContent = error.message;
      words.classList.add("bad-text");
    } finally {
      button.disabled = false;
      refresh();
    }
  }
});
