"use strict";
// Without this script the browser posts the form. With it, each file is PUT on its own: progress
// is shown, an upload can be cancelled, and a file that the server would refuse is not sent.
const form = document.getElementById("upload");
const BAD_NAME = "The server does not take this name: no dot at its beginning, no slash, " +
  "no control characters, at most 255 bytes.";

function announce(text) {
  document.getElementById("announcement").textContent = text;
}

function element(tag, text) {
  const made = document.createElement(tag);
  if (text) made.textContent = text; // never as HTML: strangers choose the file names
  return made;
}

function addRow(file) {
  const row = element("li");
  const name = element("bdi", file.name);
  const cancel = element("button", "Cancel");
  cancel.type = "button";
  cancel.setAttribute("aria-label", `Cancel the upload of ${file.name}`);
  const progress = element("progress");
  progress.max = 1;
  progress.value = 0;
  progress.setAttribute("aria-label", `Upload of ${file.name}`);
  const state = element("p", "Waiting");
  row.append(name, cancel, progress, state);
  document.getElementById("uploads").append(row);
  return { file, cancel, progress, state };
}

function finish(row, text) {
  row.state.textContent = text;
  row.cancel.remove();
  announce(`${row.file.name}: ${text}`);
}

// The conditions under which to PUT (RFC 9110, section 13), or a reason not to.
async function ask(file, path, replace) {
  if (file.size > Number(form.dataset.maxFile)) throw new Error("The file is too large.");
  const there = await fetch(path, { method: "HEAD", cache: "no-store" });
  if (there.status === 400) throw new Error(BAD_NAME);
  if (there.status === 404) return ["If-None-Match", "*"];
  if (!there.ok) throw new Error(`The server answers ${there.status}.`);
  if (replace) return ["If-Match", there.headers.get("ETag")];
  throw new Error("There is a file of this name already. Tick “Replace” to overwrite it.");
}

function put(row, path, condition) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch() does not report the progress of an upload
    const end = (text) => { finish(row, text); resolve(); };
    request.open("PUT", path);
    request.setRequestHeader(...condition);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      const part = event.total ? event.loaded / event.total : 1;
      row.progress.value = part;
      row.state.textContent = `${Math.floor(100 * part)} %`;
    };
    request.onload = () => {
      const answer = request.response;
      if (request.status >= 300) return end(`Refused: ${answer?.error ?? request.status}.`);
      row.progress.value = 1;
      end(`Stored. SHA-256 ${answer.sha256}`);
    };
    request.onerror = () => end("The connection was cut: nothing was stored.");
    request.onabort = () => end("Cancelled: nothing was stored.");
    row.cancel.onclick = () => request.abort();
    request.send(row.file);
  });
}

async function upload(row, replace) {
  if (!row.cancel.isConnected) return;
  try {
    const path = "/" + encodeURIComponent(row.file.name);
    await put(row, path, await ask(row.file, path, replace));
  } catch (error) {
    finish(row, error.message);
  }
}

async function refreshList() {
  const answer = await fetch("/", { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("list").replaceWith(page.getElementById("list"));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const replace = document.getElementById("replace").checked;
  const rows = Array.from(document.getElementById("choose").files, addRow);
  for (const row of rows) row.cancel.onclick = () => finish(row, "Cancelled: nothing was stored.");
  form.reset();
  announce(`Uploading ${rows.length} file(s)`);
  for (const row of rows) await upload(row, replace);
  await refreshList().catch(() => announce("The server does not answer."));
});
