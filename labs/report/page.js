"use strict";

/** @param {string} selector @returns {HTMLDetailsElement[]} */
const all = selector => Array.from(document.querySelectorAll(selector));

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("#open, #close"))) {
  button.hidden = false;
  button.addEventListener("click", () =>
    all("details.answer").forEach(details => { details.open = button.id === "open"; }));
}

// On paper nothing can be opened.
/** @type {HTMLDetailsElement[]} */
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  closed.forEach(details => { details.open = true; });
});
addEventListener("afterprint", () => closed.forEach(details => { details.open = false; }));
