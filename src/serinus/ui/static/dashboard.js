"use strict";
// The dashboard: follows the events, asks before it decides, sends the forms. The server renders everything.

// ---- live: an event says that something changed, the page fetches itself anew and morphs
const link = $("#link");
let heard = 0;
let shown = null;
let running = null;
let again = false;

/** Brings the page up to date; settles when it is. Calls that come meanwhile share one more round. */
function refresh() {
  again = true;
  running ??= (async () => {
    while (again) {
      again = false;
      await load();
    }
    running = null;
  })();
  return running;
}

async function load() {
  try {
    const reply = await fetch("/live");
    if (!reply.ok) throw new Error(reply.status);
    const fresh = document.createElement("template");
    fresh.innerHTML = `<div id="live">${await reply.text()}</div>`;
    morph($("#live"), fresh.content.firstChild);
  } catch {
    shown = null; // the next message tries again; when there is none, the watch below tells the person
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

function describe(button) {
  asked = { ...button.dataset }; // a copy: the page's own button is kept up to date, what was looked at is not
  $("#decide-title").textContent = asked.title;
  $("#decide-what").textContent = asked.what;
  $("#decide-go").textContent = button.textContent.trim();
  $("#decide-go").className = button.className;
  $("#decide-override").hidden = !asked.override;
  $("#decide-override span").textContent = asked.override || "";
  form.elements.confirm.checked = false;
  form.elements.confirm.required = Boolean(asked.override);
}

function ask(button) {
  describe(button);
  $("#decide-error").textContent = "";
  form.elements.reason.value = "";
  form.elements.actor.value = localStorage.getItem("serinus-name") || "";
  dialog.showModal();
  form.elements.reason.focus();
}

$("#decide-cancel").addEventListener("click", () => dialog.close()); // no submit button: Enter must not choose it

form.addEventListener("submit", async (event) => {
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
    if (error.status === 409) {
      await refresh();
      const now = $(`#live [data-action="${asked.action}"]`);
      if (now) describe(now);
    }
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
