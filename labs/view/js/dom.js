// Making and finding elements. Text always goes in as text, never as HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Record<string, string | number | boolean | EventListener>} Attributes */

/** @param {Element} made @param {Attributes} attributes @param {(Node | string)[]} children */
function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children);
}

/** An SVG element. @param {string} name @param {Attributes} [attributes] @param {(Node | string)[]} children @returns {SVGElement} */
export function svg(name, attributes = {}, ...children) {
  const made = /** @type {SVGElement} */ (document.createElementNS(SVG, name));
  fill(made, attributes, children);
  return made;
}

/** An HTML element. @template {keyof HTMLElementTagNameMap} K @param {K} name @param {Attributes} [attributes] @param {(Node | string)[]} children @returns {HTMLElementTagNameMap[K]} */
export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  fill(made, attributes, children);
  return made;
}

/** The element of an id, which the page has. @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** The input of an id. @param {string} id */
export function inputOf(id) {
  return /** @type {HTMLInputElement} */ (byId(id));
}

/** Text in which what stands between backticks is code. @param {string} text @returns {(Node | string)[]} */
export function withCode(text) {
  return text.split(/`([^`\n]+)`/).map((piece, i) => (i % 2 ? html('code', {}, piece) : piece));
}

/** Characters that cannot be seen, or that turn the order of reading around, made visible. @param {string} text */
export function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    found => `⟨${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

/** Make an element's children these, unless they say the same; what was opened stays open. @param {Element} parent @param {(Node | string)[]} children */
export function replace(parent, ...children) {
  const fresh = document.createElement('div');
  fresh.append(...children);
  const opened = new Set([...parent.querySelectorAll('details[open] > summary')].map(s => s.textContent));
  for (const details of fresh.querySelectorAll('details')) {
    details.open = opened.has(details.querySelector('summary')?.textContent ?? '');
  }
  if (fresh.innerHTML !== parent.innerHTML) parent.replaceChildren(...fresh.childNodes);
}

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}
