// Makes a part of the page look like a fresh rendering of it.
/** Makes `from` look like `to`, keeping what is equal: focus, open details, transitions and typed text stay. */
export function morph(from, to) {
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
  const names = new Set([...to.children].map((child) => child.id));
  for (const child of [...from.children]) if (child.id && !names.has(child.id)) child.remove(); // else what follows would be made anew
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
