// What is taught: the step's text, the prediction, what was typed and seen, claims with evidence.

/** @import {State} from './state.js' */
/** @import {Check} from './types.js' */
import { html, withCode, visible, replace, byId } from './dom.js';

/** @type {Record<string, [sign: string, words: string]>} */
export const VERDICTS = {
  held: ['✓', 'holds'], failed: ['✗', 'does not hold'], unchecked: ['!', 'could not be checked'],
};
const DOINGS = 14; // that are shown; the others come before them

export class Lesson {
  constructor() {
    this._step = byId('step');
    this._doings = byId('doings');
    this._checks = byId('checks');
    this._ask = byId('ask');
    this._answer = /** @type {HTMLTextAreaElement} */ (byId('answer'));
    /** @type {Map<number, string>} what the reader predicted, by the step */
    this._answers = new Map();
    this._number = 0;
    this._answer.addEventListener('input', () => this._answers.set(this._number, this._answer.value));
  }

  /** @param {State} state */
  show(state) {
    this._showStep(state);
    const left = state.doings.length - DOINGS;
    replace(this._doings, ...(left > 0 ? [html('li', { class: 'quiet' }, `… ${left} before`)] : []),
      ...state.doings.slice(-DOINGS).map(doing => html('li', {}, ...lines(doing))));
    this._doings.scrollTop = this._doings.scrollHeight;
    replace(this._checks, ...state.checks.map(check => this._check(check)),
      ...state.troubles.map(text => html('li', { class: 'failed' }, visible(text))),
      ...(state.end ? [end(state)] : []));
  }

  /** @param {State} state */
  _showStep({ step, lab, part, checks }) {
    if (step) {
      replace(this._step, html('h3', {}, `Step ${step.number} of ${step.of}: ${step.title}`),
        html('p', {}, ...withCode(visible(step.say))));
    } else {
      replace(this._step, html('h3', {}, lab?.title ?? part?.title ?? 'The network'),
        html('p', {}, ...withCode(lab?.intro ?? 'Packets that pass are shown here.')));
    }
    const asks = Boolean(step?.ask);
    byId('predict').hidden = !asks;
    if (step && asks) {
      replace(this._ask, html('b', {}, 'Predict: '), ...withCode(visible(step.ask)));
      if (this._number !== step.number) {
        this._number = step.number;
        this._answer.value = this._answers.get(step.number) ?? '';
      }
      const said = this._answers.get(step.number);
      const seen = checks.length > 0 && said;
      byId('said').hidden = !seen;
      if (seen) {
        replace(byId('said'), html('b', {}, 'You said: '), said, html('br'), html('b', {}, 'Seen: '),
          checks.map(check => `${VERDICTS[check.verdict][0]} ${check.text}`).join('; '));
      }
    }
  }

  /** @param {Check} check */
  _check({ claim, text, verdict, evidence }) {
    const [sign, words] = VERDICTS[verdict];
    return html('li', { class: verdict },
      html('details', {}, html('summary', {}, html('span', { 'aria-hidden': 'true' }, sign),
        html('span', { class: 'unseen' }, `${words}: `), ' ', html('b', {}, claim), ` ${visible(text)}`),
      html('ul', {}, ...evidence.map(line => html('li', {}, visible(line))))));
  }
}

/** @param {State} state */
function end({ end: ended, claims }) {
  const held = [...claims.values()].filter(verdict => verdict === 'held').length;
  const words = claims.size ? `The end: ${held} of ${claims.size} claims hold.` : 'The end.';
  return html('li', { class: ended?.passed ? 'held' : 'failed' }, html('b', {}, words),
    html('ol', {}, ...(ended?.learned ?? []).map(sentence => html('li', {}, ...withCode(sentence)))));
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
