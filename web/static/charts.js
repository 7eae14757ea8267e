// Puts live charts in the place of drawn ones: values under the pointer, once a chart is seen. The drawing stays where
// anything fails. Of figures that come later (a preview, news of a receipt) no drawing is asked for unless that fails.

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");
const OPTIONS = { ast: true, defaultStyle: false, actions: false, renderer: "svg", tooltip: { disableDefaultStyle: true } };

let bundle = null;

function vega(address) {
  bundle ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.addEventListener("load", () => resolve(window.vegaEmbed));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return bundle;
}

async function enliven(figure) {
  const image = figure.querySelector("picture");
  const asked = new URLSearchParams(figure.dataset.query);
  asked.set("theme", dark.matches ? "dark" : "light");
  asked.set("narrow", narrow.matches);
  try {
    const [embed, reply] = await Promise.all([vega(figure.dataset.bundle), fetch(`${figure.dataset.chart}.json?${asked}`)]);
    if (!reply.ok) throw new Error(reply.statusText);
    const place = document.createElement("div");
    await embed(place, await reply.json(), OPTIONS);
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", image.querySelector("img").alt);
    place.className = "live";
    for (const old of figure.querySelectorAll(".live")) old.remove();
    image.hidden = true;
    image.before(place);
  } catch {
    image.hidden = figure.querySelector(".live") !== null; // the drawing stays, or comes
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    enliven(target);
  }
});

for (const figure of document.querySelectorAll("figure[data-chart]")) seen.observe(figure);
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    if (node.nodeType !== Node.ELEMENT_NODE) continue;
    for (const figure of node.querySelectorAll("figure[data-chart]")) {
      figure.querySelector("picture").hidden = true;
      seen.observe(figure);
    }
  }
}).observe(document.getElementById("content"), { childList: true, subtree: true });
for (const change of [dark, narrow]) {
  change.addEventListener("change", () => {
    for (const live of document.querySelectorAll("figure[data-chart] > .live")) enliven(live.parentElement);
  });
}
