// The show's clock and its buttons: play, pause, faster, slower, forward and back, the slider.

/** @import {Timeline} from './timeline.js' */
/** @import {Flight} from './types.js' */
import { svg, byId, inputOf } from './dom.js';

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];
/** Which entries have a mark on the slider, from top to bottom. @type {Record<string, [row: number, name: string]>} */
const MARKS = {
  step: [0, 'step'], part: [0, 'step'], command: [1, 'command'], check: [1, 'check'], rule: [2, 'rule'], drop: [3, 'drop'],
};
const NEAR = 1; // ms: what is that close to now is now

export class Player {
  /**
   * @param {Timeline} timeline @param {(flight: Flight) => boolean} passes whether a packet is shown
   * @param {() => void} changed called whenever another moment is to be shown
   */
  constructor(timeline, passes, changed) {
    this._timeline = timeline;
    this._passes = passes;
    this._changed = changed;
    this.now = 0;
    this.playing = false;
    /** Whether it waits at the end for what is still to come. */
    this.live = false;
    this._rests = false; // it does: no frame need be drawn
    this._speed = SPEEDS.indexOf(1);
    this._frame = 0; // time of the last frame
    this._slider = inputOf('slider');
    this._marked = '';
    this._slider.addEventListener('input', () => this.goTo(Number(this._slider.value)));
    for (const [id, act] of Object.entries(this._acts())) byId(id).addEventListener('click', act);
    document.addEventListener('keydown', event => this._key(event));
    this._tell();
    this._tellButtons();
  }

  /** What each button does. @returns {Record<string, () => void>} */
  _acts() {
    return {
      play: () => this.toggle(),
      back: () => this.toPacket(-1),
      forward: () => this.toPacket(1),
      'back-step': () => this.toStep(-1),
      'forward-step': () => this.toStep(1),
      slower: () => this.setSpeed(-1),
      faster: () => this.setSpeed(1),
    };
  }

  get speed() {
    return SPEEDS[this._speed];
  }

  /** @param {number} change */
  setSpeed(change) {
    this._speed = Math.max(0, Math.min(SPEEDS.length - 1, this._speed + change));
    this._tellButtons();
  }

  toggle() {
    if (!this.playing && this.now >= this._timeline.end && !this.live) this.now = 0;
    this.playing = !this.playing;
    this._rests = false;
    if (this.playing) this._begin();
    this._tell();
    this._tellButtons();
    this._changed();
  }

  _begin() {
    this._frame = performance.now();
    requestAnimationFrame(time => this._tick(time));
  }

  /** There may be more to show. */
  wake() {
    if (!this._rests) return;
    this._rests = false;
    this._begin();
  }

  pause() {
    if (this.playing) this.toggle();
  }

  /** Show this moment, and stay there. @param {number} now */
  goTo(now) {
    this.pause();
    this.now = Math.max(0, Math.min(now, this._timeline.end));
    this._tell();
    this._changed();
  }

  /** The next stop on the way of a packet, or the last one. @param {1 | -1} direction */
  toPacket(direction) {
    const stops = this._timeline.flights.filter(this._passes).flatMap(flight => this._stops(flight));
    this._toNext(stops.sort((a, b) => a - b), direction);
  }

  /** Where a packet stands at a node, is being rewritten, or breaks. @param {Flight} flight */
  _stops({ at, to, packet }) {
    const middles = at.slice(1).map((time, i) => [at[i], (at[i] + time) / 2])
      .filter((_, i) => packet.hops[i + 1].length > 3 && packet.hops[i + 1][2]).map(([, middle]) => middle);
    return [at[0] + NEAR * 2, ...middles, packet.drop ? (at[at.length - 1] + to) / 2 : at[at.length - 1] + 100];
  }

  /** @param {1 | -1} direction */
  toStep(direction) {
    const begins = this._timeline.cues.filter(({ entry }) => entry.kind === 'step' || entry.kind === 'part');
    this._toNext(begins.map(cue => cue.at + NEAR), direction);
  }

  /** @param {number[]} moments in order @param {1 | -1} direction */
  _toNext(moments, direction) {
    const next = direction > 0 ? moments.find(moment => moment > this.now + NEAR)
      : moments.findLast(moment => moment < this.now - NEAR);
    this.goTo(next ?? (direction > 0 ? this._timeline.end : 0));
  }

  /** @param {number} time */
  _tick(time) {
    if (!this.playing) return;
    // A frame's time is when it began, which may be before the button was pressed.
    this.now += Math.max(0, Math.min(100, time - this._frame)) * this.speed;
    this._frame = time;
    if (this.now >= this._timeline.end) {
      this.now = this._timeline.end;
      this._rests = this.live;
      if (!this.live) {
        this.playing = false;
        this._tellButtons();
      }
    }
    this._tell();
    this._changed();
    if (!this._rests) requestAnimationFrame(next => this._tick(next));
  }

  _tell() {
    const { end } = this._timeline;
    this._slider.max = String(Math.ceil(end));
    this._slider.value = String(this.now);
    this._slider.setAttribute('aria-valuetext', `${Math.round(100 * this.now / Math.max(1, end))} % of the run`);
  }

  _tellButtons() {
    const button = byId('play');
    byId('play-sign').setAttribute('d', this.playing ? 'M5 4h5v16h-5zM14 4h5v16h-5z' : 'M6 4v16l14 -8z');
    button.setAttribute('aria-label', this.playing ? 'Pause' : 'Play');
    byId('speed').textContent = `${this.speed}×`;
  }

  /** Draw the slider's marks anew if there are more things to mark. */
  mark() {
    const { cues, end } = this._timeline;
    if (this._marked === `${cues.length} ${end}`) return;
    this._marked = `${cues.length} ${end}`;
    this._slider.max = String(Math.ceil(end));
    /** @type {Record<string, string>} */
    const paths = {};
    for (const { at, entry } of cues) {
      if (!(entry.kind in MARKS)) continue;
      let [row, name] = MARKS[entry.kind];
      if (entry.kind === 'rule' && entry.ended !== undefined) name = 'ended';
      if (entry.kind === 'check' && entry.verdict !== 'passed') name = 'drop';
      paths[name] = `${paths[name] ?? ''}M${(1000 * at / Math.max(1, end)).toFixed(1)} ${row * 5}v${name === 'step' ? 20 : 5}`;
    }
    byId('marks').replaceChildren(...Object.entries(paths).map(([name, d]) => svg('path', { class: name, d })));
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const target = event.target instanceof Element ? event.target : document.body;
    const typing = target.matches('textarea, select, input:not([type=range])');
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const onButton = target.matches('button, summary, a') && (event.key === ' ' || event.key === 'Enter');
    const acts = this._acts();
    const name = event.key === 'ArrowRight' ? (event.shiftKey ? 'forward-step' : 'forward')
      : event.key === 'ArrowLeft' ? (event.shiftKey ? 'back-step' : 'back')
        : { ' ': 'play', '+': 'faster', '-': 'slower' }[event.key];
    if (!name || onButton) return;
    event.preventDefault();
    acts[name]();
  }
}
