// Shows what an expression would keep while it is typed into the form. Without this a button leads to the pool's page.

import { field, kindOf } from "./choose.js";

const PAUSE = 500; // ms without a key

export function startTrying(form) {
  const text = field("expression");
  if (!text) return;
  const place = document.getElementById("preview");
  const says = document.getElementById("preview-says");
  let timer = 0;
  let asking = null;
  let asked = "";
  document.getElementById("try").remove();

  function show(html) {
    const tree = new DOMParser().parseFromString(html, "text/html");
    if (tree.querySelector("main")) return hide(); // a whole page: there is no preview here
    for (const each of tree.querySelectorAll("[id], [role=alert]")) {
      each.removeAttribute("id"); // the form's own problems may be on the page, too
      each.removeAttribute("role");
    }
    place.replaceChildren(...tree.body.childNodes);
    place.hidden = false;
    says.textContent = place.querySelector(".headline, .problems strong")?.textContent.replace(/\s+/g, " ") ?? "";
  }

  function hide() {
    place.hidden = true;
    place.replaceChildren();
    says.textContent = "";
  }

  async function ask() {
    const expression = text.value.trim();
    const address = `/boards/${encodeURIComponent(field("board").value)}/preview?${new URLSearchParams({ expression })}`;
    if (kindOf(form) !== "expression" || address === asked) return;
    asking?.abort();
    asked = address;
    if (!expression) return hide();
    asking = new AbortController();
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: asking.signal });
      const html = await answer.text();
      if (answer.status === 404) hide();
      else show(html);
      place.removeAttribute("aria-busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      place.removeAttribute("aria-busy");
      asked = ""; // the server is away: the next key asks again
    }
  }

  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  };
  text.addEventListener("input", soon);
  form.addEventListener("change", ask);
  if (!text.dataset.fault) ask(); // else the form says already what is wrong
}
