// Follows what happens: an event says that something changed, the page fetches itself anew and morphs.
import { $ } from "./send.js";
import { follow } from "./follow.js";
import { morph } from "./morph.js";

const MINUTE = 60_000;
const PATIENCE = 20_000; // milliseconds: a connection may be dead without a word
const link = $("#link");
const said = $("#link-said");
const followed = $("#live");
let heard = 0; // when the server was heard of last
let shown = null;
let running = null;
let again = false;
let behind = false; // something changed while nobody looked
let broken = 0; // since when the page cannot be brought up to date, although the server is heard of
let out = false; // the page asks for a login meanwhile
let lost = false;
let why = ""; // it is lost

/** Brings the page up to date; settles when it is. Calls that come meanwhile share one more round. */
export function refresh() {
  if (!followed) return Promise.resolve();
  again = true;
  running ??= (async () => {
    while (again) {
      again = false;
      await load();
    }
    running = null;
  })();
  return running;
}

/** A page as it is now; notices when that asks for a login. */
async function fetched(address) {
  const reply = await fetch(address, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE) });
  out = new URL(reply.url).pathname === "/login";
  if (!reply.ok) throw new Error(reply.status);
  return new DOMParser().parseFromString(await reply.text(), "text/html");
}

/** Says who is logged in now, and offers what that person may do. */
async function identify() {
  try {
    const now = await fetched(location.href);
    const [was, is] = [$(".me"), $(".me", now)];
    if (out || !was || !is || was.textContent === is.textContent) return;
    was.replaceWith(is);
    document.documentElement.classList.toggle("looker", now.documentElement.classList.contains("looker"));
    said.textContent = "Your login has changed, or ended.";
  } catch {
    // The server is away: the watch below tells the person.
  } finally {
    watch();
  }
}

async function load() {
  try {
    const ended = out;
    const fresh = (await fetched(followed.dataset.live || location.href)).getElementById("live");
    if (ended && !out) identify(); // perhaps as somebody else
    if (!fresh) throw new Error("nothing to show");
    replace(fresh);
    broken = 0;
    dispatchEvent(new Event("serinus:shown"));
  } catch {
    broken ||= Date.now();
    shown = null; // the next message tries again; when there is none, the watch below tells the person
  }
}

/** Shows `fresh`. Focus stays where it was; when that is gone it goes to the page, not to nowhere. */
function replace(fresh) {
  const focused = document.activeElement;
  morph(followed, fresh);
  if (document.activeElement !== focused) (focused.isConnected ? focused : $("#main")).focus({ preventScroll: true });
  const title = $("#title", followed);
  if (title) document.title = `${title.textContent} · Serinus`;
}

function onMessage(message) {
  if (message.login) return identify().then(refresh);
  const news = !heard || lost;
  heard = message.at;
  if (news) watch(); // not at its next look: it is live now
  const lasting = followed?.dataset.follow === "state"; // what moves from second to second is not shown here
  const now = `${message.seq} ${lasting ? message.lasting : message.version}`;
  if (now === shown) return;
  const fresh = lasting ? Number(followed.dataset.seq) === message.seq : Number(followed?.dataset.version) === message.version;
  const first = shown === null;
  shown = now;
  if (first && fresh && !broken) return; // it was rendered from this very state
  changed();
}

function changed() {
  if (document.hidden) behind = true;
  else refresh();
}

addEventListener("visibilitychange", () => {
  if (document.hidden || !behind) return;
  behind = false;
  refresh();
});
setInterval(() => lost && !document.hidden && identify().then(refresh), MINUTE / 4); // it may be back, and want a login
setInterval(() => lost || changed(), MINUTE); // "just now" must become "a minute ago" although nothing happens

/** One stream for all tabs where the browser can share it, else one of our own. */
function listen() {
  if (window.SharedWorker) {
    const { port } = new SharedWorker("/static/stream.js", { name: "serinus", type: "module" });
    port.onmessage = ({ data }) => onMessage(data);
    return () => port.postMessage("leaves");
  }
  const events = follow(onMessage);
  return () => events.close();
}

let leave = listen();
addEventListener("pagehide", () => leave());
addEventListener("pageshow", (event) => {
  if (event.persisted) leave = listen();
});

function login() {
  const a = document.createElement("a");
  a.href = `/login?next=${encodeURIComponent(location.pathname)}`;
  a.textContent = "log in again";
  return a;
}

/** Says whether the server is heard of. */
function watch() {
  const silent = Math.round((Date.now() - (broken || heard)) / 1000);
  const now = !heard ? "" : out ? "Your login has ended." : silent > 4 ? "The connection is lost." : "";
  lost = now !== "";
  link.className = `link js-only ${lost ? "off" : heard ? "on" : ""}`;
  const words = !heard ? "connecting …" : out ? "Your login has ended: " : lost ? `last seen ${silent} s ago` : "live";
  if (link.firstChild.textContent !== words) link.replaceChildren(words, ...(out ? [login()] : []));
  if (now === why) return;
  why = now;
  document.documentElement.classList.toggle("stale", lost);
  // Who hears the page is told once, not with every second.
  said.textContent = lost ? `${why} What stands here is old.` : "Connected again.";
  if (!lost) dispatchEvent(new Event("serinus:back"));
}
setInterval(watch, 500);
