// Tries an expression while it is typed: the server renders the result, it is put in place of the one before. Without
// this module the form does the same by its button.

const PAUSE = 600; // ms without a key

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function follow(form, place, says, { pushes = true } = {}) {
  const text = form.querySelector("textarea[name=expression]");
  let asked = text.value.trim();
  let newest = 0;

  async function show(wait) {
    const expression = text.value.trim();
    if (expression === asked) return;
    const mine = ++newest;
    if (wait) await pause(PAUSE);
    if (mine !== newest) return;
    asked = expression;
    if (!expression) {
      place.replaceChildren();
      return;
    }
    place.setAttribute("aria-busy", "true");
    try {
      const query = new URLSearchParams({ expression });
      const reply = await fetch(`${form.dataset.preview}?${query}`, { headers: { Accept: "text/html" } });
      const html = await reply.text();
      if (mine !== newest) return;
      const tree = new DOMParser().parseFromString(html, "text/html");
      const opened = new Set([...place.querySelectorAll("details[open]")].map((each) => each.dataset.keep));
      for (const each of tree.querySelectorAll("details")) each.open = opened.has(each.dataset.keep);
      place.replaceChildren(...tree.body.childNodes);
      says.textContent = place.querySelector(".headline, .problems strong")?.textContent.replace(/\s+/g, " ") ?? "";
      if (pushes && reply.ok) history.replaceState(null, "", `?${query}`);
    } catch {
      asked = ""; // the server is away: the next key or the button tries again
    } finally {
      if (mine === newest) place.removeAttribute("aria-busy");
    }
  }

  text.addEventListener("input", () => show(true));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    asked = "";
    show(false);
  });
}

const own = document.querySelector("form.try[data-preview]");
if (own) follow(own, document.getElementById("preview"), document.getElementById("preview-says"));
