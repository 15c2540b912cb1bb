// Numbers out of the page's data, and maps of them over an image.
'use strict';

const maps = (() => {
  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  // What analysis/page/embed.py packed: value(index, ...) of the array it came from.
  const unpack = ({shape, bytes, scale}) => {
    const [parts, scales] = [bytesOf(bytes), new Float32Array(bytesOf(scale).buffer)];
    const width = shape[shape.length - 1];
    const value = (...indices) => {
      const row = indices.slice(0, -1).reduce((at, index, axis) => at * shape[axis] + index, 0);
      return parts[row * width + indices[indices.length - 1]] / 255 * scales[row];
    };
    return {shape, value};
  };

  const PIXELS = 224; // of a map's longer side
  const HOT = [255, 157, 0];

  // Draws the image in grey, dimmed, and over each patch the colour of its weight; the chosen patch has a frame.
  const draw = (canvas, image, run, weights, brightest, chosen) => {
    const [rows, columns] = run.grid;
    const unit = Math.max(1, Math.floor(PIXELS / Math.max(rows, columns)));
    [canvas.width, canvas.height] = [columns * unit, rows * unit];
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.imageSmoothingEnabled = false;
    context.filter = 'grayscale(1) brightness(.6)';
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.filter = 'none';
    weights.forEach((weight, patch) => {
      const opacity = brightest > 0 ? .93 * Math.min(1, weight / brightest) : 0;
      context.fillStyle = `rgb(${HOT.join(' ')} / ${opacity})`;
      context.fillRect(patch % columns * unit, Math.floor(patch / columns) * unit, unit, unit);
    });
    if (chosen === null) return;
    const [x, y] = [chosen % columns * unit, Math.floor(chosen / columns) * unit];
    for (const [colour, inset, width] of [['#000', 2.5, 5], ['#fff', 2, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(x + inset, y + inset, unit - 2 * inset, unit - 2 * inset);
    }
  };

  const place = (run, patch) => `row ${Math.floor(patch / run.grid[1]) + 1}, column ${patch % run.grid[1] + 1}`;
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const strongest = (weights) => weights.indexOf(Math.max(...weights));

  // Pixels between the centres of two patches.
  const distance = (run, one, other) => run.patch * Math.hypot(
    Math.floor(one / run.grid[1]) - Math.floor(other / run.grid[1]), one % run.grid[1] - other % run.grid[1]);

  // Of one patch's weights, whose sum a byte each has left a little beside 1: the mean distance and the entropy.
  const summary = (run, weights, from) => {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const shares = weights.map((weight) => weight / total);
    return {
      distance: shares.reduce((sum, share, patch) => sum + share * distance(run, from, patch), 0),
      entropy: shares.reduce((sum, share) => share > 0 ? sum - share * Math.log(share) : sum, 0),
    };
  };

  // A canvas in a figure with a caption that says what it shows.
  const figure = (label, caption) => {
    const [frame, canvas, text] = ['figure', 'canvas', 'figcaption'].map((name) => document.createElement(name));
    frame.className = 'map';
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', label);
    text.textContent = caption;
    frame.append(canvas, text);
    return {frame, canvas};
  };

  return {unpack, draw, place, percent, strongest, summary, figure};
})();
