// The name box: naming what was clicked on, what helps most, and answers to a check.
import { element, make, toast } from '/dom.js';
import { aimAt, drawMarks, showFrame, step } from '/drawing.js';
import { act, alone, alike, classOf, frames, isName, nameOf, now, rgb, state, stored, tidy } from '/state.js';

const TYPED = 'diffcut_teach typed';
// px between name box and place; places that the box tries, per side.
const [GAP, PLACES] = [20, 12];

// The list ---------------------------------------------------------------------------------------------------------

const typed = () => tidy(element('name').value);
// What Enter takes in the empty field.
const offered = () => (now.mode === 'check' ? classOf(now.question.id)?.name ?? '' : now.lastName);
// A digit alone chooses; with more behind it, it is text.
const digit = (text) => /^[1-9]$/.test(text) && !isName(text) && state.classes.length >= text;
const twinOf = (text) => (same(text) ? undefined : state.classes.find((one) => alike(one.name) === alike(text)));
const same = (text) => state.classes.find((one) => tidy(one.name) === text);

// Returns the rows of the list, each { name, color, digit }; without a color: a new name.
function rows() {
  const text = typed();
  const known = state.classes.map((one, k) => ({ name: one.name, color: one.color, digit: k < 9 ? k + 1 : 0 }));
  if (!text) return known;
  const fresh = { name: text };
  if (digit(text)) return [...known, fresh];
  const has = (one, how) => alike(one.name)[how](alike(text));
  const found = known.filter((one) => has(one, 'includes'));
  const sorted = [...found.filter((one) => has(one, 'startsWith')), ...found.filter((one) => !has(one, 'startsWith'))];
  const twin = twinOf(text);
  return twin ? [...sorted.filter((one) => one.name === twin.name), ...sorted.filter((one) => one.name !== twin.name), fresh] : sorted;
}

function listRow(one, k) {
  const row = make('li');
  row.setAttribute('role', 'option');
  row.id = `known-${k}`;
  row.setAttribute('aria-selected', String(k === now.chosen));
  if (one.color) {
    const swatch = make('i', 'swatch');
    swatch.style.setProperty('--own', rgb(one.color));
    row.append(swatch);
  }
  row.append(make('span', '', one.color ? one.name : `new name “${one.name}”`));
  if (one.digit && (!typed() || digit(typed()))) row.append(make('kbd', '', one.digit));
  row.addEventListener('pointerdown', (event) => event.preventDefault());
  row.addEventListener('click', () => alone(() => accept(one.name)));
  return row;
}

// Shows the box as it is now; also when names change meanwhile.
export function drawNamer() {
  const first = offered();
  const texts = { name: 'What is this?', propose: 'What is this?', check: first ? `Is this ${first}?` : 'I do not know this. What is it?' };
  element('asked').textContent = texts[now.mode];
  element('name').placeholder = first ? `Enter: ${first}` : 'Its name';
  element('accept').textContent = now.mode === 'check' && first && !typed() && now.chosen < 0 ? 'Right' : 'Name';
  const found = rows();
  now.chosen = Math.min(now.chosen, found.length - 1);
  element('known').replaceChildren(...found.map(listRow));
  element('name').setAttribute('aria-expanded', String(found.length > 0));
  element('name').setAttribute('aria-activedescendant', now.chosen < 0 ? '' : `known-${now.chosen}`);
  element('known').children[now.chosen]?.scrollIntoView({ block: 'nearest' });
}

export function whenTyped() {
  element('twin').hidden = true;
  now.chosen = digit(typed()) ? typed() - 1 : -1;
  drawNamer();
}

// The box ----------------------------------------------------------------------------------------------------------

export function openNamer() {
  Object.assign(now, { asking: true, chosen: -1 });
  element('name').value = '';
  element('twin').hidden = true;
  element('none').hidden = now.mode !== 'check';
  element('skip').textContent = now.mode === 'name' ? 'Cancel' : 'Skip';
  element('namer').querySelectorAll('[data-level]').forEach((button) => { button.hidden = now.mode === 'check'; });
  element('namer').hidden = false;
  drawNamer();
  placeNamer();
  element('name').focus({ preventScroll: true });
}

