// The show's clock: real order at a pace at which people can look. A packet that began after
// another had ended starts when that one has gone; packets that were under way together are shown
// together, one a little after the other.

/** @import {Entry, Packet, Happening, Flight, Cue} from './types.js' */

// How long things take to show, in milliseconds at speed 1.
const PACE = { wire: 550, inside: 200, rewrite: 1600, arrive: 300, broken: 1800, apart: 350 };
/** @type {Record<string, number>} */
const DWELL = { step: 1500, command: 700, check: 500, prediction: 1500, part: 400, end: 300, trouble: 500 };
const LATE = 2; // ms of real time by which a rule's report may be after its packet

/** @param {Packet} packet @param {number} hop */
export function isRewritten(packet, hop) {
  return hop > 0 && packet.hops[hop].length > 3 && nodeAt(packet, hop) === nodeAt(packet, hop - 1);
}

/** @param {Packet} packet @param {number} hop */
export function nodeAt(packet, hop) {
  return packet.hops[hop][0].split(':')[0];
}

/** Its source and destination at a hop. @param {Packet} packet @param {number} hop @returns {[string, string]} */
export function endsAt(packet, hop) {
  for (let i = hop; i >= 0; i -= 1) {
    const [, , , source, destination] = packet.hops[i];
    if (source !== undefined) return [source, destination ?? ''];
  }
  return ['', ''];
}

/** Every moment of a packet's flight that begins then. @param {Packet} packet @param {number} from */
function moments(packet, from) {
  const at = [from];
  for (let i = 1; i < packet.hops.length; i += 1) {
    const [, , outgoing] = packet.hops[i];
    const heardBeforeToo = !outgoing && !packet.hops[i - 1][2];
    const takes = heardBeforeToo ? 0
      : !outgoing ? PACE.wire : isRewritten(packet, i) ? PACE.rewrite : PACE.inside;
    at.push(at[i - 1] + takes);
  }
  return at;
}

export class Timeline {
  constructor() {
    /** @type {Flight[]} */
    this.flights = [];
    /** @type {Cue[]} in the order of the show */
    this.cues = [];
    this.end = 0;
    /** @type {{began: number, of: number}[]} show time and the number of each part */
    this.parts = [];
    this._last = 0; // when the newest thing began
    this._floor = 0; // before this nothing new may begin
    /** @type {Flight[]} those that were under way, in real time, at the newest entry */
    this._active = [];
  }

  /** Add what comes next in real time. @param {Entry} entry */
  add(entry) {
    this._active = this._active.filter(flight => {
      const over = lastTime(flight.packet) <= entry.t;
      if (over) this._floor = Math.max(this._floor, flight.to);
      return !over || lastTime(flight.packet) > entry.t - LATE;
    });
    if (entry.kind === 'packet') this._addPacket(entry);
    else this._addHappening(entry);
  }

  /** @param {Packet} packet */
  _addPacket(packet) {
    const from = Math.max(this._floor, this._last + (this.flights.length ? PACE.apart : 0));
    const at = moments(packet, from);
    const to = at[at.length - 1] + (packet.drop ? PACE.broken : PACE.arrive);
    const flight = { packet, number: this.flights.length, from, to, at, part: this.parts.length };
    this.flights.push(flight);
    this._active.push(flight);
    this._last = from;
    this.end = Math.max(this.end, to);
  }

  /** @param {Happening} entry */
  _addHappening(entry) {
    let at = Math.max(this._floor, this._last);
    const dwell = DWELL[entry.kind] ?? 0;
    if (entry.kind === 'rule' || entry.kind === 'drop') {
      at = this._whenAt(entry.node, entry.t, entry.kind === 'drop') ?? at;
    } else {
      if (dwell || entry.kind === 'tables') at = Math.max(at, ...this._active.map(f => f.to));
      this._last = at;
      this._floor = Math.max(this._floor, at + dwell);
    }
    if (entry.kind === 'part') this.parts.push({ began: at, of: this.parts.length + 1 });
    let place = this.cues.length;
    while (place > 0 && this.cues[place - 1].at > at) place -= 1;
    this.cues.splice(place, 0, { at, entry });
    this.end = Math.max(this.end, at + dwell);
  }

  /**
   * When the show has a packet at the node that was there at a real time.
   * @param {string} node @param {number} t @param {boolean} dropped
   */
  _whenAt(node, t, dropped) {
    for (const flight of this._active) {
      const { packet, at } = flight;
      for (let i = 0; i < packet.hops.length; i += 1) {
        if (nodeAt(packet, i) !== node || packet.hops[i][2]) continue;
        const arrived = packet.hops[i][1];
        if (dropped && i === packet.hops.length - 1 && packet.drop && t >= arrived) return at[i];
        if (!dropped && i + 1 < packet.hops.length && arrived <= t
          && t <= packet.hops[i + 1][1] + LATE) return at[i] + PACE.rewrite / 4;
      }
    }
    return undefined;
  }

  /** The number of cues up to a show time. @param {number} now */
  cuesUntil(now) {
    return firstAfter(this.cues.length, i => this.cues[i].at, now);
  }

  /** Flights that are to be seen then. @param {number} now */
  under(now) {
    const past = firstAfter(this.flights.length, i => this.flights[i].from, now);
    const seen = [];
    // A flight is short: one that began long before now has ended.
    for (let i = past - 1; i >= 0 && this.flights[i].from > now - 20000; i -= 1) {
      if (this.flights[i].to > now) seen.unshift(this.flights[i]);
    }
    return seen;
  }

  /** The newest flight that had begun by then; undefined before the first. @param {number} now */
  newest(now) {
    return this.flights[firstAfter(this.flights.length, i => this.flights[i].from, now) - 1];
  }
}

/** @param {Packet} packet */
function lastTime(packet) {
  return packet.hops[packet.hops.length - 1][1];
}

/** How many of `count` ascending values are at most `limit`. @param {number} count @param {(i: number) => number} value @param {number} limit */
export function firstAfter(count, value, limit) {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
