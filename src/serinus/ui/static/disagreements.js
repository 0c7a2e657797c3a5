// Says of a disagreement which version is right, or that there is nothing to learn from it.
import { person, sendJson } from "./send.js";
import { refresh } from "./live.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-mark]");
  if (!button) return;
  const card = button.closest("[data-item]");
  const words = card.querySelector("[role=status]");
  const { right, dismissed } = button.dataset; // one of them: what others said of the other stays
  button.disabled = true;
  try {
    await sendJson(`/api/rollouts/${card.dataset.rollout}/disagreements/${card.dataset.item}/mark`, {
      ...(dismissed ? { dismissed: dismissed === "true" } : { right }),
      actor: person.get(),
    });
    words.textContent = "Noted.";
    words.className = "muted";
    refresh();
  } catch (error) {
    words.textContent = error.message;
    words.className = "bad-text";
  } finally {
    button.disabled = false;
  }
});
