// Forms that start something: they say what came of it, and what the server finds wrong stands at the field.
import { confirmed } from "./confirm.js";
import { refresh } from "./live.js";
import { $, person, send } from "./send.js";

/** What the markup says of a form; `form.dataset` would be the field of that name, where there is one. */
const said = (form, name) => form.getAttribute(`data-${name}`);

function clear(form) {
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  for (const words of form.querySelectorAll(".field-error")) words.textContent = "";
}

/** Puts messages at their fields and goes to the first; gives whether every message found its field. */
function point(form, fields) {
  let first = null;
  let all = Object.keys(fields).length > 0;
  for (const [name, message] of Object.entries(fields)) {
    const words = document.getElementById(`${form.id}-${name}-error`);
    const input = form.elements[name];
    if (!words || !input) {
      all = false;
      continue;
    }
    words.textContent = message;
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", words.id);
    first ??= input;
  }
  first?.focus();
  return all;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const post = said(form, "post");
  if (!post) return;
  event.preventDefault();
  const what = said(form, "ask");
  if (what && !(await confirmed({ title: said(form, "title"), what, label: said(form, "label") }))) return;
  const words = $("[role=status]", form);
  const button = $("button[type=submit]", form);
  const body = new FormData(form);
  if (form.id === "broken") body.set("actor", person.get());
  clear(form);
  button.disabled = true;
  words.className = "wide";
  words.textContent = "";
  try {
    const reply = await send(post, { body });
    if (form.hasAttribute("data-go") && reply.job) return location.assign(`/jobs/${reply.job}`);
    words.textContent = reply.message;
  } catch (error) {
    words.classList.add("bad-text");
    words.textContent = point(form, error.fields || {}) ? "Nothing was started: see the marked fields." : error.message;
  }
  button.disabled = false;
  refresh();
});