// Returns a function that counts the pixels of a mask that a rectangle touches (a table of sums from the top left).
function counter(mask, across) {
  const [down, wide] = [mask.length / across, across + 1];
  const sums = new Int32Array(wide * (down + 1));
  for (let row = 0; row < down; row += 1) {
    for (let column = 0, sum = 0; column < across; column += 1) {
      sum += mask[row * across + column] ? 1 : 0;
      sums[(row + 1) * wide + column + 1] = sums[row * wide + column + 1] + sum;
    }
  }
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  return (left, top, right, bottom) => {
    const [x0, x1] = [within(Math.floor(left), across), within(Math.ceil(right), across)];
    const [y0, y1] = [within(Math.floor(top), down) * wide, within(Math.ceil(bottom), down) * wide];
    return sums[y1 + x1] - sums[y1 + x0] - sums[y0 + x1] + sums[y0 + x0];
  };
}

// Puts the box where it covers least of what is asked about, near to it.
function placeNamer() {
  const { aim } = now;
  const { width: across } = frames[aim.frame];
  const [namer, look, room, stage] = ['namer', 'look', 'room', 'stage'].map((id) => element(id).getBoundingClientRect());
  const scale = stage.width / across;
  const onPage = (x, y) => [stage.left + (x + 0.5) * scale, stage.top + (y + 0.5) * scale];
  const [x, y] = onPage(aim.x, aim.y);
  const [count, all] = [counter(aim.mask, across), aim.mask.length];
  const column = (u) => (u - stage.left) / scale;
  const row = (v) => (v - stage.top) / scale;
  const between = (from, to, k) => from + (Math.max(0, to - from) * k) / (PLACES - 1);
  let best = { cost: Infinity };
  for (let k = 0; k < PLACES * PLACES; k += 1) {
    const left = between(room.left, room.right - namer.width, k % PLACES);
    const top = between(room.top, look.bottom - namer.height, Math.floor(k / PLACES));
    const [right, bottom] = [left + namer.width, top + namer.height];
    const covered = count(column(left), row(top), column(right), row(bottom)) / (count(0, 0, all, all) || 1);
    const distance = Math.hypot(Math.max(left - x, 0, x - right), Math.max(top - y, 0, y - bottom));
    const cost = 10000 * covered + (distance < GAP ? 100000 : distance);
    if (cost < best.cost) best = { cost, left, top };
  }
  element('namer').style.left = `${best.left - look.left}px`;
  element('namer').style.top = `${best.top - look.top}px`;
}

function closeNamer() {
  element('namer').hidden = true;
  Object.assign(now, { asking: false, chosen: -1 });
}

// Leaves what was begun.
export function leave() {
  closeNamer();
  Object.assign(now, { mode: 'name', question: null, passed: [] });
  hint();
  element('stage').focus({ preventScroll: true });
}

export function hint() {
  const texts = {
    name: state?.classes.length ? 'Click on what is wrong or unknown. Keys 1 to 9 name what lights up.' : 'Click on something and type what it is.',
    propose: 'Its name helps most: type it, or its number, and Enter. Or skip it. Esc ends.',
    check: 'Enter if it is right, or else type its name or number. This teaches nothing. Esc ends.',
  };
  element('hint').textContent = texts[now.mode];
  document.querySelectorAll('.under [data-level]').forEach((one) => { one.disabled = now.mode === 'check'; });
  element('propose').setAttribute('aria-pressed', String(now.mode === 'propose'));
  element('check').setAttribute('aria-pressed', String(now.mode === 'check'));
}

// Questions and answers --------------------------------------------------------------------------------------------

export function submit() {
  const text = typed();
  const twin = now.chosen < 0 && text && twinOf(text);
  if (twin) {
    now.chosen = 0;
    element('twin').textContent = `“${twin.name}” is there already. Enter takes it; arrow keys choose “${text}” as a new name.`;
    element('twin').hidden = false;
    drawNamer();
    return;
  }
  const name = now.chosen >= 0 ? rows()[now.chosen].name : text ? same(text)?.name ?? text : offered();
  if (name) alone(() => accept(name));
}

