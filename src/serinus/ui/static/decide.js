// Decisions: every one asks for a reason, and is refused when something has happened meanwhile.
import { $, person, sendJson } from "./send.js";
import { refresh } from "./live.js";

const dialog = $("#decide");
const form = $("form", dialog);
const toast = $("#toast");
const INVERSE = {
  promote: () => ({ action: "undo", title: "Undo the promotion?", what: "The previous version answers every request again." }),
  pause: () => ({ action: "resume", title: "Resume the rollout?", what: "The clock goes on from where it stopped." }),
  resume: () => ({ action: "pause", title: "Pause the rollout?", what: "The clock stops and it is not promoted." }),
  share: (was) => ({
    action: "policy", policy: was.policy, step: was.step, title: "Take the old share again?",
    what: `The canary gets ${was.value} % again, and obeys the policy that it had, with its steps.`,
  }),
  start: () => ({ action: "rollback", title: "Stop this rollout?", what: "It gets no more requests." }),
  rollback: (was) =>
    was.version && { action: "start", version: was.version, title: `Start version ${was.version} again?`, what: "Its checks begin anew, then its trial." },
};
let asked = null;

function describe(given) {
  asked = { ...given }; // a copy: the page's own button is kept up to date, what was looked at is not
  $("#decide-title").textContent = asked.title;
  $("#decide-what").textContent = asked.what;
  $("#decide-go").textContent = asked.label;
  $("#decide-go").className = asked.tone || "primary";
  $("#decide-override").hidden = !asked.override;
  $("#decide-override span").textContent = asked.override || "";
  form.elements.confirm.checked = false;
  form.elements.confirm.required = Boolean(asked.override);
  for (const extra of dialog.querySelectorAll("[data-extra]")) {
    const wanted = extra.dataset.extra === asked.action;
    extra.hidden = !wanted;
    for (const field of extra.querySelectorAll("input, select")) field.disabled = !wanted;
  }
}

function given(button) {
  return { ...button.dataset, label: button.dataset.label || button.textContent.trim(), tone: button.className };
}

function ask(what) {
  describe(what);
  $("#decide-error").textContent = "";
  $("#decide-go").disabled = false;
  form.elements.reason.value = "";
  form.elements.actor.value = person.get();
  if (asked.action === "share") form.elements.share.value = asked.value;
  dialog.showModal();
  (asked.action === "share" ? form.elements.share : form.elements.reason).focus();
}

/** What happened, and what can be done here about it: no command of another place. */
function refused({ message, detail, remedy, status }) {
  if (status !== 409 || !remedy?.includes("`")) return message; // none where the server was not reached
  return `${detail} ${asked.override ? "Wait, or tick the box above and say why." : "Look at the page as it is now, then decide."}`;
}

/** A policy as a document, which has either a share or steps. */
function written({ share, steps, ...policy }) {
  return steps.length ? { ...policy, steps } : { ...policy, share };
}

function body() {
  const { reason, actor, confirm, share, policy } = form.elements;
  const said = { reason: reason.value.trim(), expect: Number(asked.expect), actor: actor.value.trim() };
  if (asked.action === "share") return { ...said, share: Number(share.value) / 100 };
  if (asked.action === "start") return { ...said, version: Number(asked.version), policy: policy.value };
  if (asked.action === "undo") return { ...said, version: asked.version ? Number(asked.version) : null };
  if (asked.action === "policy") return { ...said, document: written(JSON.parse(asked.policy)), step: Number(asked.step) };
  return { ...said, confirm: confirm.checked };
}

/** Says what was done, and offers to take it back. */
function told(reply, was) {
  const back = INVERSE[was.action]?.(was);
  note(`#${reply.seq} ${reply.entry.what}.`);
  const button = $("#toast-undo");
  button.hidden = !back;
  if (back) {
    for (const name of Object.keys(button.dataset)) delete button.dataset[name];
    Object.assign(button.dataset, back, { expect: reply.seq, label: "Take it back" });
  }
}

function note(words) {
  $("#toast-words").textContent = words;
  $("#toast-undo").hidden = true;
  toast.hidden = false;
  toast.focus({ preventScroll: true });
}

function away() {
  toast.hidden = true;
  $("#main").focus({ preventScroll: true });
}

$("#toast-close").addEventListener("click", away);
toast.addEventListener("keydown", (event) => event.key === "Escape" && away());
dialog.addEventListener("close", () => {
  // The button that opened it may be gone by now.
  if (document.activeElement === document.body) $("#main").focus({ preventScroll: true });
});
$("#decide-cancel").addEventListener("click", () => dialog.close()); // no submit button: Enter must not choose it

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  person.set(form.elements.actor.value);
  const was = asked;
  let gone = false;
  $("#decide-go").disabled = true;
  try {
    const reply = await sendJson(`/api/rollout/${was.action}`, body());
    dialog.close();
    told(reply, was);
  } catch (error) {
    if (error.status === 409) {
      await refresh();
      const now = document.querySelector(`#live [data-action="${was.action}"]${was.version ? `[data-version="${was.version}"]` : ""}`);
      if (now) describe(given(now));
      else gone = true;
    }
    $("#decide-error").textContent = gone ? `${error.detail} This is not to be decided any more.` : refused(error);
  } finally {
    $("#decide-go").disabled = gone;
    refresh();
  }
});

/** What has happened since cannot be taken back by that button any more. */
addEventListener("serinus:shown", () => {
  const button = $("#toast-undo");
  if (toast.hidden || button.hidden || Number($("#live").dataset.seq) <= Number(button.dataset.expect)) return;
  if (document.activeElement === button) $("#toast-close").focus();
  button.hidden = true;
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  toast.hidden = true;
  if (document.documentElement.classList.contains("stale")) note(`${$("#link-said").textContent} Decide when it is live again.`);
  else ask(given(button));
});
