// Which packets are shown: by protocol, node and connection. What happens otherwise goes on.

/** @import {Flight} from './types.js' */
import { html, byId } from './dom.js';
import { icon, shapeName, PROTOCOLS } from './shapes.js';
import { endsAt, nodeAt } from './timeline.js';

export class Filter {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changes = 0; // how often it was changed
    this._changed = () => {
      this.changes += 1;
      changed();
    };
    /** @type {Set<string>} protocols that are not shown */
    this.hidden = new Set();
    this._nodes = /** @type {HTMLSelectElement} */ (byId('only-node'));
    this._flows = /** @type {HTMLSelectElement} */ (byId('only-flow'));
    this._known = '';
    byId('protocols').append(...PROTOCOLS.map(name => html('label', {},
      html('input', { type: 'checkbox', checked: true, value: name, change: event => this._toggle(event) }),
      icon(name), ` ${name.toUpperCase()}`)));
    for (const select of [this._nodes, this._flows]) select.addEventListener('change', this._changed);
  }

  get node() {
    return this._nodes.value;
  }

  /** Show only a node's packets, or all again. @param {string} name */
  toggleNode(name) {
    this._nodes.value = this._nodes.value === name ? '' : name;
    this._changed();
  }

  /** Show only a packet's connection. @param {Flight} flight */
  chooseFlow(flight) {
    this._flows.value = flowKey(flight);
    this._changed();
  }

  /** @param {Event} event */
  _toggle(event) {
    const box = /** @type {HTMLInputElement} */ (event.target);
    if (box.checked) this.hidden.delete(box.value);
    else this.hidden.add(box.value);
    this._changed();
  }

  /** Offer what there is to choose from in a part. @param {Flight[]} flights of the part @param {string[]} nodes */
  offer(flights, nodes) {
    const key = `${flights.length} ${flights[0]?.number} ${nodes.join()}`;
    if (key === this._known) return;
    this._known = key;
    /** @type {Map<string, string>} */
    const flows = new Map();
    for (const flight of flights) {
      const [source, destination] = endsAt(flight.packet, 0);
      const kind = flight.packet.protocol.toUpperCase();
      if (!flows.has(flowKey(flight))) flows.set(flowKey(flight), `${kind} ${source} → ${destination}`);
    }
    fill(this._flows, 'every connection', [...flows]);
    fill(this._nodes, 'every node', nodes.map(node => [node, node]));
  }

  /** @param {Flight} flight */
  passes(flight) {
    const { packet } = flight;
    return !this.hidden.has(shapeName(packet.protocol))
      && (!this._flows.value || this._flows.value === flowKey(flight))
      && (!this._nodes.value || packet.hops.some((_, i) => nodeAt(packet, i) === this._nodes.value));
  }
}

/** @param {Flight} flight */
const flowKey = flight => `${flight.part}/${flight.packet.flow}`;

/** @param {HTMLSelectElement} select @param {string} all @param {[string, string][]} options */
function fill(select, all, options) {
  const chosen = select.value;
  select.replaceChildren(html('option', { value: '' }, all),
    ...options.map(([value, text]) => html('option', { value }, text)));
  select.value = options.some(([value]) => value === chosen) ? chosen : '';
}
