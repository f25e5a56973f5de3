// The page: mouse, fingers and keys, and what is drawn when.
import { element, toast } from '/dom.js';
import { accept, ask, drawNamer, hint, keepTyped, keyInName, leave, openNamer, propose, restoreTyped, skip, submit, whenTyped } from '/asking.js';
import { aimAt, describe, drawFrame, drawMarks, drawStrip, showFrame, step } from '/drawing.js';
import { drawPanel } from '/panel.js';
import { alone, doAlone, frames, inOrder, keepConfidence, keepPolling, now, state, times, unreachable } from '/state.js';
import { drawUse, openUse } from '/use.js';

// Shares of the frame's width that arrow keys go.
const [STAGE_STEP, SMALL_STEP] = [0.03, 0.004];
// Of wheels, px: a level; what a wheel with notches turns at least; the pauses after a level, ms.
const [LEVEL_PX, NOTCH_PX, NOTCH_MS, PAUSE_MS] = [60, 66, 30, 150];

// What is drawn ----------------------------------------------------------------------------------------------------

function drawAll() {
  if (!state) return;
  document.title = `${state.title}: teach names`;
  element('title').textContent = state.title;
  element('undo').disabled = !state.undo;
  element('redo').disabled = !state.redo;
  drawServer();
  drawFrame();
  drawStrip(choose);
  drawPanel();
  describe();
  if (now.asking) drawNamer();
  hint();
  if (element('use').open) drawUse();
  // What has the focus may be gone, or off.
  const focused = document.activeElement;
  if (focused !== document.body && (focused.disabled || !focused.getClientRects().length)) element('stage').focus({ preventScroll: true });
}

// Whether all is well, and saved.
function drawServer() {
  const failed = frames.filter((one) => one.problem);
  const problem = unreachable ? 'The program does not answer. This page goes on when it does; all that was saved is in the file.'
    : state?.problem || (failed.length ? `${times(failed.length, 'frame')} could not be loaded, and ${failed.length === 1 ? 'is' : 'are'} tried again: ${failed[0].problem}` : '');
  element('problem').hidden = !problem;
  element('problem-text').textContent = problem;
  element('save').hidden = unreachable || !state?.problem;
  if (!state) return;
  const saved = state.classes.length || state.undo || state.redo;
  element('dot').className = `dot ${unreachable ? '' : state.problem ? 'unsaved' : saved ? 'saved' : ''}`;
  element('file').textContent = state.problem ? `not saved: ${state.file}` : saved ? `saved in ${state.file}` : `will be saved in ${state.file}`;
  element('offer').hidden = !state.offer;
  element('offer-text').textContent = state.offer;
  element('learn-anew').disabled = Boolean(state.busy);
  const notes = [state.note, ...state.notes].filter(Boolean).join('; ');
  element('note').hidden = !notes;
  element('note').textContent = notes;
}

let waits = false;
function drawSoon() {
  if (waits) return;
  waits = true;
  requestAnimationFrame(() => {
    waits = false;
    drawAll();
  });
}

// Another frame is there.
let restored = false;
function whenLoaded() {
  if (now.current < 0 && frames.length && (frames[0].loaded || frames[0].problem)) {
    const first = inOrder()[0];
    if (first.loaded) showFrame(first.index);
  }
  drawSoon();
  if (!restored && frames.every((one) => one.loaded)) {
    restored = true;
    restoreTyped();
  }
}

