// The frames: all of them small, one of them large, and what lights up in it.
import { element, entitle, make, showRows, toast } from '/dom.js';
import { classOf, frames, inOrder, minConfidence, nameOf, now, rgb, shownClasses, state, times } from '/state.js';

const OPACITY = 150;
// What has no name is dimmed.
const DIM = 95;
// Of a small frame, px of the screen's, twice for sharp ones.
const [THUMB_HEIGHT, THUMB_WIDTH] = [2 * 42, 2 * 110];
const PIN = 16;

// Returns RGBA of each label of a frame, label 0 first.
function palette(index) {
  const table = new Uint8ClampedArray(4 * (frames[index].places.length + 1));
  const ids = shownClasses(index);
  const colors = new Map(state.classes.map((one) => [one.id, one.color]));
  for (let label = 0; label <= ids.length; label += 1) {
    const id = label ? ids[label - 1] : 0;
    table.set(id ? [...colors.get(id), OPACITY] : [16, 18, 20, state.classes.length ? DIM : 0], 4 * label);
  }
  return table;
}

function paint(canvas, width, height, labels, table, borders) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height);
  const from = new Uint32Array(table.buffer);
  const to = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < to.length; i += 1) to[i] = from[labels[i]];
  if (borders) {
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        if ((x && labels[i - 1] !== labels[i]) || (y && labels[i - width] !== labels[i])) to[i] = 0x78ffffff;
      }
    }
  }
  canvas.getContext('2d').putImageData(picture, 0, 0);
}

// All frames -------------------------------------------------------------------------------------------------------

function makeThumb(frame, choose) {
  const thumb = make('button', 'thumb');
  thumb.type = 'button';
  frame.thumb = document.createElement('canvas');
  frame.over = document.createElement('canvas');
  thumb.append(frame.thumb, make('b'));
  thumb.addEventListener('click', () => choose(frame.index));
  return thumb;
}

function reduce(frame) {
  const height = THUMB_HEIGHT;
  const width = Math.max(1, Math.min(THUMB_WIDTH, Math.round((height * frame.width) / frame.height)));
  Object.assign(frame.thumb, { width, height });
  frame.small = new Uint16Array(width * height);
  for (let y = 0, i = 0; y < height; y += 1) {
    const row = frame.width * Math.floor((y * frame.height) / height);
    for (let x = 0; x < width; x += 1, i += 1) frame.small[i] = frame.labels[row + Math.floor((x * frame.width) / width)];
  }
}

function drawThumb(frame) {
  const colored = element('colored').checked;
  const table = colored ? palette(frame.index) : new Uint8ClampedArray();
  const same = frame.drawn && frame.drawn.length === table.length && frame.drawn.every((value, k) => value === table[k]);
  if (same) return;
  frame.drawn = table;
  if (!frame.small) reduce(frame);
  const { width, height } = frame.thumb;
  const context = frame.thumb.getContext('2d');
  context.drawImage(frame.image, 0, 0, width, height);
  if (!colored) return;
  paint(frame.over, width, height, frame.small, table, false);
  context.drawImage(frame.over, 0, 0);
}

export function drawStrip(choose) {
  const count = new Map();
  state.examples.forEach((one) => count.set(one.frame, (count.get(one.frame) || 0) + 1));
  const ordered = inOrder();
  const reached = now.current < 0 ? ordered[0]?.index : now.current;
  showRows(element('frames'), ordered, (frame) => frame.index, (frame) => makeThumb(frame, choose), (thumb, frame) => {
    if (frame.loaded) drawThumb(frame);
    const examples = count.get(frame.index) || 0;
    const badge = thumb.lastChild;
    badge.textContent = examples;
    badge.hidden = !examples;
    thumb.disabled = !frame.loaded;
    thumb.tabIndex = frame.index === reached ? 0 : -1; // all together are one stop of Tab
    thumb.setAttribute('aria-current', String(frame.index === now.current));
    entitle(thumb, frame.loaded ? `Frame at ${frame.at}${examples ? `, ${times(examples, 'example')}` : ''}` : 'Being loaded');
  });
  const more = element('more');
  more.hidden = !state.left && !state.busy;
  more.disabled = Boolean(state.busy);
  more.textContent = state.busy ? `${state.busy} …` : times(Math.min(10, state.left), 'more frame');
}

