// How packets look: each protocol has a shape, a color and a word, so that none is needed alone.

import { svg } from './dom.js';

/** @type {Record<string, string>} paths around 0,0 */
const SHAPES = {
  tcp: 'M-9 -7h18v14h-18z',
  udp: 'M0 -10l10 10l-10 10l-10 -10z',
  icmp: 'M-9 0a9 9 0 1 0 18 0a9 9 0 1 0 -18 0z',
  arp: 'M0 -10l10 17h-20z',
  other: 'M-5 -9h10l5 9l-5 9h-10l-5 -9z',
};
export const PROTOCOLS = ['tcp', 'udp', 'icmp', 'arp', 'other'];

/** The protocol's name as in SHAPES. @param {string} protocol */
export function shapeName(protocol) {
  return protocol in SHAPES ? protocol : 'other';
}

/** @param {string} protocol @param {string} [more] a class */
export function shape(protocol, more = '') {
  const name = shapeName(protocol);
  return svg('path', { class: `shape ${name} ${more}`, d: SHAPES[name] });
}

/** A small picture for lists and legends; what it means stands beside it. @param {string} protocol */
export function icon(protocol) {
  return svg('svg', { class: 'icon', viewBox: '-12 -12 24 24', width: 14, height: 14, 'aria-hidden': 'true' },
    shape(protocol));
}
