// Puts the page together: entries come in, the clock runs, and each moment is shown.

/** @import {Entry, Flight, Picture, Pause} from './types.js' */
/** @import {State} from './state.js' */
import { byId } from './dom.js';
import { Timeline } from './timeline.js';
import { History } from './state.js';
import { Scene } from './scene.js';
import { place } from './geometry.js';
import { Lesson } from './lesson.js';
import { Tables } from './tables.js';
import { PacketList, sentence } from './packets.js';
import { Filter } from './filter.js';
import { Player } from './player.js';
import { listen, connectForms, predict, next, allow, say } from './live.js';

/** @type {Pause} */
const CLOSED = { kind: 'pause', t: 0, open: false, step: 0, words: [] };

class View {
  constructor() {
    this.timeline = new Timeline();
    this._history = new History(this.timeline.cues);
    this._lesson = new Lesson((step, typed) => this._predict(step, typed));
    this._tables = new Tables(byId('tables'));
    this.filter = new Filter(() => this.show());
    this.player = new Player(this.timeline, flight => this._isShown(flight), () => this.show());
    this._scene = new Scene(/** @type {SVGSVGElement} */ (/** @type {unknown} */ (byId('picture'))),
      node => this.filter.toggleNode(node));
    this._list = new PacketList(byId('packets'), byId('packet'), flight => this._choose(flight));
    /** @type {Flight | undefined} the packet that is followed */
    this._chosen = undefined;
    /** @type {Flight[]} what was listed last, and for what */
    this._shown = [];
    this._listedFor = '';
    this._count = -1;
    this._state = this._history.after(0);
    /** @type {Pause} what can be done now, which is later than what is shown */
    this._pause = CLOSED;
    this._still = matchMedia('(prefers-reduced-motion: reduce)');
    /** @type {Picture | undefined} */
    this._measured = undefined;
    this._overflows = false;
    window.addEventListener('resize', () => { this._measured = undefined; this.show(); });
    byId('unfollow').addEventListener('click', () => this._choose(undefined));
    byId('flow-of').addEventListener('click', () => this._chosen && this.filter.chooseFlow(this._chosen));
  }

  /** @param {Entry[]} entries in the order of time */
  add(entries) {
    const before = this.timeline.cuesUntil(this.player.now);
    for (const entry of entries) {
      this.timeline.add(entry);
      if (entry.kind === 'pause') this._pause = entry;
      if (entry.kind === 'predicted') this._lesson.forget(entry.step);
    }
    this._history.forget(before);
    this._count = -1;
    this.player.mark();
    this.player.wake();
    this.show();
  }

  /** @param {number} step @param {string} typed */
  async _predict(step, typed) {
    if (!this.player.live || await predict(step, typed)) return;
    this._lesson.forget(step);
    this._count = -1;
    this.show();
  }

  /** @returns {State} as it is shown now */
  get state() {
    const count = this.timeline.cuesUntil(this.player.now);
    if (count !== this._count) {
      this._count = count;
      this._state = this._history.after(count);
    }
    return this._state;
  }

  get part() {
    return this.timeline.parts.filter(part => part.began <= this.player.now).length;
  }

  /** @param {Flight} flight */
  _isShown(flight) {
    return this._chosen && this._following ? flight === this._chosen : this.filter.passes(flight);
  }

  get _following() {
    return /** @type {HTMLInputElement} */ (byId('follow')).checked;
  }

  /** @param {Flight | undefined} flight */
  _choose(flight) {
    this._chosen = flight === this._chosen ? undefined : flight;
    if (this._chosen) this.player.goTo(this._chosen.from + 2);
    else this.show();
  }

  show() {
    const changed = this._count !== this.timeline.cuesUntil(this.player.now);
    const { state } = this;
    const now = this._still.matches ? this._lastStop() : this.player.now;
    const flights = this.timeline.under(this.player.now).filter(flight => this._isShown(flight));
    const rewritings = this._scene.show(state, flights, now,
      { chosen: this._chosen, node: this.filter.node, still: this._still.matches });
    this._tables.show(state, rewritings, this.player.now);
    // The lab that goes on takes a prediction only for the step that it is at.
    const isOpen = !this.player.live || (this._pause.step > 0 && this._newestStep()?.step === state.step);
    if (changed || state.end) this._lesson.show(state, isOpen);
    const newest = flights[flights.length - 1] ?? this.timeline.newest(this.player.now);
    const hop = this._chosen && state.part ? hopNow(state.part.picture, this._chosen, this.player.now) : 0;
    this._list.show(this._listed(state), this.player.now, this._chosen, hop);
    byId('unfollow').hidden = byId('flow-of').hidden = !this._chosen;
    if (this.player.live) {
      const ahead = this._newestStep();
      allow(this._pause, state.part?.picture.nodes.map(n => n.name) ?? [],
        ahead && ahead.at > this.player.now ? ahead.step.number : undefined);
    }
    this._announce(state, newest);
    if (flights.length) this._keepInSight(flights[flights.length - 1], now);
  }

