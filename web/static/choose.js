// What is handed in: the kinds that a board takes, a file that is chosen or dropped, an expression. The form works
// without this; the server checks all of it again.

const KIND_OF = { py: "code", npy: "uids", bitmap: "uids", parquet: "dataset", csv: "dataset", jsonl: "dataset" };
const MEBI = 1048576;

export const field = (name) => document.getElementById(`field-${name}`);
export const sizeOf = (bytes) => (bytes < MEBI ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / MEBI).toFixed(1)} MiB`);

const kinds = (form) => [...form.querySelectorAll('input[name="kind"]')];
export const kindOf = (form) => kinds(form).find((kind) => kind.checked)?.value;

/** Disable what the chosen board does not take, and ask for what the chosen kind needs. */
function fit(form) {
  const taken = field("board").selectedOptions[0].dataset.kinds.split(" ");
  for (const kind of kinds(form)) kind.disabled = !taken.includes(kind.value);
  if (!kinds(form).some((kind) => kind.checked && !kind.disabled)) {
    kinds(form).find((kind) => !kind.disabled).checked = true;
  }
  const written = kindOf(form) === "expression";
  field("file").required = !written;
  field("file").disabled = written; // so that a file chosen before is not sent along
  if (field("expression")) field("expression").required = written;
}

/** Say which file it is. A method without a name is called after it, and its ending says what it is. */
function tellFile(form) {
  const file = field("file").files[0];
  document.getElementById("chosen").textContent = file ? `${file.name}, ${sizeOf(file.size)}` : "";
  if (!file) return;
  if (!field("method").value) field("method").value = file.name.replace(/\.[^.]*$/, "");
  const kind = kinds(form).find((each) => each.value === KIND_OF[file.name.split(".").pop().toLowerCase()]);
  if (kind && !kind.disabled) kind.checked = true;
  fit(form);
}

function acceptDrops(form) {
  const target = form.querySelector(".drop");
  let depth = 0; // dragenter and dragleave come for every element inside, too
  const over = (change) => {
    depth = Math.max(depth + change, 0);
    target.toggleAttribute("data-over", depth > 0);
  };
  const withFile = (event) => event.dataTransfer?.types.includes("Files");
  form.addEventListener("dragenter", (event) => withFile(event) && over(1));
  form.addEventListener("dragleave", (event) => withFile(event) && over(-1));
  form.addEventListener("dragover", (event) => withFile(event) && event.preventDefault());
  form.addEventListener("drop", (event) => {
    if (!withFile(event)) return;
    event.preventDefault();
    over(-depth);
    const kept = new DataTransfer();
    if (event.dataTransfer.files.length) kept.items.add(event.dataTransfer.files[0]);
    if (kindOf(form) === "expression") kinds(form).find((kind) => !kind.disabled && kind.value !== "expression").checked = true;
    fit(form);
    field("file").files = kept.files;
    tellFile(form);
    if (event.dataTransfer.files.length > 1) document.getElementById("chosen").textContent += " (one file alone is handed in)";
  });
  document.getElementById("drop-help").hidden = false;
}

// A file that is dropped beside the form would otherwise be opened in the form's place.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

/** Wire up a form that was just put in place. */
export function startChoosing(form) {
  field("board").addEventListener("change", () => fit(form));
  for (const kind of kinds(form)) kind.addEventListener("change", () => fit(form));
  field("file").addEventListener("change", () => tellFile(form));
  acceptDrops(form);
  fit(form);
  tellFile(form); // a file may have been chosen before this was there
  const text = field("expression");
  if (text?.dataset.fault) text.setSelectionRange(Number(text.dataset.fault), Number(text.dataset.fault) + 1);
}
