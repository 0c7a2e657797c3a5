// A batch: the archive is uploaded with its progress shown, then becomes a job that the page follows.
import { $, here, send } from "./send.js";
import { refresh } from "./live.js";

const form = $("#batch-form");
const input = $("input", form);
const button = $("button", form);
const bar = $("progress", form);
const words = $("[role=status]", form);
const numbers = $("#batch-numbers");
const told = $(".muted", form);
const invitation = told.textContent;

function say(text, bad = false) {
  words.className = bad ? "bad-text" : "";
  words.textContent = text;
}

input.addEventListener("change", () => {
  const file = input.files[0];
  told.textContent = file ? `${file.name}, ${(file.size / 1e6).toFixed(1)} MB` : invitation;
  say("");
});
const drop = $(".drop", form);
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));

/** The upload's id; rejects with words for people. */
function upload(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/upload-dataset");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      bar.value = total ? loaded / total : 0;
      numbers.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
    };
    request.onloadend = () => {
      const reply = request.response || {};
      if (request.status === 200) resolve(reply.id);
      else reject(new Error([reply.error || "The upload broke off.", here(reply.remedy || "")].filter(Boolean).join(" ")));
    };
    const body = new FormData();
    body.append("file", file);
    request.send(body);
  });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  const file = input.files[0];
  const most = Number(form.dataset.most);
  if (!file.size) return say(`The file ${file.name} is empty (0 bytes).`, true);
  if (most && file.size > most) return say(`The archive is larger than ${(most / 1e9).toFixed(1)} GB (MAX_UPLOAD_MB). Split it.`, true);
  button.disabled = true;
  if ((await file.slice(0, 2).text()) !== "PK") {
    button.disabled = false;
    return say(`The file ${file.name} is no zip archive.`, true);
  }
  bar.hidden = numbers.hidden = false;
  bar.value = 0;
  say("Sending …");
  try {
    const dataset = await upload(file);
    await send("/trigger-batch", { body: new URLSearchParams({ dataset }) });
    form.reset();
    input.dispatchEvent(new Event("change"));
    say("Sent. Its progress stands below, and goes on when this page is closed.");
  } catch (error) {
    say(error.message, true);
  } finally {
    button.disabled = false;
    bar.hidden = numbers.hidden = true;
    numbers.textContent = "";
    refresh();
  }
});
