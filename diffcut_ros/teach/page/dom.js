// What all scripts of the page show things with.

const TOLD_MS = 4000;

export const element = (id) => document.getElementById(id);

// Returns a new element; text is text, never markup.
export function make(tag, className = '', text = '') {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// Returns a button; its control says which of a row's it is.
export function makeButton(text, control, act) {
  const made = make('button', control, text);
  made.type = 'button';
  made.dataset.control = control;
  made.addEventListener('click', act);
  return made;
}

export function entitle(node, title) {
  node.title = title;
  node.setAttribute('aria-label', title);
}

let hiding = 0;
export function toast(text) {
  element('toast').textContent = text;
  element('toast').hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { element('toast').hidden = true; }, TOLD_MS);
}

// Shows one child for each item. A child stays as long as its item's key does, and with it the focus; where it goes, the
// same control of its neighbour gets the focus.
export function showRows(parent, items, keyOf, create, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = document.activeElement;
  const at = [...parent.children].findIndex((child) => child.contains(focused));
  const after = items.map((item, k) => {
    const key = String(keyOf(item));
    const child = before.get(key) ?? create(item);
    before.delete(key);
    child.dataset.key = key;
    update(child, item, k);
    return child;
  });
  before.forEach((child) => child.remove());
  after.forEach((child, k) => { if (parent.children[k] !== child) parent.insertBefore(child, parent.children[k] ?? null); });
  if (at < 0 || document.activeElement === focused) return;
  const neighbour = after[Math.min(at, after.length - 1)]?.querySelector(`[data-control="${focused.dataset.control}"]`);
  const next = focused.isConnected ? focused : neighbour ?? parent.closest('li')?.querySelector('button') ?? element('stage');
  next.focus({ preventScroll: true });
}
