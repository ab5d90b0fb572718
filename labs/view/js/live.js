// The run that is going on: its entries as they come, and what can be done from here.

/** @import {Entry, Pause} from './types.js' */
import { byId, html } from './dom.js';

const SHOWN = 30; // answers

/**
 * `here` is called once, after all that had been when the page was opened.
 * @param {(entries: Entry[]) => void} add @param {() => void} here @param {(ended: string) => void} over
 */
export function listen(add, here, over) {
  /** @type {Entry[]} */
  let come = [];
  let isHere = false;
  const give = () => {
    add(come);
    come = [];
  };
  const stream = new EventSource('stream');
  stream.addEventListener('message', event => {
    if (!come.length && isHere) requestAnimationFrame(give);
    come.push(...JSON.parse(event.data));
  });
  stream.addEventListener('here', () => {
    if (isHere) return;
    isHere = true;
    give();
    here();
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

/**
 * Ask the lab to do something; whether it went well. It refuses what is meant for a step that it is not at any more.
 * @param {string} what @param {string} typed @param {number} [step]
 */
async function ask(what, typed, step = 0) {
  const answers = byId('answers');
  /** @param {string} kind @param {string} text */
  const show = (kind, text) => {
    const item = html('li', { class: kind }, text);
    if (running?.isConnected) running.replaceWith(item); // below its own line: others may run, too
    else answers.append(item);
    while (answers.children.length > SHOWN) answers.firstChild?.remove();
    answers.scrollTop = answers.scrollHeight;
    return item;
  };
  /** @type {HTMLElement | undefined} */
  let running;
  if (what === 'do') {
    show('prompt', `> ${typed}`);
    running = show('quiet', 'running …');
  }
  try {
    const answer = await fetch(what, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ line: typed, step }),
    });
    const { text } = await answer.json();
    if (text) show(answer.ok ? 'quiet' : 'bad', text);
    return answer.ok;
  } catch {
    show('bad', 'The lab does not answer.');
    return false;
  } finally {
    running?.remove();
  }
}

/** Answer a step's question; whether the lab took it. @param {number} step @param {string} typed */
export function predict(step, typed) {
  return ask('predict', typed, step);
}

/** Go on with a step. @param {number} step */
export function next(step) {
  return ask('next', '', step);
}

/** Make the forms work. @param {() => void} goOn what `Next step` does */
export function connectForms(goOn) {
  const line = /** @type {HTMLInputElement} */ (byId('line'));
  byId('type').addEventListener('submit', async event => {
    event.preventDefault();
    const typed = line.value;
    line.value = '';
    if (!typed.trim()) return;
    const well = await ask('do', typed);
    if (well || line.value) return;
    line.value = typed; // to be put right, or to be typed over
    line.select();
  });
  byId('next').addEventListener('click', goOn);
}

/** What can be done now, what the nodes are, and which step was not shown yet. @param {Pause} pause @param {string[]} nodes @param {number} [ahead] */
export function allow({ open, step, words }, nodes, ahead) {
  byId('next').textContent = ahead ? `Go to step ${ahead}` : 'Next step';
  /** @type {HTMLInputElement} */ (byId('line')).disabled = !open;
  /** @type {HTMLButtonElement} */ (byId('next')).disabled = !open;
  byId('next').hidden = !step;
  const buttons = byId('words');
  if (buttons.childElementCount !== words.length) {
    buttons.replaceChildren(...words.map(word =>
      html('button', { type: 'button', click: () => ask('do', word) }, word)));
  }
  const list = byId('nodes');
  if (list.childElementCount !== nodes.length) {
    list.replaceChildren(...nodes.map(node => html('option', { value: `${node} ` })));
  }
}
