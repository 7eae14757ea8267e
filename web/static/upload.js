// Shows how far an upload is. The form works without this: it is the same request, sent so that progress is seen.

const MEBI = 1048576;

const field = (name) => document.getElementById(`field-${name}`);
const sizeOf = (bytes) => (bytes < MEBI ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / MEBI).toFixed(1)} MiB`);

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

function send(event) {
  event.preventDefault();
  const sent = event.currentTarget;
  const limit = Number(field("board").selectedOptions[0].dataset.limit);
  const file = field("file").files[0];
  if (file && file.size > limit) {
    say(`This board takes at most ${sizeOf(limit)}; the file is larger.`, 0);
    return;
  }
  const button = sent.querySelector("button.button");
  const request = new XMLHttpRequest();
  request.open("POST", sent.action);
  request.setRequestHeader("Accept", "text/html");
  request.upload.addEventListener("progress", (step) => {
    if (step.lengthComputable && step.loaded < step.total) {
      say(`Sending: ${sizeOf(step.loaded)} of ${sizeOf(step.total)}`, step.loaded / step.total);
    }
  });
  request.upload.addEventListener("load", () => say("Sent. The server is checking the file.", null));
  request.addEventListener("load", () => {
    if (request.status === 200 && new URL(request.responseURL).pathname !== new URL(sent.action).pathname) {
      location.assign(request.responseURL);
    } else if (!showAnswer(request.responseText)) {
      button.disabled = false;
      say(`The server's answer (${request.status}) cannot be shown. See under your account whether it was handed in.`, 0);
    }
  });
  request.addEventListener("error", () => {
    button.disabled = false;
    say("The connection was lost before the upload was complete. Nothing was handed in; try again.", 0);
  });
  button.disabled = true;
  say("Sending", 0);
  request.send(new FormData(sent));
}

/** A method without a name is called after its file, and the file's ending says what it is. */
function nameAfterFile() {
  const file = field("file").files[0];
  if (!file) return;
  if (!field("method").value) field("method").value = file.name.replace(/\.[^.]*$/, "");
  const kind = file.name.endsWith(".py") ? "code" : file.name.endsWith(".npy") ? "uids" : null;
  if (kind) document.querySelector(`input[name="kind"][value="${kind}"]`).checked = true;
}

function start() {
  const form = document.getElementById("submit-form");
  if (!form) return;
  form.addEventListener("submit", send);
  field("file").addEventListener("change", nameAfterFile);
}

start();
if (field("file")) nameAfterFile(); // a file may have been chosen before this script was there
