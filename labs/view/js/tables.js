// Each NAPT's table as it was at the moment, below the picture, with everything that a row says.

/** @import {State} from './state.js' */
/** @import {Rewriting} from './scene.js' */
import { portMap } from './ports.js';
import { FRESH, TablesLook } from './state.js';
import { html, replace, counted, visible } from './dom.js';

const ROWS = 8;
const HEADS = ['', 'Protocol', 'Inside', 'Outside', 'Remote', 'Made by'];

export class Tables {
  /** @param {Element} element */
  constructor(element) {
    this._element = element;
    this._look = new TablesLook();
  }

  /** @param {State} state @param {Rewriting[]} rewritings @param {number} now */
  show(state, rewritings, now) {
    if (!this._look.changes(state, rewritings, now)) return;
    const lit = new Map(rewritings.map(r => [`${r.node} ${r.rule?.id}`, r]));
    replace(this._element, ...[...state.tables].map(([node, rows]) => {
      const total = Math.max(state.totals.get(node) ?? 0, rows.size);
      const all = [...rows.values()].sort((a, b) =>
        Number(lit.has(`${node} ${b.rule.id}`)) - Number(lit.has(`${node} ${a.rule.id}`))
        || b.rule.id - a.rule.id);
      const ended = state.ended.filter(e => e.node === node && now - e.at < FRESH && now >= e.at);
      const drops = [...(state.drops.get(node) ?? [])];
      return html('section', { class: 'table', 'aria-label': `Rules of ${node}` },
        html('h3', {}, node, html('span', { class: 'quiet' }, ` ${counted(total, 'rule')}`)),
        ...Object.entries(state.ports.get(node) ?? {}).map(([protocol, map]) => portMap(protocol, map)),
        ...(all.length + ended.length ? [html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Table of ${node}` },
          html('table', { 'data-node': node },
            html('thead', {}, html('tr', {}, ...HEADS.map(head => html('th', { scope: 'col' }, head)))),
            html('tbody', {},
              ...ended.map(e => row(e.rule, `ended: ${e.why}`, 'ended', undefined)),
              ...all.slice(0, ROWS).map(({ rule, since }) => {
                const rewriting = lit.get(`${node} ${rule.id}`);
                const kind = now - since < FRESH ? 'fresh' : '';
                return row(rule, rewriting ? 'rewrites' : kind && 'new', rewriting ? 'lit' : kind, rewriting);
              }))))] : [html('p', { class: 'quiet' }, 'no rule')]),
        ...(total > ROWS ? [html('p', { class: 'quiet' }, `… and ${counted(total - ROWS, 'more rule')}`)] : []),
        ...(drops.length ? [html('p', { class: 'bad' }, '✗ dropped: ',
          drops.map(([reason, count]) => `${count.toLocaleString('en')} × ${reason}`).join(', '))] : []));
    }));
  }
}

/** @param {import('./types.js').Rule} rule @param {string} word @param {string} kind @param {Rewriting | undefined} rewriting */
function row(rule, word, kind, rewriting) {
  /** @param {string} text */
  const cell = text => html('td', { class: 'mono' },
    rewriting && text === rewriting.fresh.replace(' id ', ':') ? html('mark', {}, text) : text);
  return html('tr', { class: kind, 'data-rule': rule.id },
    html('th', { scope: 'row' }, word), html('td', {}, rule.protocol), cell(rule.internal), cell(rule.external),
    html('td', { class: 'mono' }, rule.remote), html('td', {}, visible(rule.made_by)));
}
