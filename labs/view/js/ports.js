// All 65,536 ports of a protocol as a picture: a point for each, bright where a rule has it.

import { html } from './dom.js';

const SIDE = 256; // ports in a row: the first byte of a port is its row, the second its column

/** @type {Map<string, {url: string, used: number}>} pictures that were made, by their bits */
const made = new Map();

/** @param {string} name a protocol, and an address if there are several @param {string} map a bit for each port, in base64 */
export function portMap(name, map) {
  const { url, used } = made.get(map) ?? draw(map);
  const [protocol, address] = name.split(' ');
  const whose = address ? ` of ${address}` : '';
  const words = `${used.toLocaleString('en')} of 65,536 ${protocol} ports${whose} have a rule`;
  return html('figure', { class: 'ports' },
    html('img', { src: url, width: SIDE, height: SIDE, alt: words }),
    html('figcaption', {}, words, html('br'), html('span', { class: 'quiet' },
      'Each point is a port: 0 at the top left, 255 at the top right, 65,535 at the bottom right.')));
}

/** @param {string} map */
function draw(map) {
  const bits = Uint8Array.from(atob(map), letter => letter.charCodeAt(0));
  const canvas = html('canvas', { width: SIDE, height: SIDE });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const image = context.createImageData(SIDE, SIDE);
  let used = 0;
  for (let port = 0; port < SIDE * SIDE; port += 1) {
    const has = (bits[port >> 3] >> (port & 7)) & 1;
    used += has;
    image.data.set(has ? [11, 87, 208, 255] : [128, 128, 140, 60], port * 4);
  }
  context.putImageData(image, 0, 0);
  const picture = { url: canvas.toDataURL(), used };
  made.set(map, picture);
  return picture;
}