// The large frame --------------------------------------------------------------------------------------------------

export function showFrame(index) {
  const frame = frames[index];
  Object.assign(now, { current: index, aim: null });
  const before = element('image');
  if (before !== frame.image) {
    before.removeAttribute('id');
    Object.assign(frame.image, { id: 'image', alt: `Frame at ${frame.at}`, draggable: false });
    before.replaceWith(frame.image);
  }
  element('stage').style.setProperty('--wide', frame.width / frame.height);
  Object.assign(element('light'), { width: frame.width, height: frame.height });
  drawFrame();
  describe();
}

// Puts a node on a pixel of the frame.
function put(node, x, y) {
  const frame = frames[now.current];
  node.style.left = `${(100 * (x + 0.5)) / frame.width}%`;
  node.style.top = `${(100 * (y + 0.5)) / frame.height}%`;
  return node;
}

export function drawFrame() {
  if (now.current < 0) return;
  const frame = frames[now.current];
  const ordered = inOrder();
  element('at').textContent = `${ordered.indexOf(frame) + 1} of ${frames.length}, ${frame.at}`;
  const colored = element('colored').checked;
  element('colors').hidden = !colored;
  element('marks').hidden = !colored;
  if (!colored) return;
  paint(element('colors'), frame.width, frame.height, frame.labels, palette(now.current), true);
  drawMarks();
}

// Pins where examples are, and each name once, on the largest segment of it.
export function drawMarks() {
  if (now.current < 0) return;
  const frame = frames[now.current];
  const largest = new Map();
  shownClasses(now.current).forEach((id, k) => {
    if (id && (!largest.has(id) || frame.areas[k + 1] > frame.areas[largest.get(id) + 1])) largest.set(id, k);
  });
  const pins = state.examples.filter((one) => one.frame === now.current).map((one) => {
    const pin = make('i', 'pin');
    pin.style.setProperty('--own', rgb(classOf(one.class).color));
    return put(pin, (one.point[0] * frame.width) / one.size[0], (one.point[1] * frame.height) / one.size[1]);
  });
  const tags = [...largest].map(([id, k]) => {
    const tag = make('span', 'tag', nameOf(id));
    tag.style.setProperty('--own', rgb(classOf(id).color));
    return [tag, frame.places[k]];
  });
  element('marks').replaceChildren(...pins, ...tags.map(([tag]) => tag));
  placeTags(tags, pins);
}

// Each tag at its place, or as near as it covers no pin, no other tag and not the place of the keys, within the frame.
function placeTags(tags, pins) {
  const frame = frames[now.current];
  const { clientWidth, clientHeight } = element('marks');
  const shown = now.aim?.keys ? [...pins, element('cursor')] : pins;
  const taken = shown.map((pin) => [pin.offsetLeft - PIN / 2, pin.offsetTop - PIN / 2, PIN, PIN]);
  const sizes = tags.map(([tag]) => [tag.offsetWidth, tag.offsetHeight]);
  tags.forEach(([tag, [x, y]], k) => {
    const [width, height] = sizes[k];
    const within = (value, size, all) => Math.max(2, Math.min(all - size - 2, value));
    const box = (dx, dy) => [
      within(((x + 0.5) / frame.width) * clientWidth - width / 2 + dx, width, clientWidth),
      within(((y + 0.5) / frame.height) * clientHeight - height / 2 + dy, height, clientHeight), width, height,
    ];
    const free = ([left, top]) => taken.every(([x0, y0, w, h]) => left >= x0 + w || x0 >= left + width || top >= y0 + h || y0 >= top + height);
    const [down, aside] = [height, (width + PIN) / 2 + 2];
    const boxes = [[0, 0], [0, down], [0, -down], [aside, 0], [-aside, 0], [aside, down], [-aside, down], [0, 2 * down], [0, -2 * down]].map((by) => box(...by));
    const found = boxes.find(free) ?? boxes[0];
    taken.push(found);
    [tag.style.left, tag.style.top] = [`${found[0]}px`, `${found[1]}px`];
  });
}

