"use strict";
// What every page needs: one way to send, one way to name an error, one way to bring a page up to date.
document.documentElement.classList.add("js");

const $ = (selector, root = document) => root.querySelector(selector);

/** Sends a request; gives the JSON reply, or throws an Error in words for people. */
async function send(url, options) {
  let reply;
  try {
    reply = await fetch(url, { method: "POST", ...options });
  } catch {
    throw new Error("Serinus does not answer. Is it still running?");
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const error = new Error([body.error || `The server answered ${reply.status}.`, body.remedy].filter(Boolean).join(" "));
    error.status = reply.status;
    throw error;
  }
  return body;
}

/** Makes `from` look like `to`, keeping what is equal: focus, open details, transitions and typed text stay. */
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || from.id !== to.id) return from.replaceWith(to);
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.hasAttribute("data-keep") || from.isEqualNode(to)) return;
  const kept = from.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name, value } of to.attributes)
    if (!kept.includes(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes])
    if (!kept.includes(name) && !to.hasAttribute(name)) from.removeAttribute(name);
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const known = wanted.id && [...from.children].find((child) => child.id === wanted.id);
    if (known && known !== place) from.insertBefore(known, place);
    const here = known || (place && !place.id && !wanted.id ? place : null);
    if (here) {
      place = here.nextSibling;
      morph(here, wanted);
    } else {
      from.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
