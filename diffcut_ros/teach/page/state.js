// What the page knows: the state that the server tells, the frames, and what the person is doing.
import { element, toast } from '/dom.js';

const [POLL_MS, PATIENCE_MS] = [1000, 30000];
const root = document.documentElement;

// What the person is doing.
//   mode: 'name' what was clicked on, 'propose' what helps most, 'check' whether an answer is right
//   current: the frame that is shown large; -1: none yet
//   aim: what lights up: frame, place, the run of parts (null: the node's segment), its pixels, the level
//   question: frame and label of what 'propose' and 'check' ask about
//   asking: whether the name box is open
//   chosen: which row of its list is chosen; -1: none
//   passed, skipped: questions of 'propose' and of 'check' that were left out, each [frame, label]
//   lastName: that was given last; empty: none, or it is no name any more
//   busy: whether something is on its way to the server; nothing else is done meanwhile
export const now = {
  mode: 'name', current: -1, aim: null, question: null, asking: false, chosen: -1, passed: [], skipped: [], lastName: '', busy: false,
};
export let state = null;
export const frames = [];
export let unreachable = false;

// Who draws is told: 'state' is another, 'frame' is loaded, 'server' answers again, or not.
const tell = (what) => document.dispatchEvent(new Event(what));

// The server -------------------------------------------------------------------------------------------------------

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `status ${response.status}`);
  return response.status === 204 ? null : response.json();
}

// Does one thing after the other, so that no key or click is for something that is not shown any more.
export async function alone(work) {
  if (now.busy) return;
  now.busy = true;
  root.dataset.busy = 'true';
  try {
    await work();
  } finally {
    now.busy = false;
    delete root.dataset.busy;
  }
}

// Has the server do something; shows what it says against it, and returns whether it was done, and its answer.
export async function act(action, given = {}) {
  let response, told;
  try {
    const body = JSON.stringify(given);
    const headers = { 'Content-Type': 'application/json' };
    response = await fetch(`/do/${action}`, { method: 'POST', headers, body, signal: AbortSignal.timeout(PATIENCE_MS) });
    told = await response.json();
  } catch {
    reached(false);
    return { done: false };
  }
  reached(true);
  if (!response.ok) {
    toast(told.error);
    await poll();
    return { done: false };
  }
  receive(told.state);
  return { done: true, answer: told.answer };
}

export const doAlone = (action, given) => alone(() => act(action, given));

const waiting = [];
function reached(is) {
  if (unreachable === is) {
    unreachable = !is;
    tell('server');
  }
  if (is) waiting.splice(0).forEach((go) => go());
}

async function poll() {
  let found;
  try {
    found = await get(`/state?key=${encodeURIComponent(state ? state.key : '')}`);
  } catch {
    reached(false);
    return;
  }
  reached(true);
  if (found) receive(found);
}

export function keepPolling() {
  const later = () => setTimeout(() => (document.hidden ? Promise.resolve() : poll()).finally(later), POLL_MS);
  poll().finally(later);
}

function receive(found) {
  const start = (one) => one.key.split('-')[0];
  if (state && start(state) !== start(found)) {
    location.reload(); // another start of the program may show other frames
    return;
  }
  if (state && found.version < state.version) return; // older than what is known
  const lastId = state?.classes.find((one) => one.name === now.lastName)?.id;
  const first = !state;
  state = found;
  if (!isName(now.lastName)) now.lastName = classOf(lastId)?.name ?? ''; // renamed, or forgotten
  if (first) element('confidence').value = stored('localStorage', confidenceKey()) ?? state.min_confidence;
  while (frames.length < state.frames) frames.push(newFrame(frames.length));
  tell('state');
  if (first) loaded();
  root.dataset.version = state.version;
}

// Frames -----------------------------------------------------------------------------------------------------------

function newFrame(index) {
  const frame = { index, image: new Image(), loaded: false, problem: '' };
  loadFrame(frame);
  return frame;
}

async function loadFrame(frame) {
  while (!frame.loaded) {
    try {
      const data = await get(`/frame/${frame.index}`);
      frame.image.src = `/image/${frame.index}`;
      const [parts, labels] = await Promise.all([hierarchy.unpackMap(data.parts), hierarchy.unpackMap(data.labels), frame.image.decode()]);
      const [width, height] = data.size;
      if (labels.length !== width * height) throw new Error('it came in part');
      Object.assign(frame, data, { parts, labels, width, height });
      frame.areas = hierarchy.areas(labels, data.places.length + 1);
      frame.segments = hierarchy.segmentOfParts(data.taus, data.tau);
      Object.assign(frame, { loaded: true, problem: '' });
    } catch (error) {
      frame.problem = error.message;
      tell('server');
      await new Promise((go) => { waiting.push(go); }); // for the server's next answer
    }
  }
  tell('server');
  loaded();
}

function loaded() {
  tell('frame');
  if (frames.every((one) => one.loaded)) root.dataset.ready = 'true';
}

// Returns the frames as they follow each other; those that are not there yet come last.
export function inOrder() {
  const at = (one) => (one.loaded ? one.at_s : Infinity);
  return [...frames].sort((a, b) => (at(a) === at(b) ? a.index - b.index : at(a) - at(b)));
}

// Names, confidence, figures ---------------------------------------------------------------------------------------

export const classOf = (id) => state.classes.find((one) => one.id === id);
export const nameOf = (id) => classOf(id)?.name ?? 'unknown';
export const isName = (name) => state.classes.some((one) => one.name === name);
export const rgb = (color) => `rgb(${color.join(' ')})`;
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 && share > 0 ? 1 : 0)}\u00a0%`;
export const times = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;

// A name as it is kept, and what all spellings of a name have in common that people take for the same.
export const tidy = (text) => text.normalize('NFC').trim();
export const alike = (text) => text.normalize('NFKC').toLowerCase();

const confidenceKey = () => `diffcut_teach confidence ${state.file}`;
export const minConfidence = () => element('confidence').valueAsNumber;
export const keepConfidence = () => stored('localStorage', confidenceKey(), minConfidence());

// Returns the class of each segment of a frame as it is shown: 0 for what is not sure enough.
export function shownClasses(index) {
  const answers = state.answers[index];
  const least = minConfidence();
  return answers.class.map((id, k) => (answers.confidence[k] >= least ? id : 0));
}

// Returns what the browser keeps, or has it kept; a browser that keeps nothing is no obstacle.
export function stored(storage, key, value) {
  try {
    if (value === undefined) return window[storage].getItem(key);
    window[storage].setItem(key, value);
  } catch {
    // private window
  }
  return null;
}
