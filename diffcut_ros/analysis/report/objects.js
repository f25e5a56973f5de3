'use strict';
// The map of objects from above: click one, and see what it is.
(() => {
  const plan = JSON.parse(document.getElementById('data').textContent).plan;
  if (!plan || !plan.objects.length) return;
  const element = (id) => document.getElementById(id);
  const SVG = 'http://www.w3.org/2000/svg';
  // Room for the labels of the axes, px; the height of the plan as a share of the window's.
  const MARGIN = { left: 60, right: 8, top: 8, bottom: 42 };
  const TALLEST = 0.7;
  const box = element('plan');
  const title = (one) => one.name || String(one.id);
  const area = ({ corners: [a, b, c] }) => Math.hypot(b[0] - a[0], b[1] - a[1]) * Math.hypot(c[0] - b[0], c[1] - b[1]);
  // What is small lies on top, so that it can be clicked on.
  const drawn = [...plan.objects].sort((one, other) => area(other) - area(one));
  let chosen = plan.objects[0];
  // Both colours: the switch of the page decides which one is worn.
  const colors = (one) => `--by-track: ${one.color}` + (one.class_color ? `; --by-class: ${one.class_color}` : '');

  function add(parent, name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  // A step of 1, 2 or 5 times a power of ten.
  function step(length, most) {
    const least = length / most;
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((times) => times * power >= least);
  }

  function drawAxes(svg, x, y, [x0, y0, x1, y1], scale) {
    const [left, right, top, bottom] = [x(x0), x(x1), y(y1), y(y0)];
    const size = step(Math.max(x1 - x0, y1 - y0), Math.max(3, (Math.max(x1 - x0, y1 - y0) * scale) / 70));
    const places = (low, high) =>
      Array.from({ length: Math.floor(high / size) - Math.ceil(low / size) + 1 }, (_, k) => (Math.ceil(low / size) + k) * size);
    const digits = Math.max(0, -Math.floor(Math.log10(size) + 1e-9));
    places(x0, x1).forEach((value) => {
      add(svg, 'line', { class: 'grid', x1: x(value), x2: x(value), y1: top, y2: bottom });
      add(svg, 'text', { class: 'tick', x: x(value), y: bottom + 16, 'text-anchor': 'middle' }, value.toFixed(digits));
    });
    places(y0, y1).forEach((value) => {
      add(svg, 'line', { class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value) });
      add(svg, 'text', { class: 'tick', x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toFixed(digits));
    });
    add(svg, 'text', { class: 'tick', x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle' }, `x of ${plan.frame}, m`);
    add(svg, 'text', { class: 'tick', transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, `y of ${plan.frame}, m`);
  }

  // Names of large objects first; where one has no room, it is left out until its object is chosen.
  function drawNames(svg, x, y) {
    const taken = [];
    [chosen, ...drawn].forEach((one, index) => {
      if (index && one === chosen) return;
      const [cx, cy] = [0, 1].map((k) => one.corners.reduce((sum, corner) => sum + corner[k], 0) / 4);
      const label = add(svg, 'text', { class: 'name', x: x(cx), y: y(cy) + 4, 'text-anchor': 'middle' }, title(one));
      const room = label.getBBox();
      const meets = (other) =>
        room.x < other.x + other.width + 2 && other.x < room.x + room.width + 2 && room.y < other.y + other.height && other.y < room.y + room.height;
      if (taken.some(meets)) label.remove();
      else taken.push(room);
    });
  }

  function draw() {
    const [x0, y0, x1, y1] = plan.extent;
    const across = box.clientWidth - MARGIN.left - MARGIN.right;
    // Without room, as in a page that is not yet laid out: it is drawn once there is some.
    if (across <= 0) return;
    const scale = Math.min(across / (x1 - x0), (TALLEST * window.innerHeight) / (y1 - y0));
    const [width, height] = [box.clientWidth, scale * (y1 - y0) + MARGIN.top + MARGIN.bottom];
    const start = MARGIN.left + (across - scale * (x1 - x0)) / 2;
    const x = (value) => start + scale * (value - x0);
    const y = (value) => MARGIN.top + scale * (y1 - value);
    const svg = document.createElementNS(SVG, 'svg');
    Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` }).forEach(([key, value]) => svg.setAttribute(key, value));
    box.replaceChildren(svg);
    drawAxes(svg, x, y, plan.extent, scale);
    const [left, bottom, wide, tall] = plan.ground.place;
    add(svg, 'image', {
      ...{ href: plan.ground.image, class: 'ground', preserveAspectRatio: 'none' },
      ...{ x: x(left), y: y(bottom + tall), width: scale * wide, height: scale * tall },
    });
    drawn.forEach((one) => {
      const points = one.corners.map(([a, b]) => `${x(a)},${y(b)}`).join(' ');
      const shape = add(svg, 'polygon', { points, class: 'own', 'data-object': one.id, style: colors(one) });
      add(shape, 'title', {}, title(one));
      shape.addEventListener('click', () => choose(one));
    });
    const around = svg.querySelector(`[data-object="${chosen.id}"]`).getAttribute('points');
    add(svg, 'polygon', { points: around, class: 'chosen own', style: colors(chosen) });
    drawNames(svg, x, y);
  }

  function line(name, text) {
    const row = document.createElement('div');
    const [term, value] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = name;
    value.textContent = text;
    row.append(term, value);
    return row;
  }

  function choose(one) {
    chosen = one;
    element('object-title').textContent = one.name ? `${one.name} · ${one.id}` : `Object ${one.id}`;
    element('object-swatch').style = colors(one);
    const picture = element('object-picture');
    picture.hidden = !one.picture;
    if (one.picture) picture.src = one.picture;
    picture.alt = `Best view of object ${one.id}, at ${one.best}`;
    const metres = (values) => values.map((value) => value.toFixed(2));
    element('object-facts').replaceChildren(
      ...(one.name ? [line('Class', `${one.name}${one.confidence ? `, confidence ${one.confidence}` : ''}`)] : []),
      ...(one.views ? [line('Seen', `${one.first} to ${one.last}`)] : []),
      line('Views', one.views ? `${one.views.toLocaleString('en')}, of which an image may show several` : 'none: all segments lie mostly in other objects'),
      line('Track ids', one.tracks.toLocaleString('en')),
      ...(one.best ? [line('Best view', one.whole ? one.best : `${one.best}, cut off by the image's edge`)] : []),
      line('Size', `${metres(one.size).join(' × ')} m`),
      line('Position', `${metres(one.position).join(', ')} m`),
    );
    document.querySelectorAll('#object-list button').forEach((button) =>
      button.setAttribute('aria-pressed', String(button.dataset.object === String(one.id))),
    );
    draw();
  }

  plan.objects.forEach((one) => {
    const [item, button, swatch] = ['li', 'button', 'i'].map((name) => document.createElement(name));
    button.type = 'button';
    button.dataset.object = one.id;
    swatch.className = 'swatch own';
    swatch.style = colors(one);
    button.append(swatch, one.name ? `${one.name} · ${one.id}` : String(one.id));
    button.addEventListener('click', () => choose(one));
    item.append(button);
    element('object-list').append(item);
  });
  choose(chosen);
  let width = box.clientWidth;
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  }).observe(box);
})();
