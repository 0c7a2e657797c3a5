// Sends an archive in pieces (tus 1.0): what has arrived stays, whatever is cut, and the rest follows.
import { refresh } from "./live.js";
import { $, here, send } from "./send.js";

const TUS = { "tus-resumable": "1.0.0" };
const LONGEST_WAIT = 10; // seconds between two tries
const form = $("#upload");
const panel = $("#upload-progress");
const bar = $("progress", panel);
const status = $("#upload-status");
const pause = $("#upload-pause");
let going = null; // {file, id, paused, stopped, request, wake}

const mark = (file) => `${file.name}|${file.size}|${file.lastModified}`;
const kept = (id) => `serinus-upload-${id}`;
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function say(words, bad = false) {
  status.className = bad ? "bad-text" : "";
  if (status.textContent !== words) status.textContent = words;
}

/** The words of a problem that trying again does not mend. */
class Refused extends Error {}

function refusal(status, text) {
  try {
    const { error, remedy } = JSON.parse(text);
    return new Refused([error, here(remedy || "")].filter(Boolean).join(" "));
  } catch {
    return new Refused(`The server answered ${status}.`);
  }
}

/** An upload of this very file that waits for its rest, as this browser remembers. */
function begun(file) {
  const waiting = [...document.querySelectorAll("#unfinished [data-upload]")];
  return waiting.map((one) => one.dataset.upload).find((id) => localStorage.getItem(kept(id)) === mark(file));
}

async function begin(file) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const headers = { ...TUS, "upload-length": String(file.size), "upload-metadata": `filename ${name}` };
  const reply = await fetch("/api/uploads", { method: "POST", headers });
  if (!reply.ok && reply.status < 500) throw refusal(reply.status, await reply.text());
  if (!reply.ok) throw new Error(reply.status);
  const id = reply.headers.get("location").split("/").at(-1);
  localStorage.setItem(kept(id), mark(file));
  return id;
}

async function arrived(id) {
  const reply = await fetch(`/api/uploads/${id}`, { method: "HEAD", headers: TUS });
  if (reply.status === 404) throw new Refused("The server does not know this upload any more: choose the file again, it begins anew.");
  if (!reply.ok) throw new Error(reply.status);
  return Number(reply.headers.get("upload-offset"));
}

/** Sends one piece from `offset` on; gives the offset after it. */
function piece(offset) {
  const { file, id } = going;
  return new Promise((done, failed) => {
    const request = (going.request = new XMLHttpRequest());
    request.open("PATCH", `/api/uploads/${id}`);
    for (const [name, value] of Object.entries(TUS)) request.setRequestHeader(name, value);
    request.setRequestHeader("upload-offset", String(offset));
    request.setRequestHeader("content-type", "application/offset+octet-stream");
    request.upload.onprogress = ({ loaded }) => show(offset + loaded);
    request.onload = () => {
      if (request.status === 204) return done(Number(request.getResponseHeader("upload-offset")));
      const again = request.status === 409 || (request.status >= 500 && request.status !== 507);
      failed(again ? new Error(request.status) : refusal(request.status, request.responseText));
    };
    request.onerror = request.onabort = request.ontimeout = () => failed(new Error("cut"));
    request.send(file.slice(offset, offset + Number(form.dataset.piece)));
  });
}

let since = null; // {time, offset}: for the pace

function show(offset) {
  const { file } = going;
  const now = performance.now();
  since ??= { time: now, offset };
  const pace = (offset - since.offset) / ((now - since.time) / 1000 || 1);
  bar.value = offset / file.size;
  const left = pace > 0 ? Math.ceil((file.size - offset) / pace) : null;
  const clock = left == null ? "" : `, ${megabytes(pace)} MB/s, about ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
  $("#upload-numbers").textContent = `${megabytes(offset)} of ${megabytes(file.size)} MB${going.paused ? ", paused" : clock}`;
}

/** Waits so long, or until somebody wants to go on at once. */
function rest(seconds) {
  return new Promise((wake) => {
    going.wake = wake;
    if (seconds) setTimeout(wake, 1000 * seconds);
  });
}

async function sendAll() {
  let wait = 1;
  while (!going.stopped) {
    if (going.paused) await rest(0);
    if (going.stopped) return;
    try {
      going.id ??= await begin(going.file);
      let offset = await arrived(going.id);
      since = null;
      show(offset);
      say("Sending …");
      while (offset < going.file.size && !going.paused && !going.stopped) {
        offset = await piece(offset);
        show(offset);
        wait = 1;
      }
      if (offset >= going.file.size) return localStorage.removeItem(kept(going.id));
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (going.paused || going.stopped) continue;
      say(`The connection was cut. What has arrived stays; it tries again in ${wait} s.`);
      await rest(wait);
      wait = Math.min(LONGEST_WAIT, 2 * wait);
    }
  }
}

/** One tab at a time sends an upload; the browser keeps the lock, where it can, until the tab is gone. */
function alone(id, act) {
  if (!id || !navigator.locks) return act();
  return navigator.locks.request(kept(id), { ifAvailable: true }, (lock) => {
    if (!lock) throw new Refused("This upload is going on in another tab.");
    return act();
  });
}

async function upload(file) {
  going = { file, id: begun(file), paused: false, stopped: false, request: null, wake: () => {} };
  panel.hidden = false; // the form is out of sight meanwhile, by the style sheet
  pause.textContent = "Pause";
  $("#upload-name").textContent = file.name;
  bar.value = 0;
  try {
    going.id ??= await begin(file).catch((error) => {
      if (error instanceof Refused) throw error;
      return undefined; // the server is away: the loop tries again
    });
    await alone(going.id, sendAll);
    if (!going.stopped) say(`${file.name} is here, whole. Import it below.`);
    if (!going.stopped) form.reset();
  } catch (error) {
    say(error.message, true);
  }
  going = null;
  panel.hidden = true;
  await refresh();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const file = form.elements.file.files[0];
  if (!file || going) return;
  if (!file.size) return say("The file is empty. Choose an archive of xBD pairs.", true);
  upload(file);
});

pause.addEventListener("click", () => {
  going.paused = !going.paused;
  pause.textContent = going.paused ? "Go on" : "Pause";
  if (!going.paused) return going.wake();
  say("Paused. What has arrived stays.");
  going.request?.abort();
});

$("#upload-stop").addEventListener("click", async () => {
  const { id } = going;
  going.stopped = true;
  going.request?.abort();
  going.wake();
  if (id) {
    localStorage.removeItem(kept(id));
    await send(`/api/uploads/${id}`, { method: "DELETE", headers: TUS }).catch(() => {});
  }
  say("Thrown away.");
  refresh();
});

/** What is being sent here is no upload that waits for somebody. */
addEventListener("serinus:shown", () => {
  const own = going?.id && document.getElementById(`unfinished-${going.id}`);
  if (own) own.hidden = true;
});
addEventListener("online", () => going?.wake());
