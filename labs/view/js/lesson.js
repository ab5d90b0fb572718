// What is taught: the step's text, the prediction, what was typed and seen, claims with evidence.

/** @import {State} from './state.js' */
/** @import {Check, Step, Prediction} from './types.js' */
import { html, withCode, visible, replace, byId } from './dom.js';

const DOINGS = 14; // that are shown; the others come before them

export class Lesson {
  /** @param {(step: number, typed: string) => void} predict gives an answer to the lab that goes on */
  constructor(predict) {
    this._predict = predict;
    this._step = byId('step');
    this._doings = byId('doings');
    this._checks = byId('checks');
    this._choices = byId('choices');
    this._room = 0; // pixels that a question has needed so far
    this._roomFor = '';
    /** @type {Map<number, string>} what the reader of this page predicts, by the step */
    this._answers = new Map();
    this._asked = ''; // which choices are shown
  }

  /** @param {State} state @param {boolean} isOpen whether its question can be answered */
  show(state, isOpen) {
    this._showStep(state, isOpen);
    const left = state.doings.length - DOINGS;
    replace(this._doings, ...(left > 0 ? [html('li', { class: 'quiet' }, `… ${left} before`)] : []),
      ...state.doings.slice(-DOINGS).map(doing => html('li', {}, ...lines(doing))));
    this._doings.scrollTop = this._doings.scrollHeight;
    replace(this._checks, ...(state.end ? [this._end(state)] : []),
      ...state.checks.map(check => this._check(check)),
      ...state.troubles.map(text => html('li', { class: 'failed' }, visible(text))));
    if (!byId('predict').hidden && !this._choices.hidden && this._roomFor !== this._asked) this._makeRoom();
  }

  /** The stage grows until all choices are in sight, and stays so: what is below moves seldom. */
  _makeRoom() {
    this._roomFor = this._asked;
    const lesson = /** @type {HTMLElement} */ (this._step.parentElement);
    const bottom = this._choices.getBoundingClientRect().bottom + lesson.scrollTop;
    this._room = Math.max(this._room, Math.ceil(bottom - lesson.getBoundingClientRect().top) + 4);
    lesson.parentElement?.style.setProperty('--room', `${this._room}px`);
    lesson.scrollTop = this._room - lesson.clientHeight; // of a low window
  }

  /** @param {State} state @param {boolean} isOpen */
  _showStep(state, isOpen) {
    const { step, lab, part } = state;
    if (step) {
      replace(this._step, html('h3', {}, `Step ${step.number} of ${step.of}: ${step.title}`),
        ...paragraphs(visible(step.say)));
    } else {
      replace(this._step, html('h3', {}, lab?.title ?? part?.title ?? 'The network'),
        html('p', {}, ...withCode(lab?.intro ?? 'Packets that pass are shown here.')));
    }
    byId('predict').hidden = !step?.ask;
    byId('said').hidden = true;
    if (!step?.ask) return;
    replace(byId('ask'), html('b', {}, 'Predict: '), ...withCode(visible(step.ask)));
    const own = state.predictions.get(step.number);
    const said = this._said(state, step.number);
    this._showChoices(step, said, isOpen);
    this._choices.hidden = own !== undefined || (state.acting && !said);
    this._choices.classList.toggle('made', state.acting);
    const told = own ?? (state.doings.length ? undefined : state.predictions.get(step.number - 1));
    byId('said').hidden = !told;
    if (told) {
      byId('said').classList.toggle('before', !own);
      replace(byId('said'), ...(own ? [] : [`Step ${told.step}: `, ...withCode(visible(told.ask)), html('br')]),
        ...outcome(told, this._said(state, told.step)));
    }
  }

  /** What was answered: on this page, or in the run. @param {State} state @param {number} number */
  _said({ said, predictions }, number) {
    return this._answers.get(number) ?? said.get(number) ?? predictions.get(number)?.said ?? '';
  }

  /** @param {Step} step @param {string} said @param {boolean} isOpen */
  _showChoices(step, said, isOpen) {
    const asked = `${step.number} ${step.ask}`;
    if (asked !== this._asked) {
      this._asked = asked;
      const choices = step.choices.map((text, i) => html('label', {},
        html('input', { type: 'radio', name: 'choice', value: text, change: () => this._answer(step, text, 'abcdefgh'[i]) }),
        html('span', {}, ...withCode(visible(text)))));
      this._choices.replaceChildren(...choices, ...(step.usage && !choices.length ? this._number(step) : []));
    }
    for (const input of this._choices.querySelectorAll('input')) {
      input.disabled = !isOpen;
      if (input.type === 'radio') input.checked = input.value === said;
      else if (said && document.activeElement !== input) input.value = said.replace(/\D/g, '');
    }
  }

