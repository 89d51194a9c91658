// Pictures as planes: { width, height, data }, data a Float32Array of 3·height·width values in [0,1].

const STYLE_PIXELS = 4; // of a style picture, over the square of its short side, as in arbstyle/images/sizes.py
const SMALLEST_STYLE = 16;

// Height and width with a short side of `size`.
export function sizeWithShortSide(width, height, size) {
  const scale = size / Math.min(width, height);
  return { width: Math.max(1, roundHalfToEven(width * scale)), height: Math.max(1, roundHalfToEven(height * scale)) };
}

// Height and width at which a style picture is looked at: a short side of `size`, less for a ribbon.
export function styleView(width, height, size) {
  const short = Math.min(width, height);
  let scale = Math.min(size / short, size * Math.sqrt(STYLE_PIXELS / (width * height)));
  scale = Math.max(scale, SMALLEST_STYLE / short);
  return { width: Math.max(1, roundHalfToEven(width * scale)), height: Math.max(1, roundHalfToEven(height * scale)) };
}

// As Python rounds, so that both give pictures of the same size.
function roundHalfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

// Bytes RGBA → planes, without their transparency or over white.
export function toPlanes({ width, height, data }, overWhite = false) {
  const count = width * height;
  const planes = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const alpha = data[4 * i + 3] / 255;
    for (let channel = 0; channel < 3; channel++) {
      const value = data[4 * i + channel] / 255;
      planes[channel * count + i] = overWhite ? 1 + (value - 1) * alpha : value;
    }
  }
  return { width, height, data: planes };
}

// What is hidden gets the colours of what is seen beside it; white where nothing at all is seen.
// By pull and push, as the command does it: means of what is seen, twice as coarse each time.
function fillHidden(planes, alpha, width, height) {
  const count = width * height;
  if (alpha.every((weight) => weight > 0)) return;
  if (alpha.every((weight) => weight === 0)) return planes.fill(1);
  const sums = planes.map((value, i) => value * alpha[i % count]);
  const filled = extended(sums, alpha, width, height);
  for (let i = 0; i < planes.length; i++) if (alpha[i % count] === 0) planes[i] = filled[i];
}

function extended(sums, weights, width, height) {
  const count = width * height;
  const own = sums.map((value, i) => value / (weights[i % count] || 1));
  if (weights.every((weight) => weight > 0)) return own;
  const [columns, rows] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const coarse = extended(halved(sums, width, height), halved(weights, width, height), columns, rows);
  for (let i = 0; i < own.length; i++) {
    const place = i % count;
    if (weights[place] > 0) continue;
    const plane = ((i - place) / count) * columns * rows;
    own[i] = between(coarse, plane, columns, rows, (place % width) / 2 - 0.25, Math.floor(place / width) / 2 - 0.25);
  }
  return own;
}

function halved(planes, width, height) {
  const [columns, rows] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const count = width * height;
  const sums = new Float32Array((planes.length / count) * columns * rows);
  for (let i = 0; i < planes.length; i++) {
    const [x, y] = [i % width, Math.floor((i % count) / width)];
    sums[Math.floor(i / count) * columns * rows + (y >> 1) * columns + (x >> 1)] += planes[i];
  }
  return sums;
}

// Bilinear, of the plane that begins at `start`; x and y in its pixels.
function between(planes, start, width, height, x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const at = (column, row) =>
    planes[start + Math.min(height - 1, Math.max(0, row)) * width + Math.min(width - 1, Math.max(0, column))];
  const above = at(left, top) + (x - left) * (at(left + 1, top) - at(left, top));
  const below = at(left, top + 1) + (x - left) * (at(left + 1, top + 1) - at(left, top + 1));
  return above + (y - top) * (below - above);
}

// Planes → bytes RGBA, with the transparency of a picture of the same size (or none).
export function toBytes({ width, height, data }, alpha = null) {
  const count = width * height;
  const bytes = new Uint8ClampedArray(4 * count); // rounds and clamps
  for (let i = 0; i < count; i++) {
    for (let channel = 0; channel < 3; channel++) bytes[4 * i + channel] = data[channel * count + i] * 255;
    bytes[4 * i + 3] = alpha ? alpha[i] * 255 : 255;
  }
  return bytes;
}

// Antialiased bicubic resizing, as Pillow does it: a filter of Keys' kernel (a = -1/2) as wide as the reduction.
export function resize(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  const data = bicubic(picture.data, picture, width, height);
  for (let i = 0; i < data.length; i++) data[i] = clamped(data[i]);
  return { width, height, data };
}

// A picture and its transparency, resized by way of premultiplied values, so that what is hidden lends no colour
// to what is not; what is fully transparent gets the colours beside it.
export function resizeWithAlpha(picture, alpha, width, height) {
  const size = picture.width * picture.height;
  const count = width * height;
  const data = new Float32Array(3 * count);
  if (picture.width === width && picture.height === height) {
    data.set(picture.data);
  } else {
    const opacity = bicubic(alpha, picture, width, height);
    for (let channel = 0; channel < 3; channel++) {
      const plane = alpha.map((share, i) => share * picture.data[channel * size + i]);
      // Bicubic overshoots in colour and alpha alike: the ratio is right before either is clamped.
      const seen = bicubic(plane, picture, width, height);
      for (let i = 0; i < count; i++) data[channel * count + i] = clamped(seen[i] / Math.max(opacity[i], 1e-4));
    }
    alpha = opacity.map(clamped);
  }
  fillHidden(data, alpha, width, height);
  return { picture: { width, height, data }, alpha };
}

// Planes of the size of a picture → planes of another size, which may lie a little outside of [0,1].
function bicubic(planes, from, width, height) {
  const channels = planes.length / (from.width * from.height);
  const rows = filterRows(planes, channels * from.height, from.width, width);
  return filterColumns(rows, channels, from.height, height, width);
}

function clamped(value) {
  return Math.min(1, Math.max(0, value));
}

function keys(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// For each output position, where its weights begin and what they are.
function filters(from, to) {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - 2 * stretch + 0.5));
    const last = Math.min(from, Math.trunc(center + 2 * stretch + 0.5));
    const weights = [];
    for (let i = first; i < last; i++) weights.push(keys((i - center + 0.5) / stretch));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: Float64Array.from(weights, (weight) => weight / sum) };
  });
}

function filterRows(data, rows, from, to) {
  const result = new Float32Array(rows * to);
  filters(from, to).forEach(({ first, weights }, x) => {
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * data[row * from + first + k];
      result[row * to + x] = sum;
    }
  });
  return result;
}

function filterColumns(data, channels, from, to, width) {
  const result = new Float32Array(channels * to * width);
  filters(from, to).forEach(({ first, weights }, y) => {
    for (let channel = 0; channel < channels; channel++) {
      const target = (channel * to + y) * width;
      for (let k = 0; k < weights.length; k++) {
        const source = (channel * from + first + k) * width;
        for (let x = 0; x < width; x++) result[target + x] += weights[k] * data[source + x];
      }
    }
  });
  return result;
}
