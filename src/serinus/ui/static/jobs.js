// What may be done about jobs and uploads wherever they are listed: cancel, throw away.
import { confirmed } from "./confirm.js";
import { refresh } from "./live.js";
import { send } from "./send.js";

async function act(button, question, url, options) {
  if (!(await confirmed(question))) return;
  button.disabled = true;
  try {
    await send(url, options);
  } catch (error) {
    if (error.status !== 404) alertNear(button, error.message); // what is gone already is what was wanted
  }
  button.disabled = false;
  refresh();
}

/** Says what went wrong beside the button. */
function alertNear(button, message) {
  const words = document.createElement("p");
  words.className = "bad-text wide";
  words.setAttribute("role", "alert");
  words.textContent = message;
  button.closest("li, article, section").append(words);
  setTimeout(() => words.remove(), 15000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-cancel], button[data-remove]");
  if (!button) return;
  const { cancel, remove, title } = button.dataset;
  if (cancel) {
    const what = "It is stopped, and nothing half-done is kept. A cancelled training can go on later from where it was, when it is started again with the same settings.";
    act(button, { title: `Cancel “${title}”?`, what, label: "Cancel the job" }, `/api/jobs/${cancel}/cancel`);
  } else {
    const what = "The archive is deleted from the server. Data sets that were made of it stay.";
    const options = { method: "DELETE", headers: { "tus-resumable": "1.0.0" } };
    act(button, { title: `Throw “${title}” away?`, what, label: "Throw it away" }, `/api/uploads/${remove}`, options);
  }
});
