// Asks once more before something is thrown away, stopped or broken.
import { $ } from "./send.js";

/** Whether the person says yes. Escape, and leaving it, is a no. */
export function confirmed({ title, what, label }) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = title;
  $("#confirm-what").textContent = what;
  $("#confirm-yes").textContent = label;
  return new Promise((settle) => {
    const answer = (yes) => {
      dialog.onclose = null;
      dialog.close();
      settle(yes);
    };
    $("#confirm-yes").onclick = () => answer(true);
    $("#confirm-no").onclick = () => answer(false);
    dialog.onclose = () => answer(false);
    dialog.showModal();
    $("#confirm-no").focus();
  });
}