// Shows in the strip which frame is large.
function showPlace() {
  drawStrip(choose);
  element('frames').querySelector('[aria-current="true"]').scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

function choose(index) {
  leave();
  showFrame(index);
  showPlace();
}

function turn(by) {
  const ordered = inOrder().filter((one) => one.loaded);
  if (now.current < 0 || !ordered.length) return;
  choose(ordered[(ordered.indexOf(frames[now.current]) + by + ordered.length) % ordered.length].index);
}

// Mouse and fingers ------------------------------------------------------------------------------------------------

function pixel(event) {
  const box = element('stage').getBoundingClientRect();
  const frame = frames[now.current];
  const clamp = (value, below) => Math.max(0, Math.min(below - 1, Math.floor(value)));
  return [clamp(((event.clientX - box.left) / box.width) * frame.width, frame.width), clamp(((event.clientY - box.top) / box.height) * frame.height, frame.height)];
}

function click(event) {
  if (now.current < 0) return;
  if (now.asking) leave();
  aimAt(...pixel(event), false);
  openNamer();
}

// A wheel with notches goes one level with each; of a trackpad, small turns add up.
let [turned, next] = [0, 0];
function wheel(event) {
  if (event.ctrlKey || now.mode === 'check' || !event.deltaY) return;
  event.preventDefault();
  const notch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= NOTCH_PX;
  if (event.timeStamp < next) return;
  turned = Math.sign(turned) === -Math.sign(event.deltaY) ? event.deltaY : turned + event.deltaY;
  if (!notch && Math.abs(turned) < LEVEL_PX) return;
  turned = 0;
  next = event.timeStamp + (notch ? NOTCH_MS : PAUSE_MS);
  step(event.deltaY < 0 ? 1 : -1);
}

// Keys -------------------------------------------------------------------------------------------------------------

// While an answer is on its way, keys and clicks do nothing, and the page says so. A key that is held, and a double click,
// act once: what they act on next is something else.
function guard(event) {
  if (event.target.closest?.('dialog')) return;
  const key = event.key ?? '';
  const held = event.repeat && /^(Enter|\d)$/.test(key);
  const harmless = key && (/^(Tab|F\d+|Shift|Control|Alt|AltGraph|Meta)$/.test(key) || ((event.ctrlKey || event.metaKey) && !/^[yz]$/i.test(key)));
  const again = held || (event.detail > 1 && event.target.closest?.('#namer, .names') && !event.target.closest('[data-level]'));
  if (!again && (!now.busy || harmless)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (!again) toast('One moment: the last answer is still on its way. This key or click did nothing.');
}

function walk([dx, dy], small) {
  if (now.asking) leave();
  const frame = frames[now.current];
  const by = Math.max(1, Math.round((small ? SMALL_STEP : STAGE_STEP) * frame.width));
  const { aim } = now;
  const [x, y] = aim ? [aim.x + dx * by, aim.y + dy * by] : [frame.width >> 1, frame.height >> 1];
  aimAt(Math.max(0, Math.min(frame.width - 1, x)), Math.max(0, Math.min(frame.height - 1, y)), true);
}

const KEYS = {
  n: () => turn(1), p: () => turn(-1), u: () => doAlone('undo'), r: () => doAlone('redo'), l: () => alone(propose),
  c: () => state.classes.length && alone(ask), h: () => element('colored').click(), '?': () => element('help').showModal(),
  '+': () => step(1), '=': () => step(1), '-': () => step(-1), escape: leave,
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Keys on the frame itself.
function keyOnFrame(event) {
  const levels = { PageUp: 1, PageDown: -1 };
  if (now.current < 0) return false;
  if (ARROWS[event.key]) walk(ARROWS[event.key], event.shiftKey);
  else if (levels[event.key]) step(levels[event.key]);
  else if (event.key === 'Enter' || event.key === ' ') {
    if (now.asking) element('name').focus();
    else {
      if (!now.aim) walk([0, 0]);
      openNamer();
    }
  } else if (/^[1-9]$/.test(event.key) && now.aim && !now.asking && state.classes[event.key - 1]) {
    alone(() => accept(state.classes[event.key - 1].name));
  } else return false;
  return true;
}

// Keys in the strip of frames, which is one stop of Tab.
function keyInStrip(event) {
  const stops = [...document.querySelectorAll('#strip button:not(:disabled, [hidden])')];
  const at = stops.indexOf(document.activeElement);
  const to = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: stops.length - 1 }[event.key];
  if (to === undefined) return false;
  stops[to]?.focus();
  return true;
}

function key(event) {
  if (!state || document.querySelector('dialog[open]')) return;
  const { target } = event;
  const control = event.ctrlKey || event.metaKey;
  const letter = event.key.toLowerCase();
  if (control && (letter === 'z' || letter === 'y')) {
    if (target.tagName === 'INPUT' && target.value && target.type !== 'checkbox') return;
    event.preventDefault();
    doAlone(letter === 'y' || event.shiftKey ? 'redo' : 'undo');
    return;
  }
  if (control || event.altKey) return;
  if (target === element('name')) {
    keyInName(event);
    return;
  }
  if (target.matches('input:not([type="checkbox"])')) return;
  const onFrame = target === element('stage') || target === document.body;
  if ((onFrame && keyOnFrame(event)) || (target.closest('#strip') && keyInStrip(event))) event.preventDefault();
  else if (KEYS[letter]) {
    event.preventDefault();
    KEYS[letter]();
  }
}

// The beginning ----------------------------------------------------------------------------------------------------

function connect() {
  const on = (id, kind, act, options) => element(id).addEventListener(kind, act, options);
  ['keydown', 'click', 'submit'].forEach((kind) => document.addEventListener(kind, guard, true));
  document.addEventListener('keydown', key);
  // Who clicks goes on with keys on the frame; who came by Tab stays.
  document.addEventListener('click', (event) => {
    if (event.detail && event.target.closest('nav, .modes, .under, .strip') && !document.querySelector('dialog[open]')) element('stage').focus({ preventScroll: true });
  });
  on('stage', 'pointermove', (event) => {
    if (!now.asking && event.pointerType !== 'touch' && now.current >= 0) aimAt(...pixel(event), false);
  });
  on('stage', 'click', click);
  on('stage', 'wheel', wheel, { passive: false });
  document.querySelectorAll('[data-level]').forEach((one) => one.addEventListener('click', () => step(Number(one.dataset.level))));
  on('namer', 'submit', (event) => {
    event.preventDefault();
    submit();
  });
  on('name', 'input', whenTyped);
  on('skip', 'click', skip);
  on('none', 'click', () => alone(() => accept('')));
  on('undo', 'click', () => doAlone('undo'));
  on('redo', 'click', () => doAlone('redo'));
  on('save', 'click', () => doAlone('save'));
  on('learn-anew', 'click', () => doAlone('learn_anew'));
  on('more', 'click', () => doAlone('more', { count: Math.min(10, state.left) }));
  on('propose', 'click', () => alone(propose));
  on('check', 'click', () => alone(ask));
  on('check-anew', 'click', () => {
    now.skipped = [];
    doAlone('ask_anew');
  });
  on('previous', 'click', () => turn(-1));
  on('next', 'click', () => turn(1));
  on('colored', 'change', drawAll);
  on('confidence', 'input', () => {
    if (state) keepConfidence();
    drawAll();
  });
  on('help-open', 'click', () => element('help').showModal());
  on('use-open', 'click', () => state && openUse());
  document.addEventListener('state', () => {
    whenLoaded();
    drawAll();
  });
  document.addEventListener('frame', whenLoaded);
  document.addEventListener('shown', showPlace);
  document.addEventListener('server', drawServer);
  new ResizeObserver(() => state && drawMarks()).observe(element('stage'));
  addEventListener('pagehide', keepTyped);
}

connect();
keepPolling();
