// The run that is going on: its entries as they come, and what can be done from here.

/** @import {Entry, Pause} from './types.js' */
import { byId, html } from './dom.js';

const SHOWN = 30; // answers

/** @param {(entries: Entry[]) => void} add @param {(ended: string) => void} over */
export function listen(add, over) {
  /** @type {Entry[]} */
  let come = [];
  const stream = new EventSource('stream');
  stream.addEventListener('message', event => {
    if (!come.length) requestAnimationFrame(() => { add(come); come = []; });
    come.push(...JSON.parse(event.data));
  });
  stream.addEventListener('over', event => {
    stream.close();
    over(/** @type {MessageEvent} */ (event).data);
  });
  stream.addEventListener('open', () => say('connected'));
  stream.addEventListener('error', () => say(stream.readyState === EventSource.CLOSED
    ? 'the run has ended' : 'not connected; trying again'));
}

/** @param {string} text */
export function say(text) {
  byId('connection').textContent = text;
}

/** Ask the lab to do something. @param {string} what @param {Record<string, string>} [fields] */
async function ask(what, fields = {}) {
  const answers = byId('answers');
  /** @param {string} kind @param {string} text */
  const show = (kind, text) => {
    answers.append(html('li', { class: kind }, text));
    while (answers.children.length > SHOWN) answers.firstChild?.remove();
    answers.scrollTop = answers.scrollHeight;
  };
  try {
    const answer = await fetch(what, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(fields),
    });
    const { text } = await answer.json();
    if (text) show(answer.ok ? 'quiet' : 'bad', text);
  } catch {
    show('bad', 'The lab does not answer.');
  }
}

/** Answer the step's question. @param {string} typed */
export function predict(typed) {
  ask('predict', { line: typed });
}

/** Make the forms work. */
export function connectForms() {
  const line = /** @type {HTMLInputElement} */ (byId('line'));
  byId('type').addEventListener('submit', event => {
    event.preventDefault();
    if (line.value.trim()) ask('do', { line: line.value });
    line.value = '';
  });
  byId('next').addEventListener('click', () => ask('next'));
}

/** What can be done now, and what the nodes are. @param {Pause} pause @param {string[]} nodes */
export function allow({ open, next, words }, nodes) {
  /** @type {HTMLInputElement} */ (byId('line')).disabled = !open;
  /** @type {HTMLButtonElement} */ (byId('next')).disabled = !open;
  byId('next').hidden = !next;
  const buttons = byId('words');
  if (buttons.childElementCount !== words.length) {
    buttons.replaceChildren(...words.map(word =>
      html('button', { type: 'button', click: () => ask('do', { line: word }) }, word)));
  }
  const list = byId('nodes');
  if (list.childElementCount !== nodes.length) {
    list.replaceChildren(...nodes.map(node => html('option', { value: `${node} ` })));
  }
}
