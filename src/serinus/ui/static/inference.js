// The inspection page: takes a pair, asks one version or two, and hands the answers on to be shown.
import { $, send } from "./send.js";
import { present } from "./answers.js";

const pair = $("#pair");
const drops = [...document.querySelectorAll("#drops .drop")];
const inputs = drops.map((drop) => $("input", drop));
const words = $("#pair-status");
const ask = $("#ask");
const stop = $("#ask-stop");
let asking = null;

function say(text, bad = false) {
  words.className = bad ? "bad-text" : "";
  words.textContent = text;
}

/** Puts files into the form's own fields, so that it is sent and validated like any other form. */
function fill(input, file) {
  const held = new DataTransfer();
  held.items.add(file);
  input.files = held.files;
  input.dispatchEvent(new Event("change"));
}

const megabytes = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`);
const BEFORE = /(^|[^a-z])(pre|before)([^a-z]|$)/i;

/** Two files at once: by their names, else in the order in which they came. */
function both([one, other]) {
  return BEFORE.test(other.name) && !BEFORE.test(one.name) ? [other, one] : [one, other];
}

function take(files, input) {
  const found = [...files];
  if (found.length > 2) return say("Drop one picture, or the two of a pair.", true);
  if (found.length === 2) both(found).forEach((file, place) => fill(inputs[place], file));
  else if (found.length === 1) fill(input, found[0]);
}

for (const [place, drop] of drops.entries()) {
  const input = inputs[place];
  const image = $("img", drop);
  const told = $(".muted", drop);
  const invitation = told.textContent;
  image.onerror = () => {
    image.hidden = true;
    told.textContent += " (this browser cannot show it; the model may be able to read it)";
  };
  image.onload = compare;
  input.addEventListener("change", () => {
    const file = input.files[0];
    told.textContent = file ? `${file.name}, ${file.size ? megabytes(file.size) : "0 bytes"}` : invitation;
    if (image.src) URL.revokeObjectURL(image.src);
    image.hidden = !file?.size;
    if (file?.size) image.src = URL.createObjectURL(file);
    else image.removeAttribute("src");
    say("");
  });
  for (const kind of ["dragenter", "dragover"])
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files, input);
  });
}

/** A word before anything is sent; whether they fit is the service's to say. */
function compare() {
  const [before, after] = drops.map((drop) => $("img", drop));
  if (before.hidden || after.hidden || !before.naturalWidth || !after.naturalWidth) return;
  const sizes = [before, after].map((image) => `${image.naturalWidth} × ${image.naturalHeight}`);
  if (sizes[0] !== sizes[1]) say(`The pictures differ in size: ${sizes[0]} before, ${sizes[1]} after. The model wants two of the same place and size.`, true);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.example");
  if (!button) return;
  const { name, pre, post } = button.dataset;
  button.disabled = true;
  say("Fetching the example …");
  try {
    const files = await Promise.all(
      [pre, post].map(async (path) => {
        const reply = await fetch(path);
        if (!reply.ok) throw new Error(`The example cannot be had: the server answered ${reply.status}.`);
        return new File([await reply.blob()], `${name}-${path.split("/").at(-1)}.png`, { type: "image/png" });
      }),
    );
    files.forEach((file, place) => fill(inputs[place], file));
  } catch (error) {
    say(error instanceof TypeError ? "Serinus does not answer. Is it still running?" : error.message, true);
  } finally {
    button.disabled = false;
  }
});

/** What cannot be answered is not sent. */
function objection(files) {
  const empty = files.find((file) => !file.size);
  if (empty) return `The file ${empty.name} is empty (0 bytes).`;
  const most = Number(pair.dataset.most);
  const size = files.reduce((sum, file) => sum + file.size, 0);
  return most && size > most ? `The two pictures have ${megabytes(size)}; ${megabytes(most)} are taken at once (MAX_BODY_MB). Cut them into tiles.` : "";
}

function ready() {
  ask.disabled = Boolean(asking) || pair.dataset.answers === "no";
  ask.title = pair.dataset.answers === "no" ? "Nobody can answer now" : "";
  stop.hidden = !asking;
}
addEventListener("serinus:shown", ready);
ready();

const plain = (text) => text.replace(/^pre_disaster: /, "Before: ").replace(/^post_disaster: /, "After: ");

/** One answer; never throws, so that of two the other one is shown. */
async function answer(files, version, signal) {
  const form = new FormData();
  inputs.forEach((input, place) => form.append(input.name, files[place]));
  const query = new URLSearchParams({ overlay: "png", ...(version && { version }) });
  try {
    return { version, reply: await send(`${pair.action}?${query}`, { body: form, signal }) };
  } catch (error) {
    return { version, error, words: plain(error.message) };
  }
}

pair.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (asking) return; // a second click
  const files = inputs.map((input) => input.files[0]);
  const wrong = objection(files);
  if (wrong) return say(wrong, true);
  const chosen = pair.elements.version.value.split(",");
  asking = new AbortController();
  ready();
  say(chosen.length > 1 ? "Both versions are looking …" : "Looking …");
  try {
    const answers = await Promise.all(chosen.map((version) => answer(files, version, asking.signal)));
    if (asking.signal.aborted) return say("Cancelled.");
    const failed = answers.filter((one) => one.error);
    say([...new Set(failed.map((one) => (chosen.length > 1 ? `Version ${one.version}: ${one.words}` : one.words)))].join(" "), true);
    if (failed.length < answers.length) present(answers.filter((one) => one.reply), files);
  } finally {
    asking = null;
    ready();
  }
});
stop.addEventListener("click", () => asking?.abort());
