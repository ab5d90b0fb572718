"use strict";
// The pictures of a row are unpacked when one of its cells is opened.

/** @param {Element} row @returns {Promise<string[]>} */
async function unpack(row) {
  const packed = row.querySelector("script.pictures")?.textContent ?? "";
  const bytes = Uint8Array.from(atob(packed), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** @param {Element} row */
async function fill(row) {
  if (row.classList.contains("filled")) return;
  row.classList.add("filled");
  const pictures = await unpack(row);
  row.querySelectorAll(".packets").forEach((place, number) => { place.innerHTML = pictures[number]; });
}

/** @param {Element} cell */
const rowOf = cell => /** @type {HTMLDetailsElement} */ (cell.closest(".row"));

for (const cell of /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details.cell"))) {
  cell.addEventListener("toggle", () => { if (cell.open) fill(rowOf(cell)); });
}

// A cell of the grid leads to its words: they must be open to be seen.
function open() {
  const cell = document.getElementById(location.hash.slice(1));
  if (!(cell instanceof HTMLDetailsElement) || !cell.matches(".cell")) return;
  rowOf(cell).open = true;
  cell.open = true;
  cell.scrollIntoView();
}
addEventListener("hashchange", open);
open();
