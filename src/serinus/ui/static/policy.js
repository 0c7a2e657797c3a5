// The policy editor: checked while it is written, previewed by simulation, kept under its name.
import { $, person, sendJson } from "./send.js";

const form = $("#policy");
const text = form.elements.text;
const mistakes = $("#policy-mistakes");
const words = $("#policy-words");
let due = 0;
let asked = 0;
let preview = null;
let known = { name: form.dataset.name, edition: Number(form.dataset.edition) };

function document_() {
  return { text: text.value, name: form.elements.name.value.trim() };
}

function point({ line, column }) {
  const lines = text.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  text.focus();
  text.setSelectionRange(start + column - 1, start + (lines[line - 1] ?? "").length);
}

function listed(found) {
  mistakes.replaceChildren(
    ...found.map((one) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = `Line ${one.line}, column ${one.column}`;
      button.addEventListener("click", () => point(one));
      item.append(button, ` ${one.words}`);
      return item;
    }),
  );
  mistakes.hidden = !found.length;
  text.setAttribute("aria-invalid", String(found.length > 0));
}

/** The policy as it is written now; null when it is none. */
async function check() {
  const mine = ++asked;
  try {
    const found = await sendJson("/api/policies/check", document_());
    if (mine !== asked) return null;
    listed(found.mistakes);
    words.textContent = found.policy ? "It is a policy." : "";
    words.className = "muted";
    return found.policy;
  } catch (error) {
    words.textContent = error.message;
    words.className = "bad-text";
    return null;
  }
}

text.addEventListener("input", () => {
  clearTimeout(due);
  due = setTimeout(check, 300);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const policy = await check();
  if (!policy) return;
  person.set(form.elements.actor.value);
  const said = { text: text.value, reason: form.elements.reason.value.trim(), actor: person.get() };
  const expect = known.name === policy.name ? known.edition : 0; // what somebody else has written meanwhile is not run over
  try {
    const body = await sendJson(`/api/policies/${encodeURIComponent(policy.name)}`, { ...said, expect }, { method: "PUT" });
    known = body.policy;
    words.textContent = `${known.name} is edition ${known.edition} now.`;
    words.className = "";
  } catch (error) {
    words.textContent = error.message;
    words.className = "bad-text";
  }
});

// ---- preview
const start = $("#preview-start");
const stop = $("#preview-stop");
const said = $("#preview-words");
const percent = (share) => `${+(100 * share).toPrecision(3)} %`;

function shown({ rollouts, truths }) {
  said.textContent = `${rollouts} simulated rollouts for each truth, ten requests a second.`;
  $("#preview tbody").replaceChildren(
    ...truths.map((one) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = one.words;
      row.append(head);
      for (const value of [percent(one.promoted), percent(one.rolled_back), percent(one.undecided), one.requests == null ? "–" : Math.round(one.requests).toLocaleString("en")]) {
        const cell = document.createElement("td");
        cell.textContent = value;
        row.append(cell);
      }
      return row;
    }),
  );
  $("#preview table").hidden = false;
}

start.addEventListener("click", async () => {
  preview = new AbortController();
  start.disabled = true;
  stop.hidden = false;
  said.className = "muted";
  said.textContent = "Simulating …";
  try {
    shown(await sendJson("/api/policies/preview", document_(), { signal: preview.signal }));
  } catch (error) {
    said.textContent = error.name === "AbortError" ? "Cancelled." : error.message;
    said.className = error.name === "AbortError" ? "muted" : "bad-text";
  } finally {
    start.disabled = false;
    stop.hidden = true;
  }
});
stop.addEventListener("click", () => preview?.abort());
form.elements.actor.value = person.get();
