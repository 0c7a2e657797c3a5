// What every page needs: one way to find, one way to send, one way to name an error.
document.documentElement.classList.add("js");

export const $ = (selector, root = document) => root.querySelector(selector);

const INSTEAD = JSON.parse($("meta[name=remedies]").content).map(([what, words]) => [new RegExp(what, "g"), words]);

/** What to do next, on a page: the table of `serinus.ui.here`. */
export const here = (words) => INSTEAD.reduce((said, [what, instead]) => said.replace(what, instead), words);

/** Sends a request; gives the JSON reply, or throws an Error in words for people. */
export async function send(url, options) {
  let reply;
  try {
    reply = await fetch(url, { method: "POST", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("Serinus does not answer. Is it still running?");
  }
  let body = {};
  try {
    body = await reply.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (reply.ok) throw new Error("The answer broke off on its way. Try again.");
  }
  if (!reply.ok) {
    const { error: detail = `The server answered ${reply.status}.`, fields = {} } = body;
    const remedy = here(body.remedy || "");
    for (const name of Object.keys(fields)) fields[name] = here(fields[name]);
    throw Object.assign(new Error(`${detail} ${remedy}`.trim()), { status: reply.status, detail, remedy, fields });
  }
  return body;
}

/** Sends a document; gives the JSON reply. */
export function sendJson(url, value, options) {
  return send(url, { body: JSON.stringify(value), headers: { "content-type": "application/json" }, ...options });
}

/** The name that a person decides under; remembered in this browser. */
export const person = {
  get: () => localStorage.getItem("serinus-name") || "",
  set: (name) => localStorage.setItem("serinus-name", name.trim()),
};
