// Keeps a receipt page live: on every server-sent event the rendered fragment is fetched again, and only the parts
// that changed are replaced. The server writes and escapes all HTML; nothing is built from event data here.

const FASTEST = 700; // ms between two fetches
const FALLBACK = 5000; // ms between polls while the event stream is down
const EVENTS = ["message", "state", "progress", "log", "attempt"];

const root = document.getElementById("receipt");
const announce = document.getElementById("announce");

let last = 0;
let timer = null;
let busy = false;
let again = false;
let source = null;
let finished = false;

const partOf = (tree, name) => tree.querySelector(`[data-part="${CSS.escape(name)}"]`);
const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 24;

/** Carry over what the reader did: opened details, scrolled logs. */
function keepPlace(old, fresh) {
  for (const details of old.querySelectorAll("details[data-keep]")) {
    const twin = fresh.querySelector(`details[data-keep="${CSS.escape(details.dataset.keep)}"]`);
    if (twin) twin.open = details.open;
  }
  const places = new Map();
  for (const log of old.querySelectorAll("pre[data-log]")) {
    places.set(log.dataset.log, atEnd(log) ? null : log.scrollTop);
  }
  return () => {
    for (const log of fresh.querySelectorAll("pre[data-log]")) {
      const place = places.get(log.dataset.log) ?? null;
      log.scrollTop = place === null ? log.scrollHeight : place;
    }
  };
}

/** The same parts without what the reader may have toggled, and with charts as the server wrote them. */
function bare(part) {
  const copy = part.cloneNode(true);
  for (const live of copy.querySelectorAll("figure.chart > .live")) live.remove();
  for (const picture of copy.querySelectorAll("figure.chart > picture")) picture.removeAttribute("hidden");
  for (const details of copy.querySelectorAll("details[data-keep]")) details.removeAttribute("open");
  return copy.outerHTML;
}

function show(html) {
  const tree = new DOMParser().parseFromString(html, "text/html");
  const stateBefore = partOf(root, "head").dataset.state;
  for (const part of tree.querySelectorAll("[data-part]")) {
    const old = partOf(root, part.dataset.part);
    const held = old && old.contains(document.activeElement) && old.querySelector("form");
    if (!old || bare(old) === bare(part) || (held && part.querySelector("form"))) continue;
    const fresh = document.importNode(part, true);
    const restore = keepPlace(old, fresh);
    old.replaceWith(fresh);
    restore();
  }
  const head = partOf(root, "head");
  if (head.dataset.state !== stateBefore) {
    announce.textContent = `State: ${head.dataset.state}`;
    document.title = document.title.replace(`: ${stateBefore} `, `: ${head.dataset.state} `);
  }
  if (head.dataset.final === "true") stop();
}

async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  last = Date.now();
  try {
    const reply = await fetch(root.dataset.fragment, { headers: { Accept: "text/html" } });
    if (reply.ok) show(await reply.text());
  } catch {
    // The server is away: the event stream or the next poll tries again.
  } finally {
    busy = false;
    if (again) {
      again = false;
      soon();
    }
  }
}

function soon() {
  if (timer !== null || finished) return;
  timer = setTimeout(() => {
    timer = null;
    refresh();
  }, Math.max(0, last + FASTEST - Date.now()));
}

function stop() {
  finished = true;
  if (source) source.close();
}

function listen() {
  source = new EventSource(root.dataset.events);
  for (const name of EVENTS) source.addEventListener(name, soon);
}

for (const log of root.querySelectorAll("pre[data-log]")) log.scrollTop = log.scrollHeight;
listen();
setInterval(() => {
  if (finished) return;
  if (source.readyState === EventSource.CLOSED) listen();
  if (Date.now() - last > FALLBACK) soon(); // also moves running times on
}, FALLBACK);
addEventListener("pagehide", stop);
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
