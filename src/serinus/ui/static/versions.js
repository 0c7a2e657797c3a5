// The form that compares two versions: a version does not differ from itself, and the button says so.
import { $ } from "./send.js";

function look() {
  const form = $("#two");
  if (!form) return;
  const same = form.elements.a.value === form.elements.b.value;
  const button = $("button", form);
  button.disabled = same;
  button.textContent = same ? "The same version twice" : "Compare";
}

document.addEventListener("change", (event) => event.target.form?.id === "two" && look());
addEventListener("serinus:shown", look);
addEventListener("pageshow", look); // a browser that goes back restores what was chosen
look();