  _newestStep() {
    for (let i = this.timeline.cues.length - 1; i >= 0; i -= 1) {
      const { at, entry } = this.timeline.cues[i];
      if (entry.kind === 'step') return { at, step: entry };
    }
    return undefined;
  }

  /** Go on to the step that the lab is at, if it was not shown yet. */
  catchUp() {
    const newest = this._newestStep();
    if (!newest || newest.at <= this.player.now) return false;
    this.player.goTo(newest.at + 1);
    this.player.toggle();
    return true;
  }

  /** The button leads to a step that was not shown yet; then it lets the lab go on. */
  goOn() {
    if (!this.catchUp()) next(this._pause.step);
  }

  /** A page that is opened late begins where the lab waits. */
  begin() {
    if (this._pause.step) this.catchUp();
    else if (this._pause.open) this.player.goTo(this.timeline.end);
    if (!this.player.playing) this.player.toggle();
  }

  /** The packets of this part that pass the filter. @param {State} state */
  _listed(state) {
    const part = this.part;
    const key = `${part} ${this.timeline.flights.length} ${this.filter.changes}`;
    if (key !== this._listedFor) {
      this._listedFor = key;
      const ofPart = this.timeline.flights.filter(flight => flight.part === part);
      this.filter.offer(ofPart, state.part?.picture.nodes.map(node => node.name) ?? []);
      this._shown = ofPart.filter(flight => this.filter.passes(flight));
    }
    return this._shown;
  }

  /** Without motion a packet is only seen where it stands. */
  _lastStop() {
    const stops = this.timeline.under(this.player.now).flatMap(flight => flight.at)
      .filter(at => at <= this.player.now);
    return stops.length ? Math.max(...stops) : this.player.now;
  }

  /** On a small screen the picture is moved to where the packet is. @param {Flight} flight @param {number} now */
  _keepInSight(flight, now) {
    const screen = byId('screen');
    const picture = this.state.part?.picture;
    // To ask for a size costs a layout of the page: once for each picture, and when it is resized.
    if (picture !== this._measured) {
      this._measured = picture;
      this._overflows = screen.scrollWidth > screen.clientWidth;
    }
    if (!picture || !this._overflows) return;
    const { x } = place(picture, flight, now);
    const at = x * screen.scrollWidth / picture.width;
    const wanted = Math.max(0, Math.min(at - screen.clientWidth / 3, screen.scrollWidth - screen.clientWidth));
    const glides = this.player.playing && !this._still.matches;
    screen.scrollLeft += (wanted - screen.scrollLeft) * (glides ? 0.12 : 1);
  }

  /** For those who hear the page: the step and its verdicts; at a pause, the packet as well. @param {State} state @param {Flight | undefined} newest */
  _announce(state, newest) {
    const check = state.checks[state.checks.length - 1];
    const words = [state.step && `Step ${state.step.number}: ${state.step.title}.`,
      check && `${check.claim} ${check.words}: ${check.text}.`,
      !this.player.playing && newest && sentence(newest.packet),
      state.end && (state.end.passed ? 'The end: all claims hold.' : 'The end: not all claims hold.')];
    const text = words.filter(Boolean).join(' ');
    const region = byId('said-aloud');
    if (region.textContent !== text) region.textContent = text;
  }
}

/** The hop whose bytes a packet has: in the middle of a NAPT they become others. @param {Picture} picture @param {Flight} flight @param {number} now */
function hopNow(picture, flight, now) {
  const { hop, phase, part } = place(picture, flight, now);
  return phase === 'rewrite' && part > 0.49 ? hop + 1 : hop;
}

function start() {
  const data = document.getElementById('run');
  /** @type {Entry[]} */
  const entries = JSON.parse(data?.textContent ?? '[]');
  if (data && !entries.some(entry => entry.kind === 'part')) return; // there was no network
  byId('view').hidden = false;
  const view = new View();
  if (data) {
    view.add(entries);
    const first = view.timeline.cues.find(({ entry }) => entry.kind === 'step');
    view.player.goTo((first?.at ?? 0) + 1);
    return;
  }
  view.player.live = true;
  connectForms(() => view.goOn());
  listen(entries => view.add(entries), () => view.begin(), words => {
    say(words);
    view.player.live = false;
    view.player.wake(); // to see that it is over
    allow(CLOSED, []);
  });
}

start();
