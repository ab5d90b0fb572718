"use strict";
const all = selector => Array.from(document.querySelectorAll(selector));
const setAll = (selector, open) => all(selector).forEach(details => { details.open = open; });

for (const [id, open] of [["open", true], ["close", false]]) {
  const button = document.getElementById(id);
  button.hidden = false;
  button.addEventListener("click", () => setAll("details.answer", open));
}

// On paper nothing can be opened.
let closed = [];
addEventListener("beforeprint", () => {
  closed = all("details:not([open])");
  closed.forEach(details => { details.open = true; });
});
addEventListener("afterprint", () => closed.forEach(details => { details.open = false; }));
