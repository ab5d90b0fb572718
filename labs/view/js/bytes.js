// One packet's bytes, hop by hop: those that a NAPT or router has changed are marked, and named.

/** @import {Packet} from './types.js' */
import { html } from './dom.js';
import { nodeAt } from './timeline.js';

/** @typedef {[from: number, to: number, name: string]} Field  offsets of bytes, the last one left out */

/** @type {Field[]} RFC 791 */
const IP = [[0, 1, 'version, header length'], [1, 2, 'DSCP'], [2, 4, 'total length'], [4, 6, 'identification'],
  [6, 8, 'fragment'], [8, 9, 'time to live'], [9, 10, 'protocol'], [10, 12, 'IP checksum'],
  [12, 16, 'source address'], [16, 20, 'destination address']];
/** @type {Record<string, Field[]>} RFC 9293, 768, 792 */
const ABOVE = {
  tcp: [[0, 2, 'source port'], [2, 4, 'destination port'], [4, 8, 'sequence number'],
    [8, 12, 'acknowledgment number'], [12, 14, 'offset, flags'], [14, 16, 'window'], [16, 18, 'TCP checksum'],
    [18, 20, 'urgent pointer']],
  udp: [[0, 2, 'source port'], [2, 4, 'destination port'], [4, 6, 'UDP length'], [6, 8, 'UDP checksum']],
  icmp: [[0, 2, 'type, code'], [2, 4, 'ICMP checksum'], [4, 6, 'identifier'], [6, 8, 'sequence number']],
};

/** The bytes at a hop, and which of them were changed there. @param {Packet} packet @param {number} hop */
export function bytesAt(packet, hop) {
  const bytes = Uint8Array.from(packet.bytes.match(/../g) ?? [], pair => parseInt(pair, 16));
  /** @type {Set<number>} */
  let changed = new Set();
  for (const [at, runs] of packet.edits ?? []) {
    if (at > hop) break;
    changed = new Set();
    for (const [offset, hex] of runs) {
      (hex.match(/../g) ?? []).forEach((pair, i) => {
        bytes[offset + i] = parseInt(pair, 16);
        if (at === hop) changed.add(offset + i);
      });
    }
    if (at !== hop) changed = new Set();
  }
  return { bytes, changed };
}

/** The names of fields that these bytes are in. @param {Packet} packet @param {Uint8Array} bytes @param {Set<number>} changed */
export function fieldNames(packet, bytes, changed) {
  if (packet.protocol === 'arp') return [];
  const header = (bytes[0] & 15) * 4;
  const fields = [...IP, ...(ABOVE[packet.protocol] ?? []).map(([from, to, name]) =>
    /** @type {Field} */ ([from + header, to + header, name]))];
  const names = fields.filter(([from, to]) => [...changed].some(at => at >= from && at < to)).map(([, , name]) => name);
  const beyond = [...changed].some(at => fields.every(([from, to]) => at < from || at >= to));
  return beyond ? [...names, 'data'] : names;
}

/** @param {Packet} packet @param {number} hop */
export function hexDump(packet, hop) {
  const { bytes, changed } = bytesAt(packet, hop);
  const rows = [];
  for (let start = 0; start < bytes.length; start += 16) {
    const line = [...bytes.slice(start, start + 16)];
    rows.push(html('div', {}, html('span', { class: 'quiet' }, start.toString(16).padStart(4, '0')),
      ...line.map((byte, i) => {
        const text = byte.toString(16).padStart(2, '0');
        return changed.has(start + i) ? html('mark', {}, text) : html('span', {}, text);
      })));
  }
  const names = fieldNames(packet, bytes, changed);
  const words = names.length ? `Changed by ${nodeAt(packet, hop)}: ${names.join(', ')}.`
    : `As it was at ${packet.hops[hop][0]}.`;
  return html('div', { class: 'bytes' }, html('p', {}, words),
    html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Bytes' }, html('div', { class: 'hex mono' }, ...rows)));
}
