'use strict';
(() => {
  const element = (id) => document.getElementById(id);
  const OPACITY = 150;
  // What has no name is dimmed.
  const DIM = 95;
  const THUMB = 124;
  const POLL_MS = 1000;
  const [KEPT, STAGE_STEP, SMALL_STEP] = ['diffcut_teach confidence', 0.03, 0.004];

  let state = null;
  let frames = [];
  let current = -1;
  // What the pointer means: place, the run of parts (null: the node's segment), its pixels.
  let aim = null;
  // What is asked: 'name' what was clicked on, 'propose' what is least sure, 'check' whether an answer is right.
  let mode = 'name';
  let passed = [];
  let lastName = '';
  let selected = -1;
  let open = null;

  // The server -------------------------------------------------------------------------------------------------------

  async function get(path) {
    const response = await fetch(path);
    if (!response.ok) throw new Error((await response.json()).error);
    return response.status === 204 ? null : response.json();
  }

  // Does something; shows what the server says against it, and returns whether it was done, and its answer.
  async function act(action, given = {}) {
    let response;
    try {
      const body = JSON.stringify(given);
      response = await fetch(`/do/${action}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    } catch {
      unreachable(true);
      return { done: false };
    }
    unreachable(false);
    const told = await response.json();
    if (!response.ok) {
      toast(told.error);
      await poll();
      return { done: false };
    }
    await take(told.state);
    return { done: true, answer: told.answer };
  }

  let away = false;
  function unreachable(is) {
    if (away === is) return;
    away = is;
    showProblem();
  }

  async function poll() {
    try {
      const found = await get(`/state?key=${encodeURIComponent(state ? state.key : '')}`);
      unreachable(false);
      if (found) await take(found);
    } catch {
      unreachable(true);
    }
  }

  async function take(found) {
    // Another start of the program may show other frames.
    if (state && state.key.split('-')[0] !== found.key.split('-')[0]) {
      location.reload();
      return;
    }
    if (state && found.version < state.version) return;  // told before what is known already
    const before = frames.length;
    state = found;
    for (let index = before; index < state.frames; index += 1) frames.push(newFrame(index));
    await Promise.all(frames.slice(before).map((one) => one.ready));
    if (current < 0 && frames.length) await show(0);
    drawAll();
    if (before === 0) document.documentElement.dataset.ready = 'true';
    document.documentElement.dataset.version = state.version;
  }

  function newFrame(index) {
    const frame = { index, image: new Image(), thumb: document.createElement('canvas') };
    const load = async () => {
      const data = await get(`/frame/${index}`);
      frame.image.src = `/image/${index}`;
      const [parts, labels] = await Promise.all([hierarchy.unpackMap(data.parts), hierarchy.unpackMap(data.labels), frame.image.decode()]);
      Object.assign(frame, data, { parts, labels });
      [frame.width, frame.height] = data.size;
      frame.areas = hierarchy.areas(labels, data.places.length + 1);
      frame.segments = hierarchy.segmentOfParts(data.taus, data.tau);
      prepareThumb(frame);
    };
    frame.ready = load();
    return frame;
  }

  // Names and colours ------------------------------------------------------------------------------------------------

  const least = () => element('confidence').valueAsNumber;
  const classOf = (id) => state.classes.find((one) => one.id === id);
  const rgb = (color) => `rgb(${color.join(' ')})`;
  const nameOf = (id) => (id ? classOf(id).name : 'unknown');
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 && share > 0 ? 1 : 0)}\u00a0%`;
  const times = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;

  // Returns the class of each segment of a frame as it is shown: 0 for what is not sure enough.
  function shownClasses(index) {
    const answers = state.answers[index];
    return answers.class.map((id, k) => (answers.confidence[k] >= least() ? id : 0));
  }

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

  function prepareThumb(frame) {
    const [width, height] = [THUMB * 2, Math.max(1, Math.round((THUMB * 2 * frame.height) / frame.width))];
    [frame.thumb.width, frame.thumb.height] = [width, height];
    frame.small = new Uint16Array(width * height);
    for (let y = 0, i = 0; y < height; y += 1) {
      const row = frame.width * Math.floor((y * frame.height) / height);
      for (let x = 0; x < width; x += 1, i += 1) frame.small[i] = frame.labels[row + Math.floor((x * frame.width) / width)];
    }
    frame.over = document.createElement('canvas');
  }

  function drawThumb(frame) {
    const { width, height } = frame.thumb;
    const context = frame.thumb.getContext('2d');
    context.drawImage(frame.image, 0, 0, width, height);
    if (!element('colored').checked) return;
    paint(frame.over, width, height, frame.small, palette(frame.index), false);
    context.drawImage(frame.over, 0, 0);
  }

  function drawStrip() {
    const strip = element('strip');
    const count = new Map();
    state.examples.forEach((one) => count.set(one.frame, (count.get(one.frame) || 0) + 1));
    frames.forEach((frame) => {
      drawThumb(frame);
      if (!frame.button) {
        frame.button = document.createElement('button');
        frame.button.type = 'button';
        frame.button.className = 'thumb';
        frame.badge = document.createElement('b');
        frame.button.append(frame.thumb, frame.badge);
        frame.button.addEventListener('click', () => leave() || show(frame.index));
        strip.insertBefore(frame.button, strip.querySelector('.more'));
      }
      const examples = count.get(frame.index) || 0;
      frame.badge.textContent = examples;
      frame.badge.hidden = !examples;
      frame.button.setAttribute('aria-label', `Frame at ${frame.at}${examples ? `, ${times(examples, 'example')}` : ''}`);
      frame.button.setAttribute('aria-current', String(frame.index === current));
    });
    let more = strip.querySelector('.more');
    if (!more) {
      more = document.createElement('button');
      more.type = 'button';
      more.className = 'thumb more';
      more.addEventListener('click', () => act('more', { count: Math.min(10, state.left) }));
      strip.append(more);
    }
    more.hidden = !state.left && !state.busy;
    more.disabled = Boolean(state.busy);
    more.textContent = state.busy ? `${state.busy} …` : times(Math.min(10, state.left), 'more frame');
  }

  async function show(index) {
    current = index;
    aim = null;
    const frame = frames[index];
    await frame.ready;
    const before = element('image');
    if (before !== frame.image) {
      before.removeAttribute('id');
      Object.assign(frame.image, { id: 'image', alt: `Frame at ${frame.at}`, draggable: false });
      before.replaceWith(frame.image);
    }
    element('stage').style.setProperty('--wide', frame.width / frame.height);
    element('at').textContent = `${index + 1} of ${frames.length}, ${frame.at}`;
    const light = element('light');
    [light.width, light.height] = [frame.width, frame.height];
    drawFrame();
    drawStrip();
    frame.button.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    describe();
  }

  // The large frame --------------------------------------------------------------------------------------------------

  function at(node, x, y) {
    const frame = frames[current];
    node.style.left = `${(100 * (x + 0.5)) / frame.width}%`;
    node.style.top = `${(100 * (y + 0.5)) / frame.height}%`;
    return node;
  }

  function drawFrame() {
    if (current < 0) return;
    const frame = frames[current];
    const colored = element('colored').checked;
    element('colors').hidden = !colored;
    element('marks').hidden = !colored;
    if (!colored) return;
    paint(element('colors'), frame.width, frame.height, frame.labels, palette(current), true);
    const marks = [];
    const largest = new Map();
    shownClasses(current).forEach((id, k) => {
      if (id && (!largest.has(id) || frame.areas[k + 1] > frame.areas[largest.get(id) + 1])) largest.set(id, k);
    });
    largest.forEach((k, id) => {
      const tag = document.createElement('span');
      tag.className = 'tag';
      tag.textContent = nameOf(id);
      tag.style.setProperty('--own', rgb(classOf(id).color));
      marks.push(at(tag, ...frame.places[k]));
    });
    state.examples.filter((one) => one.frame === current).forEach((one) => {
      const pin = document.createElement('i');
      pin.className = 'pin';
      pin.style.setProperty('--own', rgb(classOf(one.class).color));
      marks.push(at(pin, (one.point[0] * frame.width) / one.size[0], (one.point[1] * frame.height) / one.size[1]));
    });
    element('marks').replaceChildren(...marks);
  }

  function sum(mask) {
    let count = 0;
    for (const inside of mask) count += inside;
    return count;
  }

  function aimAt(x, y) {
    const frame = frames[current];
    const index = y * frame.width + x;
    // Within what lights up, the level stays.
    if (aim && aim.frame === current && aim.mask[index]) {
      Object.assign(aim, { x, y });
      describe();
      return;
    }
    const label = frame.labels[index];
    const mask = Uint8Array.from(frame.labels, (value) => (value === label ? 1 : 0));
    aim = { frame: current, x, y, run: null, mask, area: sum(mask), level: 0 };
    light();
  }

  // Goes up to the next larger thing that this is part of, or down to the next smaller part.
  function step(by) {
    if (!aim) return;
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
        aim = { ...aim, run: runs[k], mask, area, level: aim.level + by };
        light();
        return;
      }
    }
    toast(by > 0 ? 'There is nothing larger.' : 'There is nothing smaller.');
  }

  function light() {
    const canvas = element('light');
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, canvas.width, canvas.height);
    describe();
    if (!aim) return;
    const { width, height } = canvas;
    const picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    const { mask } = aim;
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        if (!mask[i]) continue;
        const edge = x < 2 || y < 2 || x > width - 3 || y > height - 3 || !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width] || !mask[i - 2] || !mask[i + 2] || !mask[i - 2 * width] || !mask[i + 2 * width];
        pixels[i] = edge ? 0xffffffff : 0x48ffffff;
      }
    }
    context.putImageData(picture, 0, 0);
  }

  function describe() {
    const text = element('under');
    element('cursor').hidden = !aim || !aim.keys;
    if (!aim) {
      text.textContent = '';
      return;
    }
    if (aim.keys) at(element('cursor'), aim.x, aim.y);
    const frame = frames[aim.frame];
    const label = frame.labels[aim.y * frame.width + aim.x];
    const answers = state.answers[aim.frame];
    const id = label ? answers.class[label - 1] : 0;
    const sure = label ? answers.confidence[label - 1] : 0;
    const name = !id ? 'unknown' : sure < least() ? `unknown (${nameOf(id)}? ${sure.toFixed(2)})` : `${nameOf(id)} ${sure.toFixed(2)}`;
    const level = aim.level ? `, ${times(Math.abs(aim.level), 'level')} ${aim.level > 0 ? 'up' : 'down'}` : '';
    text.textContent = `${name}${level}`;
  }

  // Naming -----------------------------------------------------------------------------------------------------------

  function openNamer(question, first = '') {
    const namer = element('namer');
    const frame = frames[aim.frame];
    element('asked').textContent = question;
    element('name').value = '';
    element('name').placeholder = first || (lastName ? `Enter: ${lastName}` : 'Its name');
    element('none').hidden = mode !== 'check';
    element('accept').textContent = mode === 'check' && first ? 'Right' : 'Name';
    element('skip').textContent = mode === 'name' ? 'Cancel' : 'Skip';
    namer.querySelectorAll('[data-level]').forEach((button) => { button.hidden = mode === 'check'; });
    namer.hidden = false;
    open = { first: first || lastName };
    listKnown();
    // Beside the place, within the frame.
    const stage = element('stage').getBoundingClientRect();
    const [x, y] = [((aim.x + 0.5) / frame.width) * stage.width, ((aim.y + 0.5) / frame.height) * stage.height];
    const { width, height } = namer.getBoundingClientRect();
    namer.style.left = `${Math.max(0, x + 24 + width < stage.width ? x + 24 : Math.max(0, x - 24 - width))}px`;
    namer.style.top = `${Math.max(0, Math.min(y - 40, stage.height - height))}px`;
    element('name').focus({ preventScroll: true });
  }

  function matching() {
    const text = element('name').value.trim().toLowerCase();
    const begins = (one) => one.name.toLowerCase().startsWith(text);
    const found = state.classes.filter((one) => one.name.toLowerCase().includes(text));
    return text ? [...found.filter(begins), ...found.filter((one) => !begins(one))] : found;
  }

  function listKnown() {
    const keys = new Map(state.classes.slice(0, 9).map((one, k) => [one.id, k + 1]));
    const empty = !element('name').value;
    element('known').replaceChildren(
      ...matching().map((one, k) => {
        const row = document.createElement('li');
        row.setAttribute('role', 'option');
        row.id = `known-${k}`;
        row.setAttribute('aria-selected', String(k === selected));
        const swatch = document.createElement('i');
        swatch.className = 'swatch';
        swatch.style.setProperty('--own', rgb(one.color));
        const text = document.createElement('span');
        text.textContent = one.name;
        row.append(swatch, text);
        if (empty && keys.has(one.id)) {
          const key = document.createElement('kbd');
          key.textContent = keys.get(one.id);
          row.append(key);
        }
        row.addEventListener('pointerdown', (event) => event.preventDefault());
        row.addEventListener('click', () => accept(one.name));
        return row;
      }),
    );
    const active = selected >= 0 ? `known-${selected}` : '';
    element('name').setAttribute('aria-activedescendant', active);
    if (active) element(active)?.scrollIntoView({ block: 'nearest' });
  }

  function closeNamer() {
    element('namer').hidden = true;
    selected = -1;
    open = null;
  }

  // Leaves what was begun; returns false, for what goes on then.
  function leave() {
    closeNamer();
    mode = 'name';
    passed = [];
    hint();
    element('stage').focus({ preventScroll: true });
    return false;
  }

  async function accept(name) {
    const was = mode;
    const given = { frame: aim.frame, x: aim.x, y: aim.y, run: aim.run, name };
    if (was === 'check') {
      const label = frames[aim.frame].labels[aim.y * frames[aim.frame].width + aim.x];
      if ((await act('answer', { frame: aim.frame, label, name })).done) await ask();
      return;
    }
    if (!(await act('teach', given)).done) {
      if (open) element('name').focus();
      return;
    }
    lastName = name;
    if (was === 'propose') {
      await propose();
    } else {
      closeNamer();
      element('stage').focus({ preventScroll: true });
    }
  }

  async function propose() {
    closeNamer();
    mode = 'propose';
    const { done, answer } = await act('propose', { passed });
    if (!done || !answer) {
      if (done) toast('Every segment of these frames has been shown.');
      leave();
      return;
    }
    await goTo(answer);
    openNamer('What is this?');
  }

  async function ask() {
    closeNamer();
    mode = 'check';
    const { done, answer } = await act('ask');
    if (!done || !answer) {
      if (done) toast('Every segment of these frames has been asked about.');
      leave();
      return;
    }
    await goTo(answer);
    const id = state.answers[answer.frame].class[answer.label - 1];
    openNamer(id ? `Is this ${nameOf(id)}?` : 'I do not know this. What is it?', id ? nameOf(id) : '');
    if (!id) open.first = '';
  }

  async function goTo({ frame, point }) {
    if (frame !== current) await show(frame);
    aim = null;
    aimAt(...point);
    aim.keys = true;
    light();
    hint();
  }

  function hint() {
    const texts = {
      name: state && state.classes.length ? 'Click on what is wrong or unknown.' : 'Click on something and type what it is.',
      propose: 'Its name would teach most. Esc ends.',
      check: 'Confirm with Enter, or say what it is. Answers here teach nothing, so that the figure is honest. Esc ends.',
    };
    element('hint').textContent = texts[mode];
    element('propose').setAttribute('aria-pressed', String(mode === 'propose'));
  }

  function skip() {
    if (mode === 'propose' && aim) {
      const frame = frames[aim.frame];
      passed.push([aim.frame, frame.labels[aim.y * frame.width + aim.x]]);
      propose();
    } else if (mode === 'check') ask();
    else leave();
  }

  // The panel --------------------------------------------------------------------------------------------------------

  function drawNamed() {
    const share = new Map();
    let all = 0;
    frames.forEach((frame) => {
      const ids = shownClasses(frame.index);
      frame.areas.forEach((area, label) => {
        all += area;
        if (label && ids[label - 1]) share.set(ids[label - 1], (share.get(ids[label - 1]) || 0) + area);
      });
    });
    const named = [...share.values()].reduce((a, b) => a + b, 0);
    element('named').textContent = percent(all ? named / all : 0);
    element('bar').replaceChildren(
      ...state.classes.filter((one) => share.has(one.id)).map((one) => {
        const part = document.createElement('i');
        part.style.width = `${(100 * share.get(one.id)) / all}%`;
        part.style.setProperty('--own', rgb(one.color));
        part.title = one.name;
        return part;
      }),
    );
    element('least').textContent = least().toFixed(2);
    return new Map([...share].map(([id, area]) => [id, area / all]));
  }

  let renaming = '';
  function drawNames(share) {
    element('no-names').hidden = state.classes.length > 0;
    if (renaming && document.activeElement?.closest('.names')) return;
    element('names').replaceChildren(...state.classes.map((one, k) => nameRow(one, k, share.get(one.id) || 0)));
  }

  function button(text, title, act, kind = 'quiet') {
    const made = document.createElement('button');
    made.type = 'button';
    made.className = kind;
    made.textContent = text;
    made.title = title;
    made.setAttribute('aria-label', title);
    made.addEventListener('click', act);
    return made;
  }

  function nameRow(one, k, share) {
    const row = document.createElement('li');
    row.style.setProperty('--own', rgb(one.color));
    const line = document.createElement('div');
    line.className = 'of-name';
    const swatch = document.createElement('i');
    swatch.className = 'swatch';
    const name = document.createElement('span');
    name.className = 'name';
    name.textContent = one.name;
    name.title = one.name;
    const count = document.createElement('small');
    count.textContent = percent(share);
    line.append(swatch, name, count);
    if (k < 9) {
      const key = document.createElement('kbd');
      key.textContent = k + 1;
      line.append(key);
    }
    line.append(
      button('✎', `Rename ${one.name}, or merge it with another name`, () => rename(line, name, one.name)),
      button('×', `Forget ${one.name} and its examples`, () => act('forget', { name: one.name })),
    );
    const shown = document.createElement('div');
    shown.className = 'shown';
    state.examples.forEach((example, index) => {
      if (example.class === one.id) shown.append(exampleTile(example, index, one));
    });
    row.append(line, shown);
    return row;
  }

  function rename(line, name, before) {
    const input = document.createElement('input');
    input.value = before;
    input.maxLength = 64;
    input.setAttribute('aria-label', `New name for ${before}`);
    name.replaceWith(input);
    renaming = before;
    input.focus();
    input.select();
    const end = () => {
      renaming = '';
      drawPanel();
    };
    input.addEventListener('keydown', async (event) => {
      event.stopPropagation();
      if (event.key === 'Escape') end();
      if (event.key !== 'Enter') return;
      const after = input.value.trim();
      const known = state.classes.some((one) => one.name === after && after !== before);
      if (known && !confirm(`There is ${after} already. Put the examples of ${before} to it?`)) return;
      renaming = '';
      if (after !== before) await act('rename', { name: before, new: after });
      end();
    });
    input.addEventListener('blur', () => renaming && end());
  }

  function exampleTile(example, index, one) {
    const tile = document.createElement('div');
    const wrong = example.held_out >= 0 && example.held_out !== example.class;
    tile.className = `example${wrong ? ' wrong' : ''}`;
    const frame = frames[example.frame];
    const look = document.createElement('button');
    look.type = 'button';
    look.title = `${example.from}${wrong ? `; by the examples of other frames: ${nameOf(example.held_out)}` : ''}`;
    look.setAttribute('aria-label', `Example ${index + 1}, ${one.name}: ${look.title}`);
    if (frame) {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [108, 108];
      const scale = frame.width / example.size[0];
      const [x0, y0, x1, y1] = example.box.map((value) => value * scale);
      const [x, y] = [0, 1].map((k) => Math.min(frame.size[k] - 1, Math.floor((example.point[k] * frame.size[k]) / example.size[k])));
      // Of what is large, what is around the point.
      const all = Math.min(frame.width, frame.height);
      const side = Math.min(Math.max(x1 - x0, y1 - y0, 24) * 1.15, all);
      const [middleX, middleY] = side > 0.6 * all ? [x, y] : [(x0 + x1) / 2, (y0 + y1) / 2];
      const shown = Math.min(side, 0.6 * all);
      const left = Math.min(Math.max(0, middleX - shown / 2), frame.width - shown);
      const top = Math.min(Math.max(0, middleY - shown / 2), frame.height - shown);
      canvas.getContext('2d').drawImage(frame.image, left, top, shown, shown, 0, 0, 108, 108);
      look.append(canvas);
      look.addEventListener('click', () => leave() || goTo({ frame: example.frame, point: [x, y] }));
    } else {
      look.textContent = 'in a frame not shown';
      look.disabled = true;
    }
    const remove = button('×', `Remove example ${index + 1}, ${one.name}`, () => act('remove', { key: example.key }), 'remove');
    tile.append(look, remove);
    return tile;
  }

  // The interval that holds a share with 95 % probability (Wilson, 1927).
  function interval(right, count) {
    const z = 1.96;
    const share = right / count;
    const middle = share + (z * z) / (2 * count);
    const half = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
    return [(middle - half) / (1 + (z * z) / count), (middle + half) / (1 + (z * z) / count)];
  }

  function drawGood() {
    // What no other frame shows cannot be named by others.
    const judged = state.examples.filter((one) => one.held_out >= 0);
    const right = judged.filter((one) => one.held_out === one.class).length;
    const count = judged.length;
    element('left-out').textContent = !count
      ? 'Two examples of a name, in different frames, tell more.'
      : `${right} of ${count} examples (${percent(right / count)}) get their name by the examples of other frames.`;
    const pairs = new Map();
    const add = (from, to) => pairs.set(`${from} ${to}`, (pairs.get(`${from} ${to}`) || 0) + 1);
    judged.forEach((one) => one.held_out !== one.class && add(one.class, one.held_out));
    const { answers } = state.check;
    const named = answers.map((one) => ({ ...one, class: one.confidence >= least() ? one.class : 0 }));
    named.forEach((one) => one.true !== one.class && add(one.true, one.class));
    const rows = [...pairs].sort((a, b) => b[1] - a[1]).slice(0, 5);
    element('confused').replaceChildren(
      ...rows.map(([key, many]) => {
        const [from, to] = key.split(' ').map(Number);
        const row = document.createElement('li');
        row.textContent = `${nameOf(from)} taken for ${nameOf(to)}${many > 1 ? `, ${many} times` : ''}`;
        return row;
      }),
    );
    const good = named.filter((one) => one.true === one.class).length;
    const [low, high] = answers.length ? interval(good, answers.length) : [0, 0];
    element('checked').textContent = answers.length
      ? `Checked: ${good} of ${answers.length} random pixels right, ${percent(good / answers.length)} (95 % sure: ${percent(low)} to ${percent(high)}).`
      : 'A check asks about random pixels: an honest figure.';
    element('check-anew').hidden = !answers.length;
    element('check').disabled = !state.classes.length;
  }

  function drawPanel() {
    drawNames(drawNamed());
    drawGood();
  }

  function showProblem() {
    const text = away ? 'The program does not answer. This page goes on when it does; all that was saved is in the file.' : state ? state.problem : '';
    element('problem').hidden = !text;
    element('problem-text').textContent = text;
    element('save').hidden = away;
    element('dot').classList.toggle('unsaved', Boolean(text));
    if (!state) return;
    element('offer').hidden = !state.offer;
    element('offer-text').textContent = state.offer;
    element('learn-anew').disabled = Boolean(state.busy);
    const notes = [state.note, ...state.notes].filter(Boolean).join('; ');
    element('note').hidden = !notes;
    element('note').textContent = notes;
  }

  function drawAll() {
    document.title = `${state.title}: teach names`;
    element('title').textContent = state.title;
    element('file').textContent = state.problem ? `not saved: ${state.file}` : state.version && state.classes.length ? `saved in ${state.file}` : `will be saved in ${state.file}`;
    element('undo').disabled = !state.undo;
    element('redo').disabled = !state.redo;
    showProblem();
    drawFrame();
    drawStrip();
    drawPanel();
    describe();
    if (open) listKnown();
    hint();
    if (element('use').open) drawUse();
  }

  // Use it -----------------------------------------------------------------------------------------------------------

  const free = new Set();
  function drawUse() {
    element('use-file').textContent = state.file;
    const texts = state.commands.map((one) => `# ${one.title}\n${one.text.replaceAll('{min_confidence}', least().toFixed(2))}`);
    element('use-node').textContent = texts.join('\n');
    const names = state.classes.map((one) => one.name);
    element('use-free').replaceChildren(
      ...names.map((name) => {
        const row = document.createElement('li');
        const label = document.createElement('label');
        const tick = document.createElement('input');
        tick.type = 'checkbox';
        tick.checked = free.has(name);
        tick.addEventListener('change', () => {
          free[tick.checked ? 'add' : 'delete'](name);
          element('use-nav2').textContent = nav2(names);
        });
        label.append(tick, name);
        row.append(label);
        return row;
      }),
    );
    element('use-nav2').textContent = nav2(names);
  }

  function nav2(names) {
    const kinds = [
      ['free', names.filter((name) => free.has(name)), 'base_cost: 0, max_cost: 0'],
      ['danger', names.filter((name) => !free.has(name)), 'base_cost: 100, max_cost: 254'],
    ].filter(([, of]) => of.length);
    // JSON's texts are YAML's, too.
    const lines = kinds.map(([kind, of, cost]) => `          ${kind}: {classes: [${of.map((name) => JSON.stringify(name)).join(', ')}], ${cost}, mark_confidence: 100, samples_to_max_cost: 2}`);
    return [
      '# The node: depth: true, points.organized: true; it starts before Nav2.',
      'local_costmap:', '  local_costmap:', '    ros__parameters:', '      plugins: [semantic_layer, inflation_layer]', '      semantic_layer:',
      '        plugin: "semantic_segmentation_layer::SemanticSegmentationLayer"', '        observation_sources: diffcut', '        use_approximate_time_sync: false',
      '        diffcut:', '          segmentation_topic: ' + state.node + '/classes', '          confidence_topic: ' + state.node + '/confidence', '          labels_topic: ' + state.node + '/class_info',
      '          pointcloud_topic: ' + state.node + '/points', '          use_cost_selection: false', `          class_types: [${kinds.map(([kind]) => kind).join(', ')}]`, ...lines,
    ].join('\n');
  }

  async function copy(id) {
    await navigator.clipboard.writeText(element(id).textContent);
    toast('Copied.');
  }

  // Mouse, fingers, keys ---------------------------------------------------------------------------------------------

  let hiding = 0;
  function toast(text) {
    element('toast').textContent = text;
    element('toast').hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { element('toast').hidden = true; }, 4000);
  }

  function pixel(event) {
    const box = element('stage').getBoundingClientRect();
    const frame = frames[current];
    const clamp = (value, below) => Math.max(0, Math.min(below - 1, Math.floor(value)));
    return [clamp(((event.clientX - box.left) / box.width) * frame.width, frame.width), clamp(((event.clientY - box.top) / box.height) * frame.height, frame.height)];
  }

  const inNamer = (event) => event.target.closest('#namer');

  function click(event) {
    if (inNamer(event) || current < 0) return;
    if (open) leave();
    aimAt(...pixel(event));
    aim.keys = false;
    openNamer('What is this?');
  }

  function walk(dx, dy, small) {
    const frame = frames[current];
    const by = Math.max(1, Math.round((small ? SMALL_STEP : STAGE_STEP) * frame.width));
    const [x, y] = aim ? [aim.x + dx * by, aim.y + dy * by] : [frame.width >> 1, frame.height >> 1];
    aimAt(Math.max(0, Math.min(frame.width - 1, x)), Math.max(0, Math.min(frame.height - 1, y)));
    aim.keys = true;
    describe();
  }

  function turn(by) {
    if (!frames.length) return;
    leave();
    show((current + by + frames.length) % frames.length);
  }

  function key(event) {
    const control = event.ctrlKey || event.metaKey;
    if (document.querySelector('dialog[open]')) return;
    const letter = event.key.toLowerCase();
    if (control && (letter === 'z' || letter === 'y')) {
      if (event.target.tagName === 'INPUT' && event.target.value) return;
      event.preventDefault();
      act(letter === 'y' || event.shiftKey ? 'redo' : 'undo');
      return;
    }
    if (control || event.altKey || event.target.matches('input:not([type="checkbox"])')) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const keys = {
      n: () => turn(1), p: () => turn(-1), u: () => act('undo'), r: () => act('redo'), l: propose, c: () => state.classes.length && ask(),
      h: () => element('colored').click(), '?': () => element('help').showModal(), '+': () => step(1), '=': () => step(1), '-': () => step(-1),
      pageup: () => step(1), pagedown: () => step(-1), escape: leave,
    };
    if (arrows[event.key] && current >= 0) {
      event.preventDefault();
      walk(...arrows[event.key], event.shiftKey);
    } else if ((event.key === 'Enter' || event.key === ' ') && (event.target === element('stage') || event.target === document.body)) {
      event.preventDefault();
      if (!aim) walk(0, 0);
      aim.keys = true;
      openNamer('What is this?');
    } else if (/^[1-9]$/.test(event.key) && aim && state.classes[event.key - 1]) {
      accept(state.classes[event.key - 1].name);
    } else if (keys[letter]) {
      event.preventDefault();
      keys[letter]();
    }
  }

  function keyInName(event) {
    event.stopPropagation();
    const found = matching();
    const empty = !element('name').value;
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key === 'Escape') leave();
    else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'z' && empty) key(event);
    else if (event.key === 'PageUp' || event.key === 'PageDown') {
      if (mode !== 'check') step(event.key === 'PageUp' ? 1 : -1);
    } else if (steps[event.key] && found.length) {
      selected = Math.max(-1, Math.min(found.length - 1, selected + steps[event.key]));
      listKnown();
    } else if (event.key === 'Tab' && !event.shiftKey && !empty && found.length && found[0].name !== element('name').value) {
      element('name').value = found[Math.max(0, selected)].name;
      selected = -1;
      listKnown();
    } else if (empty && /^[1-9]$/.test(event.key) && state.classes[event.key - 1]) accept(state.classes[event.key - 1].name);
    else return;
    event.preventDefault();
  }

  function connect() {
    const stage = element('stage');
    stage.addEventListener('pointermove', (event) => {
      if (open || inNamer(event) || event.pointerType === 'touch' || current < 0) return;
      aimAt(...pixel(event));
      aim.keys = false;
      describe();
    });
    stage.addEventListener('pointerleave', () => {
      if (open || (aim && aim.keys)) return;
      aim = null;
      light();
    });
    stage.addEventListener('click', click);
    stage.addEventListener('wheel', (event) => {
      if (event.ctrlKey || event.target.closest('#known') || mode === 'check' || !event.deltaY) return;
      event.preventDefault();
      step(event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    document.querySelectorAll('[data-level]').forEach((one) => one.addEventListener('click', () => step(Number(one.dataset.level))));
    element('namer').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = selected >= 0 ? matching()[selected].name : element('name').value.trim() || open.first;
      if (name) accept(name);
    });
    element('name').addEventListener('keydown', keyInName);
    element('name').addEventListener('input', () => {
      selected = -1;
      if (mode === 'check') element('accept').textContent = element('name').value || !open.first ? 'Name' : 'Right';
      listKnown();
    });
    element('skip').addEventListener('click', skip);
    element('none').addEventListener('click', () => accept(''));
    element('undo').addEventListener('click', () => act('undo'));
    element('redo').addEventListener('click', () => act('redo'));
    element('save').addEventListener('click', () => act('save'));
    element('learn-anew').addEventListener('click', () => act('learn_anew'));
    element('propose').addEventListener('click', propose);
    element('check').addEventListener('click', ask);
    element('check-anew').addEventListener('click', () => act('ask_anew'));
    element('previous').addEventListener('click', () => turn(-1));
    element('next').addEventListener('click', () => turn(1));
    element('colored').addEventListener('change', drawAll);
    element('confidence').value = localStorage.getItem(KEPT) || 0;
    element('confidence').addEventListener('input', () => {
      localStorage.setItem(KEPT, least());
      drawAll();
    });
    element('help-open').addEventListener('click', () => element('help').showModal());
    element('use-open').addEventListener('click', () => {
      drawUse();
      element('use').showModal();
    });
    element('copy-node').addEventListener('click', () => copy('use-node'));
    element('copy-nav2').addEventListener('click', () => copy('use-nav2'));
    document.addEventListener('keydown', key);
  }

  async function begin() {
    connect();
    await poll();
    for (;;) {
      await new Promise((done) => { setTimeout(done, POLL_MS); });
      if (!document.hidden) await poll();
    }
  }
  begin();
})();
