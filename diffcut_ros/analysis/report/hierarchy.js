'use strict';
// Finest cuts of hierarchies, as finest_cut.py makes them, cut at any tau: for all pages that show frames.
const hierarchy = (() => {
  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

  // Returns a map of pixels, 16 bits each, that was packed by zlib and written in base64.
  async function unpackMap(base64) {
    const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint16Array(await new Response(stream).arrayBuffer());
  }

  // Returns how many pixels of a map have each value below count.
  function areas(map, count) {
    const found = new Uint32Array(count);
    for (const value of map) found[value] += 1;
    return found;
  }

  // Segments are the runs of parts that no boundary below tau divides.
  function segmentOfParts(taus, tau) {
    const segments = new Uint16Array(taus.length + 1);
    taus.forEach((boundary, index) => {
      segments[index + 1] = segments[index] + (boundary < tau ? 1 : 0);
    });
    return segments;
  }

  // Returns the segments that a part is in from the coarsest cut to the finest one, each as [first part, last + 1].
  function runsWith(taus, part) {
    const runs = [];
    let [first, end] = [0, taus.length + 1];
    for (;;) {
      runs.push([first, end]);
      if (end - first < 2) return runs;
      let least = Infinity;
      for (let k = first; k < end - 1; k += 1) least = Math.min(least, taus[k]);
      let [low, high] = [first, end];
      for (let k = first; k < end - 1; k += 1) {
        if (taus[k] > least) continue;
        if (k < part) low = k + 1;
        else {
          high = k + 1;
          break;
        }
      }
      [first, end] = [low, high];
    }
  }

  // Returns which pixels of a map are in a run of parts and, where asked for, connected with one of them by their sides.
  function maskOf(map, width, [first, end], at, connected) {
    const mask = new Uint8Array(map.length);
    const inside = (i) => map[i] >= first && map[i] < end;
    if (!connected) {
      for (let i = 0; i < map.length; i += 1) mask[i] = inside(i) ? 1 : 0;
      return mask;
    }
    const left = [at];
    mask[at] = 1;
    while (left.length) {
      const i = left.pop();
      const x = i % width;
      for (const next of [x > 0 ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width]) {
        if (next >= 0 && next < map.length && !mask[next] && inside(next)) {
          mask[next] = 1;
          left.push(next);
        }
      }
    }
    return mask;
  }

  return { bytes, unpackMap, areas, segmentOfParts, runsWith, maskOf };
})();
