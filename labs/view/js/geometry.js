// Where a packet is at a moment of the show: along the wires, and through the nodes.

/** @import {Picture, Flight, Box} from './types.js' */
import { isRewritten, nodeAt } from './timeline.js';

/** @typedef {[number, number]} Point */
/** @typedef {'wire' | 'inside' | 'rewrite' | 'arrived' | 'broken'} Phase */
/**
 * Where a packet is: past hop `hop`, and how far (0 to 1) in what it does there.
 * @typedef {{x: number, y: number, hop: number, phase: Phase, part: number, node: Box | undefined}} Place
 */

/** The box of a node. @param {Picture} picture @param {string} name */
export function boxOf(picture, name) {
  return picture.nodes.find(node => node.name === name);
}

/** From one interface to the next. @param {Picture} picture @param {string} from @param {string} to @returns {Point[]} */
export function way(picture, from, to) {
  const start = picture.ports[from];
  const end = picture.ports[to];
  if (!start || !end) return [[0, 0]];
  const [x1, y1, bus1] = start;
  const [x2, y2, bus2] = end;
  const names = [from, to].map(where => where.split(':')[0]);
  if (names[0] !== names[1]) return [[x1, y1], [x1, bus1], [x2, bus2], [x2, y2]];
  const box = boxOf(picture, names[0]);
  const middle = box ? box.y + box.h / 2 : y1;
  return [[x1, y1], [x1, middle], [x2, middle], [x2, y2]];
}

/** The point at a part (0 to 1) of a way. @param {Point[]} points @param {number} part @returns {Point} */
export function along(points, part) {
  const lengths = points.slice(1).map((p, i) => Math.hypot(p[0] - points[i][0], p[1] - points[i][1]));
  let left = lengths.reduce((sum, length) => sum + length, 0) * part;
  for (let i = 0; i < lengths.length; i += 1) {
    if (left <= lengths[i] && lengths[i] > 0) {
      const share = left / lengths[i];
      return [
        points[i][0] + (points[i + 1][0] - points[i][0]) * share,
        points[i][1] + (points[i + 1][1] - points[i][1]) * share,
      ];
    }
    left -= lengths[i];
  }
  return points[points.length - 1];
}

/** @param {number} part */
const gently = part => part * part * (3 - 2 * part);

/** @param {Picture} picture @param {Flight} flight @param {number} now @returns {Place} */
export function place(picture, { packet, at, to }, now) {
  let hop = at.length - 1;
  while (hop > 0 && at[hop] > now) hop -= 1;
  const [where] = packet.hops[hop];
  const [x, y] = picture.ports[where] ?? [0, 0];
  const node = boxOf(picture, nodeAt(packet, hop));
  if (hop === at.length - 1) {
    const part = (now - at[hop]) / Math.max(1, to - at[hop]);
    const goesIn = node?.kind === 'napt' || node?.kind === 'gateway' ? 28 : 0; // a host's name stays free
    return { x, y: y + goesIn * Math.min(1, part * 3), hop, phase: packet.drop ? 'broken' : 'arrived', part, node };
  }
  const part = (now - at[hop]) / Math.max(1, at[hop + 1] - at[hop]);
  const rewritten = isRewritten(packet, hop + 1);
  /** @type {Phase} */
  const phase = rewritten ? 'rewrite' : packet.hops[hop + 1][2] ? 'inside' : 'wire';
  // It stands still in the middle while the rule is looked at.
  const moved = rewritten ? (part < 0.2 ? part * 2.5 : part > 0.8 ? part * 2.5 - 1.5 : 0.5) : gently(part);
  const start = lastSent(packet.hops, hop);
  const point = along(way(picture, start, packet.hops[hop + 1][0]), moved);
  return { x: point[0], y: point[1], hop, phase, part, node };
}

/** A broadcast goes from its sender to each that hears it. @param {import('./types.js').Hop[]} hops @param {number} hop */
function lastSent(hops, hop) {
  if (hops[hop + 1][2]) return hops[hop][0];
  for (let i = hop; i >= 0; i -= 1) if (hops[i][2]) return hops[i][0];
  return hops[hop][0];
}
