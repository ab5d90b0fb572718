// The network as a picture, with the packets that are under way and the rows of each NAPT's table.

/** @import {Picture, Flight, Box, Rule} from './types.js' */
/** @import {State} from './state.js' */
/** @import {Place} from './geometry.js' */
import { svg, counted } from './dom.js';
import { place } from './geometry.js';
import { shape } from './shapes.js';
import { endsAt } from './timeline.js';
import { FRESH, TablesLook } from './state.js';

const ROWS = 5; // of a table, in its NAPT
const ROW = 15; // pixels
const LETTER = 6.65; // width of one in a label
const LABELLED = 4; // packets that have words beside them

/** What a NAPT does to a packet just now. @typedef {{node: string, rule: Rule | undefined, old: string, fresh: string}} Rewriting */

export class Scene {
  /** @param {SVGSVGElement} element @param {(node: string) => void} choose called when a node is clicked */
  constructor(element, choose) {
    this._svg = element;
    this._choose = choose;
    /** @type {Picture | undefined} */
    this._picture = undefined;
    this._tables = svg('g');
    this._packets = svg('g');
    this._look = new TablesLook();
    /** @type {Map<Flight, SVGElement>} */
    this._drawn = new Map();
  }

  /** @param {Picture} picture */
  _draw(picture) {
    this._picture = picture;
    this._drawn.clear();
    this._tables = svg('g');
    this._packets = svg('g');
    this._svg.setAttribute('viewBox', `0 0 ${picture.width} ${picture.height}`);
    this._svg.style.minWidth = `${Math.min(picture.width, 760)}px`;
    this._svg.style.aspectRatio = `${picture.width} / ${picture.height}`;
    this._svg.replaceChildren(
      ...picture.homes.map(([x, y, width, height]) =>
        svg('rect', { class: 'home', x, y, width, height, rx: 10 })),
      ...Object.values(picture.ports).map(([x, y, bus]) => svg('path', { class: 'leg', d: `M${x} ${y}V${bus}` })),
      ...picture.buses.flatMap(([x1, x2, y, text, kind, router]) => [
        svg('path', { class: `bus ${kind}`, d: `M${x1} ${y}H${x2}` }),
        svg('text', { class: 'small quiet', x: x2, y: y - 7, 'text-anchor': 'end' }, text),
        svg('text', { class: 'small quiet', x: x1 + 32, y: y - 34 }, router),
      ]),
      ...picture.nodes.map(box => this._node(box)),
      this._tables, this._packets,
    );
  }

  /** @param {Box} box */
  _node(box) {
    const { kind, name, x, y, w, h, lines } = box;
    const isGateway = kind === 'napt' || kind === 'gateway';
    const parts = [svg('rect', { class: `box ${kind}`, x, y, width: w, height: h, rx: 9 })];
    if (isGateway) {
      parts.push(
        svg('path', { class: 'channel', d: `M${x + 24} ${y}V${y + h}` }),
        svg('text', { class: 'name', x: x + 46, y: y + 20 }, name),
        svg('text', { class: 'mono', x: x + w - 10, y: y + 20, 'text-anchor': 'end' }, lines[0]),
        svg('text', { class: 'small quiet', x: x + 46, y: y + h - 9 }, lines[1]),
        svg('text', { class: 'mono', x: x + w - 10, y: y + h - 9, 'text-anchor': 'end' }, lines[2]),
      );
    } else if (kind === 'router') {
      parts.push(
        svg('text', { class: 'name', x: x + w / 2, y: y + 21, 'text-anchor': 'middle' }, name),
        svg('text', { class: 'small quiet', x: x + w / 2, y: y + 38, 'text-anchor': 'middle' }, lines[0]),
      );
    } else {
      parts.push(svg('text', { class: 'name', x: x + w / 2, y: y + 22, 'text-anchor': 'middle' }, name),
        ...lines.map((line, i) => svg('text',
          { class: i ? 'small quiet' : 'mono', x: x + w / 2, y: y + 40 + 15 * i, 'text-anchor': 'middle' }, line)));
    }
    return svg('g', { class: 'node', 'data-node': name, click: () => this._choose(name) }, ...parts);
  }