export async function accept(name) {
  const { mode, question, aim } = now;
  const given = mode === 'check'
    ? ['answer', { frame: question.frame, label: question.label, name }]
    : ['teach', { frame: aim.frame, x: aim.x, y: aim.y, run: aim.run, name }];
  if (!(await act(...given)).done) {
    if (now.asking) element('name').focus();
  } else if (mode === 'check') {
    await ask();
  } else {
    now.lastName = isName(name) ? name : '';
    if (mode === 'propose') await propose();
    else leave();
  }
}

export async function propose() {
  closeNamer();
  now.mode = 'propose';
  await goOn(await act('propose', { passed: now.passed }), 'Every segment of these frames has been shown.');
}

export async function ask() {
  closeNamer();
  now.mode = 'check';
  await goOn(await act('ask', { passed: now.skipped }), 'Every segment of these frames has been asked about.');
}

async function goOn({ done, answer }, end) {
  if (answer && goTo(answer)) {
    const { frame, label } = answer;
    now.question = { frame, label, id: state.answers[frame].class[label - 1] };
    openNamer();
    return;
  }
  if (done && !answer) toast(end);
  leave();
}

export function goTo({ frame, point }) {
  if (!frames[frame].loaded) {
    toast('That frame is still being loaded. Try again in a moment.');
    return false;
  }
  if (frame !== now.current) showFrame(frame);
  document.dispatchEvent(new Event('shown'));
  now.aim = null;
  aimAt(...point, true);
  drawMarks();
  hint();
  return true;
}

export function skip() {
  if (now.mode === 'name') {
    leave();
    return;
  }
  now[now.mode === 'check' ? 'skipped' : 'passed'].push([now.question.frame, now.question.label]);
  alone(now.mode === 'check' ? ask : propose);
}

// Keys in the field.
export function keyInName(event) {
  const found = rows();
  const text = element('name').value;
  const steps = { ArrowDown: 1, ArrowUp: -1 };
  const levels = { PageUp: 1, PageDown: -1 };
  const complete = event.key === 'Tab' && !event.shiftKey && text && found.length && found[Math.max(0, now.chosen)].name;
  if (event.key === 'Escape') leave();
  else if (levels[event.key]) step(levels[event.key]);
  else if (steps[event.key] && found.length) {
    now.chosen = Math.max(-1, Math.min(found.length - 1, now.chosen + steps[event.key]));
    drawNamer();
  } else if (complete && complete !== text) {
    element('name').value = complete;
    now.chosen = -1;
    drawNamer();
  } else return;
  event.preventDefault();
}

// What was typed and not sent is kept when the page is loaded again, such as after another start of the program.
export function keepTyped() {
  const text = now.asking ? element('name').value : '';
  const { frame, x, y, level } = now.aim ?? {};
  const place = text && { file: state.file, at: frames[frame].at, size: frames[frame].size, x, y, level, question: now.question };
  stored('sessionStorage', TYPED, text ? JSON.stringify({ text, mode: now.mode, ...place }) : '');
}

export function restoreTyped() {
  const kept = JSON.parse(stored('sessionStorage', TYPED) || 'null');
  stored('sessionStorage', TYPED, '');
  if (kept?.file !== state.file) return;
  const frame = frames.find((one) => one.at === kept.at && String(one.size) === String(kept.size));
  if (!frame) {
    toast(`Its frame is not shown any more; you had typed “${kept.text}”.`);
    return;
  }
  goTo({ frame: frame.index, point: [kept.x, kept.y] });
  for (let k = 0; k < Math.abs(kept.level); k += 1) step(Math.sign(kept.level));
  const label = frame.labels[kept.y * frame.width + kept.x];
  Object.assign(now, { mode: kept.mode, question: kept.question && { frame: frame.index, label, id: state.answers[frame.index].class[label - 1] } });
  openNamer();
  element('name').value = kept.text;
  whenTyped();
  hint();
}