// What lights up ---------------------------------------------------------------------------------------------------

function sum(mask) {
  let count = 0;
  for (const inside of mask) count += inside;
  return count;
}

// Aims at a pixel of the frame; keys says whether by keys, which show where they are.
export function aimAt(x, y, keys) {
  const frame = frames[now.current];
  const index = y * frame.width + x;
  // Within what lights up, the level stays.
  if (now.aim && now.aim.mask[index]) {
    Object.assign(now.aim, { x, y, keys });
    describe();
    return;
  }
  const label = frame.labels[index];
  const mask = Uint8Array.from(frame.labels, (value) => (value === label ? 1 : 0));
  now.aim = { frame: now.current, x, y, keys, run: null, mask, area: sum(mask), level: 0 };
  highlight();
}

// Goes up to the next larger thing that this is part of, or down to the next smaller part.
export function step(by) {
  const { aim } = now;
  if (!aim || now.mode === 'check') return;
  const frame = frames[aim.frame];
  const index = aim.y * frame.width + aim.x;
  const part = frame.parts[index];
  const runs = hierarchy.runsWith(frame.taus, part);
  let k = runs.findIndex(([first, end]) => aim.run && first === aim.run[0] && end === aim.run[1]);
  // The node's segment is a run of its own tau, with borders of its own.
  if (k < 0) k = runs.findLastIndex(([first, end]) => frame.segments[first] === frame.segments[part] && frame.segments[end - 1] === frame.segments[part] && (first === 0 || frame.segments[first - 1] !== frame.segments[part]));
  for (k -= by; k >= 0 && k < runs.length; k -= by) {
    const mask = hierarchy.maskOf(frame.parts, frame.width, runs[k], index, frame.connected);
    const area = sum(mask);
    if (by > 0 ? area > aim.area : area < aim.area) {
      now.aim = { ...aim, run: runs[k], mask, area, level: aim.level + by };
      highlight();
      return;
    }
  }
  toast(by > 0 ? 'There is nothing larger.' : 'There is nothing smaller.');
}

function highlight() {
  const canvas = element('light');
  const { width, height } = canvas;
  const picture = new ImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  const { mask } = now.aim;
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 1) {
      if (!mask[i]) continue;
      const edge = x < 2 || y < 2 || x > width - 3 || y > height - 3 || !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width] || !mask[i - 2] || !mask[i + 2] || !mask[i - 2 * width] || !mask[i + 2 * width];
      pixels[i] = edge ? 0xffffffff : 0x48ffffff;
    }
  }
  canvas.getContext('2d').putImageData(picture, 0, 0);
  describe();
}

// Says in words what lights up.
export function describe() {
  const { aim } = now;
  element('cursor').hidden = !aim?.keys;
  element('under').textContent = '';
  if (!aim) return;
  if (aim.keys) put(element('cursor'), aim.x, aim.y);
  const frame = frames[aim.frame];
  const label = frame.labels[aim.y * frame.width + aim.x];
  const answers = state.answers[aim.frame];
  const id = label ? answers.class[label - 1] : 0;
  const sure = label ? answers.confidence[label - 1] : 0;
  const name = !id ? 'unknown' : sure < minConfidence() ? `unknown (${nameOf(id)}? ${sure.toFixed(2)})` : `${nameOf(id)} ${sure.toFixed(2)}`;
  const level = aim.level ? `, ${times(Math.abs(aim.level), 'level')} ${aim.level > 0 ? 'up' : 'down'}` : '';
  element('under').textContent = `${name}${level}`;
}