  /** A field for a number, and what is said of anything else. @param {Step} step @returns {Node[]} */
  _number(step) {
    const remark = html('p', { class: 'bad', role: 'status' });
    const change = (/** @type {Event} */ event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const digits = input.value.trim().replaceAll(',', '');
      const isNumber = /^\d{1,9}$/.test(digits); // as at the prompt
      remark.textContent = isNumber || !digits ? '' : `'${visible(input.value.trim())}' is not an answer: type a whole number, as in 12`;
      if (isNumber) this._answer(step, Number(digits).toLocaleString('en'), digits);
      else input.select();
    };
    return [html('input', { type: 'text', inputmode: 'numeric', autocomplete: 'off', 'aria-labelledby': 'ask', placeholder: 'a number', change }), remark];
  }

  /** @param {Step} step @param {string} text @param {string} typed as at the prompt */
  _answer(step, text, typed) {
    this._answers.set(step.number, text);
    this._predict(step.number, typed);
  }

  /** The lab has another answer, or refused this one: only the lab's counts. @param {number} step */
  forget(step) {
    this._answers.delete(step);
  }

  /** @param {Check} check */
  _check({ claim, text, verdict, sign, words, evidence }) {
    return html('li', { class: verdict },
      html('details', {}, html('summary', {}, html('span', { 'aria-hidden': 'true' }, sign),
        html('span', { class: 'unseen' }, `${words}: `), ' ', html('b', {}, claim), ` ${visible(text)}`),
      html('ul', {}, ...evidence.map(line => html('li', {}, visible(line))))));
  }

  /** @param {State} state */
  _end(state) {
    const said = [...state.predictions.values()].map(prediction =>
      /** @type {const} */ ([prediction, this._said(state, prediction.step)])).filter(([, text]) => text);
    const wrong = said.filter(([prediction, text]) => text !== prediction.seen);
    const words = state.end?.claims ? `The end. Claims: ${state.end.claims}.` : 'The end.';
    return html('li', { class: state.end?.passed ? 'end passed' : 'end failed' }, html('b', {}, words),
      html('ol', {}, ...(state.end?.learned ?? []).map(sentence => html('li', {}, ...withCode(sentence)))),
      ...(said.length ? [html('p', {}, html('b', {}, `${said.length - wrong.length} of ${said.length} predictions were right.`))] : []),
      html('ul', {}, ...wrong.map(([prediction, text]) => html('li', {}, `Step ${prediction.step}. `,
        ...outcome(prediction, text)))));
  }
}

/** Paragraphs of a text; one that is set in is a command. @param {string} text */
function paragraphs(text) {
  return text.trimEnd().split(/\n\s*\n/).map(part => (part.startsWith('    ')
    ? html('pre', { tabindex: 0 }, part.replace(/^ {4,}/gm, '')) : html('p', {}, ...withCode(part))));
}

/** What was said, what was seen, and why that is so. @param {Prediction} prediction @param {string} said */
function outcome({ seen, evidence, choices, beliefs, exercise }, said) {
  const belief = beliefs[choices.indexOf(said)];
  const right = said === seen;
  return [
    ...(said ? [html('b', {}, right ? 'You predicted it: ' : 'You said: '), ...withCode(visible(said)), html('br')] : []),
    ...(belief && !right ? [html('b', {}, 'The belief behind it: '), ...withCode(visible(belief)), html('br')] : []),
    ...(right ? [] : [html('b', {}, 'Seen: '), ...withCode(visible(seen || 'the step did not come to it')), html('br')]),
    html('span', { class: 'quiet mono' }, visible(evidence)),
    ...(exercise && said && !right ? [html('br'), html('b', {}, 'The exercise that fits: '), html('code', {}, exercise)] : []),
  ];
}

/** @param {State['doings'][number]} doing @returns {Node[]} */
function lines(doing) {
  switch (doing.kind) {
    case 'command':
      return [html('span', { class: 'prompt' }, `${doing.node}$ `), html('code', {}, visible(doing.command))];
    case 'output': {
      const ended = doing.status === 0 ? 'done' : `exit status ${doing.status}`;
      const head = html('span', { class: 'quiet' }, `${doing.node}: ${doing.command.split(' ')[0]} ${ended}`);
      return [head, ...pre(doing.lines)];
    }
    case 'observed':
      return pre(doing.lines);
    default:
      return [html('span', { class: 'quiet' }, `${doing.node} ${doing.program}: `, html('b', {}, doing.name),
        ` ${visible(doing.words)}`)];
  }
}

/** @param {string[]} text */
function pre(text) {
  return text.length ? [html('pre', { tabindex: 0 }, visible(text.join('\n')))] : [];
}