  /**
   * Show a moment. Returns what NAPTs do to packets in it.
   * @param {State} state @param {Flight[]} flights @param {number} now
   * @param {{chosen: Flight | undefined, node: string, still: boolean}} look
   * @returns {Rewriting[]}
   */
  show(state, flights, now, look) {
    if (!state.part) return [];
    const picture = state.part.picture;
    if (this._picture !== picture) this._draw(picture);
    /** @type {Rewriting[]} */
    const rewritings = [];
    const labelled = new Set(flights.slice(-LABELLED));
    const gone = new Set(this._drawn.keys());
    for (const flight of flights) {
      gone.delete(flight);
      const at = place(picture, flight, now);
      const rewriting = rewritingOf(state, flight, at);
      if (rewriting) rewritings.push(rewriting);
      let drawn = this._drawn.get(flight);
      if (!drawn) {
        drawn = svg('g', { class: 'packet' });
        this._drawn.set(flight, drawn);
        this._packets.append(drawn);
      }
      this._drawPacket(drawn, flight, at, look, labelled.has(flight) || flight === look.chosen);
    }
    for (const flight of gone) {
      this._drawn.get(flight)?.remove();
      this._drawn.delete(flight);
    }
    if (this._look.changes(state, rewritings, now)) this._drawTables(state, rewritings, now);
    for (const element of this._svg.querySelectorAll('.node')) {
      element.classList.toggle('chosen', element.getAttribute('data-node') === look.node);
    }
    return rewritings;
  }

  /**
   * @param {SVGElement} drawn @param {Flight} flight @param {Place} at
   * @param {{chosen: Flight | undefined, still: boolean}} look @param {boolean} labelled
   */
  _drawPacket(drawn, flight, at, look, labelled) {
    drawn.setAttribute('transform', `translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`);
    drawn.classList.toggle('chosen', flight === look.chosen);
    const face = `${at.hop} ${at.phase} ${labelled}`;
    if (drawn.getAttribute('data-face') !== face) this._drawFace(drawn, flight, at, labelled);
    drawn.setAttribute('data-face', face);
    this._placeLabel(drawn, at);
  }

  /** @param {SVGElement} drawn @param {Flight} flight @param {Place} at @param {boolean} labelled */
  _drawFace(drawn, flight, at, labelled) {
    const { packet } = flight;
    const broken = at.phase === 'broken';
    const parts = broken
      ? [svg('g', { class: 'left-half' }, shape(packet.protocol, 'broken')),
        svg('g', { class: 'right-half' }, shape(packet.protocol, 'broken')),
        svg('path', { class: 'cross', d: 'M-16 -16l32 32m0 -32l-32 32' })]
      : [shape(packet.protocol, at.phase === 'arrived' ? 'arrived' : '')];
    if (labelled || broken) parts.push(this._label(flight, at));
    drawn.replaceChildren(...parts);
  }

  /** @param {Flight} flight @param {Place} at */
  _label({ packet }, at) {
    const [source, destination] = endsAt(packet, at.hop);
    /** @type {[text: string, marked: boolean][]} */
    let words = [[`${source} → ${destination}`, false]];
    let title = packet.more ? `${packet.name} (and ${counted(packet.more, 'more', 'more')})` : packet.name;
    if (at.phase === 'broken' && packet.drop) {
      title = `✗ ${packet.name} dropped: ${packet.drop[0]}`;
      words = [[packet.drop[1], false]];
    } else if (at.phase === 'rewrite') {
      const [source2, destination2] = endsAt(packet, at.hop + 1);
      const changed = [source !== source2 && ['source', source, source2],
        destination !== destination2 && ['destination', destination, destination2]];
      const [what, old, fresh] = changed.find(Boolean) || ['', '', ''];
      title = `${packet.name}: new ${what}`;
      words = [[`${old} ⇒ `, false], [fresh, true]];
    } else if (at.phase === 'arrived' && packet.unseen) {
      title = `${packet.name}: not seen to go on`;
    }
    const length = words.reduce((sum, [text]) => sum + text.length, 0);
    const width = Math.max(length * LETTER, title.length * 7.5) + 14;
    let left = 7;
    const texts = words.map(([text, marked]) => {
      const element = svg('text', { class: marked ? 'ends marked' : 'ends', x: left, y: 27 }, text);
      left += text.length * LETTER;
      return element;
    });
    const mark = words.length > 1 ? [svg('rect', { class: 'mark', rx: 3, x: 5 + words[0][0].length * LETTER,
      y: 17, width: words[1][0].length * LETTER + 4, height: 14 })] : [];
    return svg('g', { class: at.phase === 'broken' ? 'label bad' : 'label', 'data-width': width },
      svg('rect', { class: 'paper', width, height: 34, rx: 6 }), ...mark,
      svg('text', { class: 'title', x: 7, y: 14 }, title), ...texts);
  }

