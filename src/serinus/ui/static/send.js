// What every page needs: one way to find, one way to send, one way to name an error.
document.documentElement.classList.add("js");

export const $ = (selector, root = document) => root.querySelector(selector);

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
    const { error: detail = `The server answered ${reply.status}.`, remedy = "", fields = {} } = body;
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
