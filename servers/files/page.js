"use strict";
// Without this script the browser posts the form. With it, each file is PUT on its own: progress
// is shown, an upload can be cancelled, and a file that the server would refuse is not sent.

/** @typedef {{file: File, cancel: HTMLButtonElement, progress: HTMLProgressElement, state: HTMLElement}} Row */

/** The element of an id, which the page has. @param {string} id */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

const form = /** @type {HTMLFormElement} */ (byId("upload"));
const BAD_NAME = "The server does not take this name: no dot at its beginning, no slash, " +
  "no control characters, at most 255 bytes.";

/** @param {string} text */
function announce(text) {
  byId("announcement").textContent = text;
}

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {string} [text] @returns {HTMLElementTagNameMap[K]} */
function element(tag, text) {
  const made = document.createElement(tag);
  if (text) made.textContent = text; // never as HTML: strangers choose the file names
  return made;
}

/** @param {File} file @returns {Row} */
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
  byId("uploads").append(row);
  return { file, cancel, progress, state };
}

/** @param {Row} row @param {string} text */
function finish(row, text) {
  row.state.textContent = text;
  row.cancel.remove();
  announce(`${row.file.name}: ${text}`);
}

/**
 * The condition under which to PUT (RFC 9110, section 13), or an error that says why not to.
 * @param {File} file @param {string} path @param {boolean} replace @returns {Promise<[name: string, value: string]>}
 */
async function ask(file, path, replace) {
  if (file.size > Number(form.dataset.maxFile)) throw new Error("The file is too large.");
  const there = await fetch(path, { method: "HEAD", cache: "no-store" });
  if (there.status === 400) throw new Error(BAD_NAME);
  if (there.status === 404) return ["If-None-Match", "*"];
  if (!there.ok) throw new Error(`The server answers ${there.status}.`);
  if (replace) return ["If-Match", there.headers.get("ETag") ?? "*"];
  throw new Error("There is a file of this name already. Tick “Replace” to overwrite it.");
}

/** @param {Row} row @param {string} path @param {[name: string, value: string]} condition @returns {Promise<void>} */
function put(row, path, condition) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch() does not report the progress of an upload
    const end = (/** @type {string} */ text) => { finish(row, text); resolve(); };
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

/** @param {Row} row @param {boolean} replace */
async function upload(row, replace) {
  if (!row.cancel.isConnected) return;
  try {
    const path = "/" + encodeURIComponent(row.file.name);
    await put(row, path, await ask(row.file, path, replace));
  } catch (error) {
    finish(row, /** @type {Error} */ (error).message);
  }
}

async function refreshList() {
  const answer = await fetch("/", { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  byId("list").replaceWith(page.getElementById("list") ?? "");
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const replace = /** @type {HTMLInputElement} */ (byId("replace")).checked;
  const rows = Array.from(/** @type {HTMLInputElement} */ (byId("choose")).files ?? [], addRow);
  for (const row of rows) row.cancel.onclick = () => finish(row, "Cancelled: nothing was stored.");
  form.reset();
  announce(`Uploading ${rows.length} file(s)`);
  for (const row of rows) await upload(row, replace);
  await refreshList().catch(() => announce("The server does not answer."));
});