  /** Beside the packet; above a gateway, so that the rows of its table can be seen. @param {SVGElement} drawn @param {Place} at */
  _placeLabel(drawn, at) {
    const label = drawn.querySelector('.label');
    if (!label || !this._picture) return;
    const room = this._picture.width - 4 - Number(label.getAttribute('data-width'));
    const x = Math.max(4 - at.x, Math.min(15, room - at.x));
    const isGateway = at.node?.kind === 'napt' || at.node?.kind === 'gateway';
    const over = isGateway ? at.phase !== 'wire' : at.phase === 'arrived' || at.phase === 'broken';
    const y = at.node && over ? at.node.y - (isGateway ? 36 : 46) - at.y : -17;
    label.setAttribute('transform', `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
  }

  /** @param {State} state @param {Rewriting[]} rewritings @param {number} now */
  _drawTables(state, rewritings, now) {
    const groups = [];
    for (const box of this._picture?.nodes ?? []) {
      if (box.kind !== 'napt') continue;
      const lit = new Map(rewritings.filter(r => r.node === box.name && r.rule).map(r => [r.rule?.id, r]));
      const rows = [...(state.tables.get(box.name) ?? new Map()).values()]
        .map(({ rule, since }) => ({ rule, kind: now - since < FRESH ? 'fresh' : '', why: '' }));
      const ended = state.ended.filter(e => e.node === box.name && now - e.at < FRESH && now >= e.at)
        .map(e => ({ rule: e.rule, kind: 'ended', why: e.why }));
      const all = [...rows, ...ended];
      all.sort((a, b) => Number(lit.has(b.rule.id)) - Number(lit.has(a.rule.id))
        || Number(b.rule.explicit) - Number(a.rule.explicit) || b.rule.id - a.rule.id);
      const total = Math.max(state.totals.get(box.name) ?? 0, all.length);
      const shown = all.slice(0, total > ROWS ? ROWS - 1 : ROWS);
      const lines = shown.map(({ rule, kind, why }, i) => {
        const y = box.y + 30 + i * ROW;
        const sign = why ? '✗' : rule.explicit ? '▸' : kind ? '+' : ' ';
        const text = `${sign} ${rule.protocol} ${rule.internal} ⇄ ${rule.external}${why ? ` ${why}` : ''}`;
        const classes = lit.has(rule.id) ? 'row lit' : `row ${kind}`;
        return svg('g', { class: classes },
          svg('rect', { x: box.x + 40, y, width: box.w - 46, height: ROW, rx: 3 }),
          svg('text', { x: box.x + 43, y: y + 11, 'xml:space': 'preserve' }, text));
      });
      if (total > shown.length) {
        lines.push(svg('text', { class: 'small quiet', x: box.x + 46, y: box.y + 41 + shown.length * ROW },
          `… and ${counted(total - shown.length, 'more rule')}`));
      } else if (!total) {
        lines.push(svg('text', { class: 'small quiet', x: box.x + 46, y: box.y + 52 }, 'no rule'));
      }
      groups.push(svg('g', {}, ...lines));
    }
    this._tables.replaceChildren(...groups);
  }
}

/** @param {State} state @param {Flight} flight @param {Place} at @returns {Rewriting | undefined} */
function rewritingOf(state, { packet }, at) {
  if (at.phase !== 'rewrite' || !at.node) return undefined;
  const before = endsAt(packet, at.hop);
  const after = endsAt(packet, at.hop + 1);
  const side = before[0] === after[0] ? 1 : 0;
  const [old, fresh] = [before[side], after[side]];
  const rows = [...(state.tables.get(at.node.name) ?? new Map()).values()];
  const pair = side === 0 ? [old, fresh] : [fresh, old]; // inside, outside
  const rule = rows.map(row => row.rule)
    .find(r => r.internal === plain(pair[0]) && r.external === plain(pair[1]) && r.protocol === packet.protocol);
  return { node: at.node.name, rule, old, fresh };
}

/** An echo's identifier is what its port would be. @param {string} end */
function plain(end) {
  return end.replace(' id ', ':');
}
