// What labs/view/recording.py and packets.py write, for the type checker: there is no code here.

/** @typedef {{kind: string, name: string, x: number, y: number, w: number, h: number, lines: string[]}} Box */
/** @typedef {[x1: number, x2: number, y: number, text: string, kind: string, router: string]} Bus */
/** @typedef {[x: number, y: number, bus: number]} Port  an interface, and its network's line */
/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {Box[]} nodes
 * @property {Bus[]} buses
 * @property {[number, number, number, number][]} homes
 * @property {Record<string, Port>} ports
 */
/**
 * @typedef {object} Rule
 * @property {number} id
 * @property {string} protocol
 * @property {string} internal
 * @property {string} external
 * @property {string} remote
 * @property {boolean} explicit
 * @property {string} made_by
 * @property {number} [packets_out]
 * @property {number} [packets_in]
 */
/** @typedef {{node: string, total: number, rules: Rule[], drops: Record<string, number>, ports?: Record<string, string>, error?: string}} Table */
/** @typedef {[where: string, t: number, outgoing: number, source?: string, destination?: string]} Hop */
/**
 * @typedef {object} Packet
 * @property {'packet'} kind
 * @property {number} t
 * @property {string} name
 * @property {string} detail
 * @property {string} protocol
 * @property {number} flow
 * @property {Hop[]} hops
 * @property {string} bytes
 * @property {[number, [number, string][]][]} [edits]
 * @property {[reason: string, meaning: string]} [drop]
 * @property {boolean} [unseen]
 * @property {number} [more]
 */
/** @typedef {{kind: 'lab', t: number, lab: string, title: string, intro: string}} LabSaid */
/** @typedef {{kind: 'part', t: number, title: string, picture: Picture}} Part */
/** @typedef {{kind: 'step', t: number, number: number, of: number, title: string, say: string, ask: string, choices: string[], usage: string}} Step  without choices, but with a usage: a number is asked for */
/** @typedef {{kind: 'predicted', t: number, step: number, said: string}} Predicted */
/** @typedef {{kind: 'prediction', t: number, step: number, ask: string, said: string, seen: string, evidence: string, choices: string[], beliefs: string[], exercise: string}} Prediction  what became of it; each choice has the belief behind it */
/** @typedef {{kind: 'pause', t: number, open: boolean, step: number, words: string[]}} Pause  whether a command can be typed; the step that comes, 0 if there is none to ask for; commands with a button */
/** @typedef {{kind: 'working', t: number, what: string}} Working */
/** @typedef {{kind: 'command', t: number, node: string, command: string}} Command */
/** @typedef {{kind: 'output', t: number, node: string, command: string, status: number, lines: string[]}} Output */
/** @typedef {{kind: 'observed', t: number, lines: string[]}} Observed */
/** @typedef {{kind: 'check', t: number, claim: string, text: string, verdict: string, sign: string, words: string, evidence: string[]}} Check */
/** @typedef {{kind: 'rule', t: number, node: string, rule: Rule, ended?: string}} RuleEvent */
/** @typedef {{kind: 'tables', t: number, when: string, tables: Table[]}} Tables */
/** @typedef {{kind: 'drop', t: number, node: string, packet: string, reason: string, meaning: string}} Drop */
/** @typedef {{kind: 'report', t: number, node: string, program: string, name: string, words: string}} Report */
/** @typedef {{kind: 'trouble', t: number, text: string}} Trouble */
/** @typedef {{kind: 'end', t: number, passed: boolean, claims: string, learned: string[]}} End */
/**
 * @typedef {LabSaid | Part | Step | Predicted | Prediction | Pause | Working | Command | Output | Observed | Check
 *   | RuleEvent | Tables | Drop | Report | Trouble | End} Happening  all but packets
 */
/** @typedef {Happening | Packet} Entry */

/**
 * A packet on the show's clock: `at[i]` is when it is at its hop i, `to` when it has gone.
 * @typedef {{packet: Packet, number: number, from: number, to: number, at: number[], part: number}} Flight
 */
/** @typedef {{at: number, entry: Happening}} Cue  something that happens on the show's clock */

export {};
