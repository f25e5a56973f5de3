// The panel: how much is named, the names with their examples, how good they are.
import { element, entitle, make, makeButton, showRows } from '/dom.js';
import { goTo, leave } from '/asking.js';
import { alike, classOf, doAlone, frames, isName, minConfidence, nameOf, now, percent, rgb, shownClasses, state, tidy, times } from '/state.js';

// px, of a picture of an example; what is dimmed of it.
const [TILE, OUTSIDE] = [108, 'rgb(0 0 0 / 0.5)'];

export function drawPanel() {
  const share = drawNamed();
  element('no-names').hidden = state.classes.length > 0;
  showRows(element('names'), state.classes, (one) => one.id, nameRow, (row, one, k) => drawName(row, one, k, share.get(one.id) || 0));
  drawGood();
}

// Shows how much is named; returns the share of each class.
function drawNamed() {
  const share = new Map();
  let all = 0;
  frames.filter((one) => one.loaded).forEach((frame) => {
    const ids = shownClasses(frame.index);
    frame.areas.forEach((area, label) => {
      all += area;
      if (label && ids[label - 1]) share.set(ids[label - 1], (share.get(ids[label - 1]) || 0) + area);
    });
  });
  share.forEach((area, id) => share.set(id, area / all));
  element('named').textContent = percent([...share.values()].reduce((a, b) => a + b, 0));
  element('least').textContent = minConfidence().toFixed(2);
  showRows(element('bar'), state.classes.filter((one) => share.has(one.id)), (one) => one.id, () => make('i'), (part, one) => {
    part.style.width = `${100 * share.get(one.id)}%`;
    part.style.setProperty('--own', rgb(one.color));
    part.title = one.name;
  });
  return share;
}

// Names ------------------------------------------------------------------------------------------------------------

function nameRow({ id }) {
  const row = make('li');
  const line = make('div', 'of-name');
  const edit = makeButton('✎', 'edit', () => rename(row, id));
  const forget = makeButton('×', 'forget', () => doAlone('forget', { name: nameOf(id) }));
  [edit, forget].forEach((one) => one.classList.add('quiet'));
  line.append(make('i', 'swatch'), make('span', 'name'), make('small'), make('kbd'), edit, forget);
  row.append(line, make('div', 'shown'));
  return row;
}

function drawName(row, one, k, share) {
  const find = (which) => row.querySelector(which);
  row.style.setProperty('--own', rgb(one.color));
  find('.name').textContent = one.name;
  find('.name').title = one.name;
  find('small').textContent = percent(share);
  find('kbd').textContent = k + 1;
  find('kbd').hidden = k >= 9;
  entitle(find('[data-control="edit"]'), `Rename ${one.name}, or merge it with another name`);
  entitle(find('[data-control="forget"]'), `Forget ${one.name} and its examples`);
  const examples = state.examples.map((example, index) => ({ ...example, index })).filter((example) => example.class === one.id);
  showRows(find('.shown'), examples, (example) => example.key, exampleTile, (tile, example) => drawExample(tile, example, one));
}

function rename(row, id) {
  const [shown, edit] = ['.name', '[data-control="edit"]'].map((which) => row.querySelector(which));
  const input = make('input');
  Object.assign(input, { value: nameOf(id), maxLength: 64, ariaLabel: `New name for ${nameOf(id)}` });
  input.dataset.control = 'edit';
  shown.hidden = true;
  shown.after(input);
  input.select();
  input.focus();
  const end = () => {
    shown.hidden = false;
    if (document.activeElement === input) edit.focus(); // which ends it, too
    input.remove();
  };
  input.addEventListener('blur', end);
  input.addEventListener('keydown', async (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') end();
    if (event.key !== 'Enter') return;
    event.preventDefault();
    const before = nameOf(id);
    const after = tidy(input.value);
    const known = state.classes.find((one) => one.name === after) ?? state.classes.find((one) => one.id !== id && alike(one.name) === alike(after));
    if (known && known.id !== id && !confirm(`“${known.name}” is there already. Put the examples of “${before}” to it?`)) return;
    if (after && after !== before) await doAlone('rename', { name: before, new: known?.name ?? after });
    if (input.isConnected) end();
  });
}

// Examples ---------------------------------------------------------------------------------------------------------

function exampleTile({ key }) {
  const tile = make('div', 'example');
  const look = makeButton('', 'look', () => {
    const { frame, point, size } = exampleOf(key);
    leave();
    goTo({ frame, point: inFrame(frames[frame], point, size) });
  });
  tile.append(look, makeButton('×', 'remove', () => doAlone('remove', { key })));
  tile.lastChild.classList.add('remove');
  return tile;
}

const exampleOf = (key) => state.examples.find((one) => one.key === key);
const isWrong = (one) => one.held_out >= 0 && one.held_out !== one.class;

function drawExample(tile, example, one) {
  const [look, remove] = tile.children;
  const frame = frames[example.frame];
  tile.classList.toggle('wrong', isWrong(example));
  look.title = `${example.from}${isWrong(example) ? `; by the examples of other frames: ${nameOf(example.held_out)}` : ''}`;
  look.setAttribute('aria-label', `Example ${example.index + 1}, ${one.name}: ${look.title}`);
  entitle(remove, `Remove example ${example.index + 1}, ${one.name}`);
  look.disabled = !frame?.loaded;
  if (look.disabled) look.textContent = frame ? '…' : 'in a frame not shown';
  else if (!look.querySelector('canvas')) look.replaceChildren(picture(frame, example));
}

function inFrame(frame, point, size) {
  return [0, 1].map((k) => Math.min(frame.size[k] - 1, Math.floor((point[k] * frame.size[k]) / size[k])));
}

