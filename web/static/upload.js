// Shows how far an upload is. The form works without this: it is the same request, sent so that progress is seen.

const sizeOf = (bytes) => (bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`);

function say(text, share) {
  const panel = document.getElementById("upload");
  panel.hidden = false;
  panel.querySelector("p").textContent = text;
  const bar = panel.querySelector("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

/** Put the answer's page in place: the same form with its problems, or an error page. */
function showAnswer(html) {
  const answer = new DOMParser().parseFromString(html, "text/html");
  const file = document.getElementById("field-file");
  document.title = answer.title;
  document.getElementById("content").replaceWith(document.importNode(answer.getElementById("content"), true));
  const twin = document.getElementById("field-file");
  if (twin && file) twin.replaceWith(file); // the chosen file stays chosen
  start();
  document.getElementById("content").focus();
  scrollTo(0, 0);
}

function send(event) {
  event.preventDefault();
  const sent = event.currentTarget;
  const button = sent.querySelector("button.button");
  const request = new XMLHttpRequest();
  request.open("POST", sent.action);
  request.setRequestHeader("Accept", "text/html");
  request.upload.addEventListener("progress", (step) => {
    if (step.lengthComputable && step.loaded < step.total) {
      say(`Sending: ${sizeOf(step.loaded)} of ${sizeOf(step.total)}`, step.loaded / step.total);
    }
  });
  request.upload.addEventListener("load", () => say("Sent. The server is checking the digest.", null));
  request.addEventListener("load", () => {
    if (request.status === 200 && new URL(request.responseURL).pathname !== new URL(sent.action).pathname) {
      location.assign(request.responseURL);
    } else {
      showAnswer(request.responseText);
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

/** A method without a name is called after its file. */
function nameAfterFile(event) {
  const method = document.getElementById("field-method");
  const file = event.currentTarget.files[0];
  if (!file) return;
  if (!method.value) method.value = file.name.replace(/\.[^.]*$/, "");
  const kind = file.name.endsWith(".py") ? "code" : file.name.endsWith(".npy") ? "uids" : null;
  if (kind) document.querySelector(`input[name="kind"][value="${kind}"]`).checked = true;
}

function start() {
  const current = document.getElementById("submit-form");
  if (!current) return;
  current.addEventListener("submit", send);
  document.getElementById("field-file").addEventListener("change", nameAfterFile);
}

start();
