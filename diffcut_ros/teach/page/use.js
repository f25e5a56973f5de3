// "Use it": what a robot needs.
import { element, entitle, make, makeButton, showRows } from '/dom.js';
import { minConfidence, state } from '/state.js';

const COPIED_MS = 2500;
// Names of what the robot may drive on.
const drivable = new Set();

export function openUse() {
  drawUse();
  element('use').showModal();
}

export function drawUse() {
  element('use-file').textContent = state.file;
  const commands = state.commands.map(({ title, text }) => ({ title, text: text.replaceAll('{min_confidence}', minConfidence().toFixed(2)) }));
  showRows(element('use-node'), commands, (one) => one.title, block, drawBlock);
  showRows(element('use-free'), state.classes, (one) => one.name, tickRow, (row, one) => { row.querySelector('input').checked = drivable.has(one.name); });
  const names = state.classes.map((one) => one.name);
  const ticked = names.some((name) => drivable.has(name));
  element('use-tick').hidden = ticked;
  element('use-tick').textContent = names.length ? 'Nothing is ticked: tick what the robot may drive on, and the parameters appear here.' : 'There are no names yet.';
  showRows(element('use-nav2'), ticked ? [{ title: '', text: nav2(names) }] : [], () => 'nav2', block, drawBlock);
}

// A text with a button that copies it.
function block() {
  const made = make('div', 'block');
  const text = make('pre');
  text.tabIndex = 0;
  made.append(make('h4'), makeButton('Copy', 'copy', (event) => copy(text, event.target)), text);
  return made;
}

function drawBlock(made, { title, text }) {
  made.querySelector('h4').textContent = title;
  made.querySelector('pre').textContent = text;
  entitle(made.querySelector('button'), `Copy: ${title || 'Nav2'}`);
}

async function copy(text, by) {
  try {
    await navigator.clipboard.writeText(text.textContent); // not there on http from another machine
    by.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(text);
    by.textContent = 'Selected: press Ctrl+C';
  }
  setTimeout(() => { by.textContent = 'Copy'; }, COPIED_MS);
}

function tickRow({ name }) {
  const row = make('li');
  const label = make('label');
  const tick = make('input');
  tick.type = 'checkbox';
  tick.addEventListener('change', () => {
    drivable[tick.checked ? 'add' : 'delete'](name);
    drawUse();
  });
  label.append(tick, name);
  row.append(label);
  return row;
}

function nav2(names) {
  const kinds = [
    ['free', names.filter((name) => drivable.has(name)), 'base_cost: 0, max_cost: 0'],
    ['danger', names.filter((name) => !drivable.has(name)), 'base_cost: 100, max_cost: 254'],
  ].filter(([, of]) => of.length);
  // JSON's texts are YAML's, too.
  const lines = kinds.map(([kind, of, cost]) => `          ${kind}: {classes: [${of.map((name) => JSON.stringify(name)).join(', ')}], ${cost}, mark_confidence: 100, samples_to_max_cost: 2}`);
  return [
    '# The node: depth: true, points.organized: true; it starts before Nav2.',
    'local_costmap:', '  local_costmap:', '    ros__parameters:', '      plugins: [semantic_layer, inflation_layer]', '      semantic_layer:',
    '        plugin: "semantic_segmentation_layer::SemanticSegmentationLayer"', '        observation_sources: diffcut', '        use_approximate_time_sync: false',
    '        diffcut:', `          segmentation_topic: ${state.node}/classes`, `          confidence_topic: ${state.node}/confidence`, `          labels_topic: ${state.node}/class_info`,
    `          pointcloud_topic: ${state.node}/points`, '          use_cost_selection: false', `          class_types: [${kinds.map(([kind]) => kind).join(', ')}]`, ...lines,
  ].join('\n');
}
