// The packets up to the moment as a list, and one of them in full.

/** @import {Flight, Packet} from './types.js' */
import { html, replace, counted } from './dom.js';
import { icon } from './shapes.js';
import { hexDump } from './bytes.js';
import { endsAt, firstAfter, isRewritten } from './timeline.js';

const ROWS = 11;

/** How it went, in words. @param {Packet} packet */
export function outcome(packet) {
  if (packet.drop) return `✗ dropped: ${packet.drop[0]}`;
  const last = packet.hops[packet.hops.length - 1][0];
  return packet.unseen ? `last seen at ${last}` : '';
}

/** Whether it has come to the end of its way. @param {Flight} flight @param {number} now */
function isOver({ at }, now) {
  return at[at.length - 1] <= now;
}

/** A packet as a sentence. @param {Packet} packet */
export function sentence(packet) {
  const [source, destination] = endsAt(packet, 0);
  const rewritten = packet.hops.map((_, i) => i).filter(i => isRewritten(packet, i)).map(i => {
    const [source2, destination2] = endsAt(packet, i);
    const [source1, destination1] = endsAt(packet, i - 1);
    const changes = [source1 !== source2 && `${source1} to ${source2}`,
      destination1 !== destination2 && `${destination1} to ${destination2}`];
    return `, ${packet.hops[i][0].split(':')[0]} rewrites ${changes.filter(Boolean).join(' and ')}`;
  });
  const ends = packet.drop ? `. Dropped: ${packet.drop.join(', ')}` : '';
  return `${packet.protocol.toUpperCase()} ${packet.name} from ${source} to ${destination}${rewritten.join('')}${ends}.`;
}

export class PacketList {
  /** @param {Element} list @param {Element} detail @param {(flight: Flight) => void} choose */
  constructor(list, detail, choose) {
    this._list = list;
    this._detail = detail;
    this._choose = choose;
    this._shown = '';
  }

  /**
   * The newest packet is the last row: what is to come would answer what a step asks.
   * @param {Flight[]} flights those that pass the filter @param {number} now
   * @param {Flight | undefined} chosen @param {number} hop of the chosen one
   */
  show(flights, now, chosen, hop) {
    const begun = firstAfter(flights.length, i => flights[i].from, now);
    const rows = flights.slice(Math.max(0, begun - ROWS), begun);
    const key = `${rows.map(flight => [flight.number, isOver(flight, now)])} ${chosen?.number} ${hop}`;
    if (key === this._shown) return;
    this._shown = key;
    const focused = document.activeElement?.getAttribute('data-flight');
    this._list.replaceChildren(...rows.map(flight => this._row(flight, now, rows[rows.length - 1], chosen)));
    if (!rows.length) this._list.append(html('li', { class: 'quiet none' }, 'No packet to show.'));
    if (focused) this._list.querySelector(`[data-flight="${focused}"]`)?.dispatchEvent(new Event('refocus'));
    if (chosen) this._showDetail(chosen.packet, hop);
    else replace(this._detail, html('p', { class: 'quiet' }, 'Choose a packet to follow it and to see its bytes.'));
  }

  /** @param {Flight} flight @param {number} now @param {Flight} newest @param {Flight | undefined} chosen */
  _row(flight, now, newest, chosen) {
    const { packet } = flight;
    const [source, destination] = endsAt(packet, 0);
    const over = isOver(flight, now);
    const classes = [flight === newest ? 'now' : '', flight === chosen ? 'chosen' : '', over && packet.drop ? 'bad' : ''];
    const button = html('button', {
      type: 'button', class: classes.join(' '), 'data-flight': flight.number,
      'aria-pressed': String(flight === chosen), click: () => this._choose(flight),
    }, icon(packet.protocol), html('span', { class: 'quiet time' }, `${(packet.t / 1000).toFixed(3)} s`),
    html('b', {}, packet.name), packet.more ? html('span', { class: 'quiet' }, ` +${packet.more.toLocaleString('en')}`) : '',
    html('span', { class: 'mono' }, `${source} → ${destination}`),
    html('span', { class: 'outcome' }, over ? outcome(packet) : ''));
    button.addEventListener('refocus', () => button.focus());
    return html('li', flight === newest ? { 'aria-current': 'true' } : {}, button);
  }

  /** @param {Packet} packet @param {number} hop */
  _showDetail(packet, hop) {
    const rows = packet.hops.map(([where, t, outgoing], i) => {
      const [source, destination] = endsAt(packet, i);
      const before = i ? endsAt(packet, i - 1) : [source, destination];
      return html('tr', i === hop ? { class: 'now', 'aria-current': 'true' } : {},
        html('th', { scope: 'row' }, where), html('td', {}, outgoing ? 'sent' : 'received'),
        html('td', { class: 'mono' }, before[0] === source ? source : html('mark', {}, source)),
        html('td', { class: 'mono' }, before[1] === destination ? destination : html('mark', {}, destination)),
        html('td', { class: 'number' }, `${((t - packet.t) * 1000).toFixed(0)} µs`));
    });
    const more = packet.more ? ` It stands for ${counted(packet.more, 'more')} like it.`.replace('mores', 'more') : '';
    this._detail.replaceChildren(
      html('h3', {}, icon(packet.protocol), ` ${packet.name} `, html('span', { class: 'quiet' }, packet.detail)),
      html('p', {}, `${outcome(packet) || 'It arrived.'}${packet.drop ? ` (${packet.drop[1]})` : ''}${more}`),
      html('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Its way' }, html('table', {},
        html('thead', {}, html('tr', {}, ...['Interface', '', 'Source', 'Destination', 'After'].map(head =>
          html('th', { scope: 'col' }, head)))), html('tbody', {}, ...rows))),
      hexDump(packet, hop));
  }
}
