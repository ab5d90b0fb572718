// What is the case at a moment of the show: a fold over all that has happened until then. Copies
// are kept on the way, so that going back costs no more than going on.

/** @import {Cue, LabSaid, Part, Step, Command, Output, Observed, Check, Rule, End, Report, Prediction} from './types.js' */

/** @typedef {{rule: Rule, since: number}} Row */
/** @typedef {{node: string, rule: Rule, why: string, at: number}} Ended */

const EVERY = 64; // cues from one copy to the next
const ENDED_KEPT = 12;
/** For so long (ms) a new row, and one that has ended, can be told from others. */
export const FRESH = 2500;

export class State {
  constructor() {
    /** @type {LabSaid | undefined} */
    this.lab = undefined;
    /** @type {Part | undefined} */
    this.part = undefined;
    /** @type {Step | undefined} */
    this.step = undefined;
    /** Whether the step acts: then it is too late to predict. */
    this.acting = false;
    /** @type {Map<string, Map<number, Row>>} each NAPT's table */
    this.tables = new Map();
    /** @type {Map<string, number>} where a table was too long to be listed: how many rules */
    this.totals = new Map();
    /** @type {Map<string, Record<string, string>>} … and which external ports they have */
    this.ports = new Map();
    /** @type {Ended[]} the rules that ended last */
    this.ended = [];
    /** @type {(Command | Output | Observed | Report)[]} of this step */
    this.doings = [];
    /** @type {Check[]} of this step */
    this.checks = [];
    /** @type {Map<number, string>} what was predicted in the run, by the step */
    this.said = new Map();
    /** @type {Map<number, Prediction>} … and what became of it */
    this.predictions = new Map();
    /** @type {Map<string, Map<string, number>>} each NAPT's drops by reason */
    this.drops = new Map();
    /** @type {string[]} */
    this.troubles = [];
    /** @type {End | undefined} */
    this.end = undefined;
  }

  copy() {
    const other = Object.assign(new State(), this);
    other.tables = new Map([...this.tables].map(([node, rows]) => [node, new Map(rows)]));
    other.totals = new Map(this.totals);
    other.ports = new Map(this.ports);
    other.drops = new Map([...this.drops].map(([node, counts]) => [node, new Map(counts)]));
    other.said = new Map(this.said);
    other.predictions = new Map(this.predictions);
    for (const key of /** @type {const} */ (['ended', 'doings', 'checks', 'troubles'])) {
      // @ts-ignore: each is copied to itself
      other[key] = [...this[key]];
    }
    return other;
  }

  /** @param {Cue} cue */
  apply({ at, entry }) {
    switch (entry.kind) {
      case 'lab':
        this.lab = entry;
        break;
      case 'part':
        this.part = entry;
        this.tables = new Map(entry.picture.nodes.filter(node => node.kind === 'napt')
          .map(node => [node.name, new Map()]));
        this.totals = new Map();
        this.ports = new Map();
        this.ended = [];
        this.drops = new Map();
        break;
      case 'step':
        Object.assign(this, { step: entry, acting: false, doings: [], checks: [], troubles: [] });
        this.predictions.delete(entry.number);
        break;
      case 'working':
        this.acting = true;
        break;
      case 'predicted':
        this.said.set(entry.step, entry.said);
        break;
      case 'prediction':
        this.predictions.set(entry.step, entry);
        break;
      case 'command': case 'output': case 'observed': case 'report':
        this.doings.push(entry);
        break;
      case 'check':
        this.checks.push(entry);
        break;
      case 'rule':
        this._applyRule(at, entry.node, entry.rule, entry.ended);
        break;
      case 'tables':
        for (const table of entry.tables) this._applyTable(at, table);
        break;
      case 'drop': {
        const counts = this.drops.get(entry.node) ?? new Map();
        counts.set(entry.reason, (counts.get(entry.reason) ?? 0) + 1);
        this.drops.set(entry.node, counts);
        break;
      }
      case 'trouble':
        this.troubles.push(entry.text);
        break;
      case 'end':
        this.end = entry;
        break;
      default:
    }
  }

  /** @param {number} at @param {string} node @param {Rule} rule @param {string} [why] it ended */
  _applyRule(at, node, rule, why) {
    const rows = this.tables.get(node) ?? new Map();
    this.tables.set(node, rows);
    if (why === undefined) {
      rows.set(rule.id, { rule, since: at });
    } else {
      rows.delete(rule.id);
      this.ended = [...this.ended.slice(1 - ENDED_KEPT), { node, rule, why, at }];
    }
    if (this.totals.has(node)) {
      this.totals.set(node, (this.totals.get(node) ?? 0) + (why === undefined ? 1 : -1));
    }
  }

  /** The control socket's own answer: it counts. @param {number} at @param {import('./types.js').Table} table */
  _applyTable(at, table) {
    if (table.error) return;
    const known = this.tables.get(table.node) ?? new Map();
    this.tables.set(table.node, new Map(table.rules.map(rule =>
      [rule.id, { rule, since: known.get(rule.id)?.since ?? at }])));
    if (table.total > table.rules.length) this.totals.set(table.node, table.total);
    else this.totals.delete(table.node);
    if (table.ports) this.ports.set(table.node, table.ports);
    else this.ports.delete(table.node);
    this.drops.set(table.node, new Map(Object.entries(table.drops)));
  }
}

/** Knows how tables looked last, so that they are drawn only when they change. */
export class TablesLook {
  /** Whether they look different now. @param {State} state @param {import('./scene.js').Rewriting[]} rewritings @param {number} now */
  changes(state, rewritings, now) {
    let fresh = 0;
    for (const rows of state.tables.values()) for (const { since } of rows.values()) fresh += Number(now - since < FRESH);
    const ended = state.ended.filter(({ at }) => now - at < FRESH && now >= at).length;
    const look = `${fresh} ${ended} ${rewritings.map(r => `${r.node} ${r.rule?.id} ${r.fresh}`)}`;
    const same = state === this._state && look === this._look;
    this._state = state;
    this._look = look;
    return !same;
  }
}

export class History {
  /** @param {Cue[]} cues which grows, and is in the order of the show */
  constructor(cues) {
    this._cues = cues;
    /** @type {State[]} after 0, EVERY, 2 EVERY, … cues */
    this._copies = [new State()];
  }

  /** The state after the first `count` cues. @param {number} count */
  after(count) {
    let number = Math.min(Math.floor(count / EVERY), this._copies.length - 1);
    let state = this._copies[number].copy();
    for (let i = number * EVERY; i < count; i += 1) {
      state.apply(this._cues[i]);
      if ((i + 1) % EVERY === 0 && (i + 1) / EVERY === this._copies.length) {
        this._copies.push(state);
        state = state.copy();
        number += 1;
      }
    }
    return state;
  }

  /** The cues from this one on are new, or stand elsewhere. @param {number} count */
  forget(count) {
    this._copies.length = Math.min(this._copies.length, Math.floor(count / EVERY) + 1);
  }
}
