'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const sweep = JSON.parse(document.getElementById('sweep-data').textContent);
  const element = (id) => document.getElementById(id);
  // Half of the slider's thumb, px: at both ends of the slider its value lies so far inside.
  const HALF_THUMB = 9;
  // As in the overlays: colours let the image through, borders do not.
  const OPACITY = 128;
  const CLASS_OPACITY = 166;

  // Plots -------------------------------------------------------------------------------------------------------------

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const byClass = () => document.documentElement.dataset.colors === 'class';
  // Of names, what Plotly would take for markup.
  const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const coarse = matchMedia('(pointer: coarse)').matches;

  function axis(more) {
    // Labels inside of a plot have a colour of their own unless told otherwise.
    const tickfont = { color: color('muted') };
    return { gridcolor: color('line'), zeroline: false, showline: false, ticks: '', tickfont, fixedrange: true, ...more };
  }

  function draw(id, traces, layout, more = {}) {
    const { fontFamily } = getComputedStyle(document.body);
    return Plotly.react(
      element(id),
      traces,
      {
        paper_bgcolor: 'rgba(0,0,0,0)',
        plot_bgcolor: 'rgba(0,0,0,0)',
        font: { family: fontFamily, size: 13, color: color('muted') },
        autosize: true,
        hoverlabel: { bgcolor: color('card'), bordercolor: color('line'), font: { color: color('ink'), size: 13 } },
        showlegend: false,
        // With a finger, a stroke over a plot is to move the page.
        dragmode: coarse ? false : 'zoom',
        ...layout,
      },
      { displayModeBar: false, responsive: true, ...more },
    );
  }

  // An axis of time that lines up with those of the other plots.
  function timeAxis(more) {
    const { seconds } = data.timelines;
    const length = seconds[seconds.length - 1] - seconds[0];
    return axis({
      title: { text: 'seconds since the first frame', standoff: 8, font: { size: 13 } },
      // A single moment has no time before or after it.
      ...(length ? { range: [seconds[0] - length / 200, seconds[seconds.length - 1] + length / 100] } : { range: [-1, 1], tickvals: [0] }),
      fixedrange: coarse,
      ...more,
    });
  }
  // Room between labels and the plot.
  const LABELS_AWAY = { ticks: 'outside', ticklen: 6, tickcolor: 'rgba(0,0,0,0)' };
  const TIME_MARGIN = { l: 48, r: 8, b: 48 };

  // Rows of lines with bands, one above the other over the same axis.
  function drawRows(id, x, xaxis, rows) {
    const gap = 0.13;
    const height = (1 - gap * (rows.length - 1)) / rows.length;
    const traces = [];
    const layout = {
      height: 70 + 140 * rows.length,
      margin: { ...TIME_MARGIN, t: 28 },
      hovermode: 'x unified',
      hoversubplots: 'axis',
      annotations: [],
      xaxis: { ...xaxis, ...LABELS_AWAY, showgrid: false, anchor: `y${rows.length > 1 ? rows.length : ''}` },
    };
    rows.forEach((row, index) => {
      const number = index ? index + 1 : '';
      const top = 1 - index * (height + gap);
      layout[`yaxis${number}`] = axis({ domain: [top - height, top], nticks: 4, rangemode: 'tozero', ...row.axis });
      layout.annotations.push({
        text: row.unit ? `${row.name}, ${row.unit}` : row.name,
        ...{ x: 0, xref: 'paper', xanchor: 'left', y: top, yref: 'paper', yanchor: 'bottom', yshift: 4 },
        ...{ showarrow: false, font: { color: color('ink') } },
      });
      const common = { x, yaxis: `y${number}`, type: 'scatter', mode: x.length > 1 ? 'lines' : 'markers' };
      const banded = row.low && row.low.some((value, i) => value !== row.high[i]);
      if (banded) {
        const edge = { ...common, line: { width: 0, color: 'rgba(0,0,0,0)' }, hoverinfo: 'skip' };
        traces.push({ ...edge, y: row.low }, { ...edge, y: row.high, fill: 'tonexty', fillcolor: color('band') });
      }
      traces.push({
        ...common,
        y: row.mean,
        name: row.name,
        line: { width: 1.5, color: color('accent') },
        marker: { color: color('accent') },
        customdata: banded ? row.low.map((value, i) => [value, row.high[i]]) : undefined,
        hovertemplate: `${row.name}: %{y:.4~g}${banded ? ' (%{customdata[0]} to %{customdata[1]})' : ''}<extra></extra>`,
      });
    });
    draw(id, traces, layout);
  }

  function drawTimelines() {
    const rows = data.timelines.lines.map((line) => (line.unit === '%' ? { ...line, axis: { range: [0, 105] } } : line));
    drawRows('timelines', data.timelines.seconds, timeAxis(), rows);
  }

  function drawTracks() {
    const bars = data.tracks.flatMap((track) => track.spans.map(([begin, end]) => ({ track, begin, end })));
    const seconds = data.timelines.seconds;
    // What was seen in one frame alone is still to be seen here.
    const shortest = Math.max(0.02, (seconds[seconds.length - 1] - seconds[0]) / 400);
    const trace = {
      type: 'bar',
      orientation: 'h',
      y: bars.map(({ track }) => String(track.id)),
      base: bars.map(({ begin }) => begin),
      x: bars.map(({ begin, end }) => Math.max(shortest, end - begin)),
      marker: { color: bars.map(({ track }) => (byClass() ? track.class_color : track.color)) },
      customdata: bars.map(({ track, begin, end }) => [begin, end, track.frames, track.class ? `, ${escaped(track.class)}` : '']),
      hovertemplate: 'track %{y}%{customdata[3]}: %{customdata[0]:.1f} to %{customdata[1]:.1f} s, in %{customdata[2]} frames in all<extra></extra>',
    };
    draw('tracks', [trace], {
      height: 56 + 16 * Math.max(2, data.tracks.length),
      margin: { ...TIME_MARGIN, t: 0 },
      bargap: 0.25,
      barmode: 'overlay',
      hovermode: 'closest',
      xaxis: timeAxis(),
      yaxis: axis({
        type: 'category',
        categoryorder: 'array',
        categoryarray: data.tracks.map(({ id }) => String(id)),
        autorange: 'reversed',
        showgrid: false,
        dtick: 1,
        tickfont: { size: 11, color: color('muted') },
        ...LABELS_AWAY,
      }),
    });
  }

  function drawSweep() {
    element('sweep-section').hidden = false;
    const share = { axis: { range: [0, 1.05] } };
    const rows = [
      {
        name: 'Segments of the cut per frame',
        mean: sweep.segments_mean,
        low: sweep.segments_p05,
        high: sweep.segments_p95,
        axis: { type: 'log', tickvals: [1, 10, 100, 1000, 10000] },
      },
      { name: 'Alike from frame to frame', mean: sweep.stability_in_time, ...share },
      { name: 'Alike from τ to τ', mean: sweep.stability_in_tau, ...share },
    ];
    drawRows('sweep', sweep.tau, axis({ title: { text: 'τ', standoff: 8 } }), rows);
  }

  // The slider --------------------------------------------------------------------------------------------------------

  const slider = element('tau');
  let frame = null;
  let tau = 0;

  // Unpacks what the slider needs of a frame, once.
  async function unpack(one) {
    if (one.map) return;
    const map = await hierarchy.unpackMap(one.parts);
    const [rgb, classRgb] = [hierarchy.bytes(one.colors), one.class_colors && hierarchy.bytes(one.class_colors)];
    const areas = hierarchy.areas(map, one.taus.length + 1);
    const levels = Float64Array.from(one.taus).sort();
    const distinct = [...new Set(levels)];
    Object.assign(one, { map, rgb, classRgb, areas, levels, distinct });
  }

  function paint() {
    const [width, height] = frame.size;
    const segments = hierarchy.segmentOfParts(frame.taus, tau);
    const largest = new Uint16Array(segments[segments.length - 1] + 1);
    const areas = new Uint32Array(largest.length);
    segments.forEach((segment, part) => {
      if (frame.areas[part] > areas[segment]) [areas[segment], largest[segment]] = [frame.areas[part], part];
    });
    const canvas = element('segments');
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext('2d');
    const picture = context.createImageData(width, height);
    const { map } = frame;
    // What is named is a place, not the segment that a cut puts it into: by class, each part has its own colour.
    const [rgb, opacity, wears] = byClass()
      ? [frame.classRgb, CLASS_OPACITY, (part) => part]
      : [frame.rgb, OPACITY, (part) => largest[segments[part]]];
    for (let y = 0, i = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        const segment = segments[map[i]];
        const border = (x && segments[map[i - 1]] !== segment) || (y && segments[map[i - width]] !== segment);
        const from = 3 * wears(map[i]);
        picture.data[4 * i] = border ? 255 : rgb[from];
        picture.data[4 * i + 1] = border ? 255 : rgb[from + 1];
        picture.data[4 * i + 2] = border ? 255 : rgb[from + 2];
        picture.data[4 * i + 3] = border ? 255 : opacity;
      }
    }
    context.putImageData(picture, 0, 0);
    return largest.length;
  }

  // Room at the left of the curve, px, as much as the slider leaves there.
  const numbersWidth = () => parseFloat(getComputedStyle(slider).marginLeft);
  const below = (levels, value) => levels.filter((level) => level < value).length;

  function drawCurve() {
    const ends = [0, ...frame.levels, frame.deepest];
    const counts = ends.map((_, index) => Math.min(index + 1, frame.levels.length + 1));
    const accent = color('accent');
    const traces = [
      { x: ends, y: counts, type: 'scatter', mode: 'lines', line: { shape: 'hv', width: 1.5, color: color('muted') }, hoverinfo: 'skip' },
      { x: frame.distinct, y: frame.distinct.map(() => 0.5), yaxis: 'y2', type: 'scatter', mode: 'markers', hoverinfo: 'skip',
        marker: { symbol: 'line-ns-open', size: 7, color: color('muted'), line: { width: 1, color: color('muted') } } },
      { x: [tau, tau], y: [1, below(frame.levels, tau) + 1], type: 'scatter', mode: 'lines+markers', hoverinfo: 'skip',
        line: { width: 1.5, color: accent }, marker: { size: [0, 9], color: accent, opacity: 1 }, cliponaxis: false },
    ];
    const most = frame.levels.length + 1;
    const none = { showgrid: false, showticklabels: false };
    draw(
      'curve',
      traces,
      {
        margin: { l: numbersWidth() + HALF_THUMB, r: HALF_THUMB, t: 8, b: 0 },
        dragmode: false,
        hovermode: false,
        xaxis: axis({ range: [0, frame.deepest], ...none }),
        yaxis: axis({
          type: 'log',
          domain: [0.12, 1],
          range: [0, Math.log10(1.1 * Math.max(2, most))],
          tickvals: [1, 10, 100, 1000, 10000].flatMap((power) => [power, 2 * power, 5 * power]),
          ...LABELS_AWAY,
        }),
        yaxis2: axis({ domain: [0, 0.08], range: [0, 1], ...none }),
      },
      { staticPlot: true },
    );
  }

  function cut(value) {
    tau = Math.min(value, frame.deepest);
    slider.value = tau;
    const count = paint();
    const text = `${count} segment${count === 1 ? '' : 's'} of the cut at τ ${tau.toFixed(3)}`;
    element('count').textContent = text;
    slider.setAttribute('aria-valuetext', text);
    const level = below(frame.distinct, tau);
    element('coarser').disabled = level === 0;
    element('finer').disabled = level === frame.distinct.length;
    Plotly.restyle(element('curve'), { x: [[tau, tau]], y: [[1, count]] }, [2]);
  }

  // Goes to the middle between two taus at which the cut changes.
  function step(by) {
    const level = below(frame.distinct, tau) + by;
    const ends = [0, ...frame.distinct, frame.deepest];
    cut((ends[level] + ends[level + 1]) / 2);
  }

  async function show(index) {
    const chosen = data.frames[index];
    await unpack(chosen);
    frame = chosen;
    document.querySelectorAll('.tile').forEach((tile, i) => tile.setAttribute('aria-pressed', String(i === index)));
    const [width, height] = frame.size;
    const stage = element('stage');
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.maxWidth = `min(100%, ${(70 * width) / height}vh)`;
    element('image').src = frame.image;
    element('image').alt = `Frame at ${frame.at}`;
    element('at').textContent = `Frame at ${frame.at}`;
    slider.max = frame.deepest;
    element('deepest').textContent = frame.deepest;
    element('analysed').textContent = `As analysed: ${Number(frame.tau.toFixed(3))}`;
    tau = frame.tau;
    drawCurve();
    cut(frame.tau);
  }

  function connectSlider() {
    slider.addEventListener('input', () => cut(slider.valueAsNumber));
    element('coarser').addEventListener('click', () => step(-1));
    element('finer').addEventListener('click', () => step(1));
    element('analysed').addEventListener('click', () => cut(frame.tau));
    element('shown').addEventListener('change', (event) => {
      element('segments').hidden = !event.target.checked;
    });
    document.querySelectorAll('input[name="colors"]').forEach((choice) => {
      choice.addEventListener('change', () => {
        document.documentElement.dataset.colors = choice.value;
        paint();
        drawTracks();
      });
    });
    document.querySelectorAll('.tile').forEach((tile, index) =>
      tile.addEventListener('click', async () => {
        await show(index);
        element('viewer').scrollIntoView({ block: 'nearest' });
      }),
    );
  }

  // All -----------------------------------------------------------------------------------------------------------------

  function drawAll() {
    if (element('timelines')) drawTimelines();
    if (element('tracks')) drawTracks();
    if (sweep) drawSweep();
    if (frame) drawCurve();
  }

  async function begin() {
    drawAll();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
    if (data.frames.length) {
      connectSlider();
      await show(Math.floor((data.frames.length - 1) / 2));
      // What is written beside the curve, and its switch, leave it more or less room.
      new ResizeObserver(() => Plotly.Plots.resize(element('curve'))).observe(element('curve'));
    }
    document.documentElement.dataset.ready = 'true';
  }
  begin();
})();