// Returns a picture of an example; what is around it is dimmed.
function picture(frame, example) {
  const canvas = make('canvas');
  [canvas.width, canvas.height] = [TILE, TILE];
  const scale = frame.width / example.size[0];
  const [x0, y0, x1, y1] = example.box.map((value) => value * scale);
  const [x, y] = inFrame(frame, example.point, example.size);
  // Of what is large, what is around the point.
  const all = Math.min(frame.width, frame.height);
  const side = Math.min(Math.max(x1 - x0, y1 - y0, 24) * 1.15, all);
  const [middleX, middleY] = side > 0.6 * all ? [x, y] : [(x0 + x1) / 2, (y0 + y1) / 2];
  const shown = Math.min(side, 0.6 * all);
  const left = Math.min(Math.max(0, middleX - shown / 2), frame.width - shown);
  const top = Math.min(Math.max(0, middleY - shown / 2), frame.height - shown);
  const context = canvas.getContext('2d');
  context.drawImage(frame.image, left, top, shown, shown, 0, 0, TILE, TILE);
  // Its pixels, if it is the node's segment there; of levels above and below, its box.
  const label = frame.labels[y * frame.width + x];
  const own = boxOf(frame, label).every((value, k) => Math.abs(value - [x0, y0, x1, y1][k]) < 2);
  const inside = (u, v) => (own ? frame.labels[v * frame.width + u] === label : u >= x0 - 1 && u < x1 && v >= y0 - 1 && v < y1);
  context.fillStyle = OUTSIDE;
  for (let k = 0; k < TILE * TILE; k += 1) {
    const [column, row] = [k % TILE, Math.floor(k / TILE)];
    if (!inside(Math.floor(left + (column * shown) / TILE), Math.floor(top + (row * shown) / TILE))) context.fillRect(column, row, 1, 1);
  }
  return canvas;
}

// Returns the box of a segment, x0 y0 x1 y1.
function boxOf(frame, label) {
  if (!frame.boxes) {
    frame.boxes = Array.from({ length: frame.places.length + 1 }, () => [Infinity, Infinity, 0, 0]);
    for (let y = 0, i = 0; y < frame.height; y += 1) {
      for (let x = 0; x < frame.width; x += 1, i += 1) {
        const box = frame.boxes[frame.labels[i]];
        if (x < box[0]) box[0] = x;
        if (y < box[1]) box[1] = y;
        if (x >= box[2]) box[2] = x + 1;
        if (y >= box[3]) box[3] = y + 1;
      }
    }
  }
  return frame.boxes[label];
}

// How good -----------------------------------------------------------------------------------------------------------

// Returns the interval that holds a share with 95 % probability (Wilson, 1927).
function interval(right, count) {
  const z = 1.96;
  const share = right / count;
  const middle = share + (z * z) / (2 * count);
  const half = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
  return [(middle - half) / (1 + (z * z) / count), (middle + half) / (1 + (z * z) / count)];
}

// Up to so many examples tell little of how far a name reaches.
const FEW = 2;

function drawGood() {
  // An example whose name has none in another frame cannot be named by others.
  const judged = state.examples.filter((one) => one.held_out >= 0);
  const alone = state.examples.length - judged.length;
  const right = judged.filter((one) => one.held_out === one.class).length;
  const said = [];
  if (!state.examples.length) said.push('Name the same thing in two frames, and you see here whether one is recognised by the other.');
  if (judged.length) said.push(`${right} of ${times(judged.length, 'example')} (${percent(right / judged.length)}) ${right === 1 ? 'gets its' : 'get their'} name by the examples of other frames.`);
  if (right < judged.length) said.push('Those with a dashed border would get another name.');
  if (alone) said.push(`${times(alone, 'example')} ${alone === 1 ? 'is' : 'are'} not counted: no other frame has an example of the same name.`);
  element('left-out').textContent = said.join(' ');

  const few = state.classes.filter(({ id }) => state.examples.filter((one) => one.class === id).length <= FEW);
  element('few').textContent = few.length
    ? `${few.length === 1 ? `“${few[0].name}” has` : `${few.length} names have`} only one or two examples: other things get ${few.length === 1 ? 'this name' : 'these names'}, too. Name some of those, or raise the confidence.`
    : '';

  const { answers } = state.check;
  const named = answers.map((one) => ({ ...one, class: one.confidence >= minConfidence() ? one.class : 0 }));
  const pairs = new Map();
  const add = (from, to) => pairs.set(`${from} ${to}`, (pairs.get(`${from} ${to}`) || 0) + 1);
  judged.filter(isWrong).forEach((one) => add(one.class, one.held_out));
  named.forEach((one) => one.true !== one.class && add(one.true, one.class));
  const rows = [...pairs].sort((a, b) => b[1] - a[1]).slice(0, 5);
  element('confused').replaceChildren(...rows.map(([key, many]) => make('li', '', `${mistake(...key.split(' ').map(Number))}${many > 1 ? `, ${many} times` : ''}`)));

  const good = named.filter((one) => one.true === one.class).length;
  const skipped = now.skipped.length ? ` ${now.skipped.length} skipped.` : '';
  const [low, high] = answers.length ? interval(good, answers.length) : [0, 0];
  element('checked').textContent = answers.length
    ? `Checked: ${good} of ${answers.length} random pixels right, ${percent(good / answers.length)} (95 % sure: ${percent(low)} to ${percent(high)}).${skipped}`
    : `A check asks you about random pixels and counts how many names are right.${skipped}`;
  element('check-anew').hidden = !answers.length;
  element('check').disabled = !state.classes.length;
}

function mistake(from, to) {
  if (!from) return `what has none of the names was called “${nameOf(to)}”`;
  return to ? `“${nameOf(from)}” was called “${nameOf(to)}”` : `“${nameOf(from)}” was not recognised`;
}
