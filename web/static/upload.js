// Shows how far an upload is, and sends large files in pieces, so that a cut line or a reload costs little. The form
// works without this: small files go out as the same request, sent so that progress is seen.

import { field, kindOf, sizeOf, startChoosing } from "./choose.js";
import { Order, headerOf } from "./order.js";
import { Interrupted, PIECE, digestOf, sendPieces } from "./pieces.js";
import { startTrying } from "./try.js";

const HEAD = 4096; // enough of a file to see what it says of itself
const digests = new WeakMap();


function say(text, share) {
  const panel = document.getElementById("upload");
  panel.hidden = false;
  panel.querySelector("p").textContent = text;
  const bar = panel.querySelector("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

/** Put the answer's page in place: the same form with its problems, or an error page. False if it is no page of ours. */
function showAnswer(html) {
  const answer = new DOMParser().parseFromString(html, "text/html");
  if (!answer.getElementById("content")) return false;
  const file = field("file");
  document.title = answer.title;
  document.getElementById("content").replaceWith(document.importNode(answer.getElementById("content"), true));
  const twin = field("file");
  if (twin && file) twin.replaceWith(file); // the chosen file stays chosen
  start();
  document.getElementById("content").focus();
  scrollTo(0, 0);
  return true;
}

const lost = "The connection was lost before the upload was complete. Nothing was handed in; try again.";
const unclear = (status) =>
  `The server's answer (${status}) cannot be shown. See under your account whether it was handed in.`;

function sendWhole(form) {
  const button = form.querySelector("button.button");
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "text/html");
  request.upload.addEventListener("progress", (step) => {
    if (step.lengthComputable && step.loaded < step.total) {
      say(`Sending: ${sizeOf(step.loaded)} of ${sizeOf(step.total)}`, step.loaded / step.total);
    }
  });
  request.upload.addEventListener("load", () => say("Sent. The server is checking the file.", null));
  request.addEventListener("load", () => {
    if (request.status === 200 && new URL(request.responseURL).pathname !== new URL(form.action).pathname) {
      location.assign(request.responseURL);
    } else if (!showAnswer(request.responseText)) {
      button.disabled = false;
      say(unclear(request.status), 0);
    }
  });
  request.addEventListener("error", () => {
    button.disabled = false;
    say(lost, 0);
  });
  button.disabled = true;
  say("Sending", 0);
  request.send(new FormData(form));
}

/** The fields with what the server must know of the file before any of it is sent. */
async function announcement(form, file) {
  if (!digests.has(file)) {
    const told = (done) => say(`Reading the file: ${sizeOf(done)} of ${sizeOf(file.size)}`, done / file.size);
    const skip = headerOf(new Uint8Array(await file.slice(0, HEAD).arrayBuffer()), file.size);
    const order = kindOf(form) === "uids" && !file.name.endsWith(".bitmap") && skip >= 0 ? new Order(skip) : null;
    const digest = await digestOf(file, told, order);
    if (order?.problem) throw new Error(order.problem);
    digests.set(file, digest);
  }
  const fields = new FormData(form);
  fields.set("file", file.slice(0, HEAD), file.name);
  fields.set("size", file.size);
  fields.set("digest", digests.get(file));
  return fields;
}

async function sendInPieces(form, file) {
  const answer = await fetch(form.action, { method: "POST", headers: { Accept: "text/html" }, body: await announcement(form, file) });
  if (answer.status !== 201) {
    if (!showAnswer(await answer.text())) say(unclear(answer.status), 0);
    return;
  }
  const { upload, receipt } = await answer.json();
  await sendPieces(upload, file, form.elements.csrf.value, {
    sent(done) {
      if (done < file.size) say(`Sending: ${sizeOf(done)} of ${sizeOf(file.size)}`, done / file.size);
      else say("Sent. The server is putting the file together.", null);
    },
    waiting(seconds) {
      say(`The server cannot be reached; what it has is kept. Trying again in ${Math.ceil(seconds)} s.`, null);
    },
  });
  location.assign(receipt);
}

function send(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const limit = Number(field("board").selectedOptions[0].dataset.limit);
  const file = kindOf(form) === "expression" ? null : field("file").files[0];
  if (file && file.size > limit) {
    say(`This board takes at most ${sizeOf(limit)}; the file is larger.`, 0);
    return;
  }
  if (!file || file.size <= PIECE) {
    sendWhole(form);
    return;
  }
  const button = form.querySelector("button.button");
  button.disabled = true;
  sendInPieces(form, file)
    .catch((error) => {
      if (error instanceof Interrupted) say("The server cannot be reached. What it has is kept: submit again to go on.", 0);
      else if (error instanceof TypeError) say(lost, 0); // of fetch: no answer
      else say(`This cannot be handed in: ${error.message}`, 0);
    })
    .finally(() => {
      button.disabled = false;
    });
}

function start() {
  const form = document.getElementById("submit-form");
  if (!form) return;
  form.addEventListener("submit", send);
  startChoosing(form);
  startTrying(form);
}

start();
