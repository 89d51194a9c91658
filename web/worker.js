// Paints, beside the page, so that the page never stands still. Does what arbstyle/onnx/runtime.py does.
import { resize, resizeWithAlpha, sizeWithShortSide, styleView, toBytes, toPlanes } from "./pixels.js";

const STYLE_SIZES = [256, 2048];
const MOST_PIXELS = 3_000_000; // that a page can paint without running out of memory

let ort;
let options;
let weights;
let sessions = {};
let photo; // { name, picture, alpha }
const looks = new Map(); // key of a style → { code } or { picture }
const known = new Map(); // key and size → parameters

const handlers = { load, photo: takePhoto, style: takeStyle, paint };
let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(() => handlers[data.type](data)).catch((error) => {
    postMessage({ type: "failed", during: data.type, id: data.id, message: String(error?.message ?? error) });
  });
};

async function load({ gpu }) {
  ort = await import(gpu ? "./ort/ort.webgpu.min.mjs" : "./ort/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  weights ??= new Uint8Array(await fetchWhole("models/arbstyle.safetensors"));
  options = {
    executionProviders: gpu ? ["webgpu", "wasm"] : ["wasm"],
    externalData: [{ path: "arbstyle.safetensors", data: weights }],
  };
  sessions = {};
  await session("painter");
  postMessage({ type: "ready", threads: ort.env.wasm.numThreads, gpu });
}

async function session(name) {
  sessions[name] ??= await ort.InferenceSession.create(new Uint8Array(await fetchWhole(`models/${name}.onnx`)), options);
  return sessions[name];
}

async function fetchWhole(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path} could not be loaded (${response.status})`);
  return response.arrayBuffer();
}

function takePhoto({ name, image }) {
  const alpha = new Float32Array(image.width * image.height);
  for (let i = 0; i < alpha.length; i++) alpha[i] = image.data[4 * i + 3] / 255;
  const opaque = alpha.every((value) => value === 1);
  photo = { name, picture: toPlanes(image), alpha: opaque ? null : alpha };
  for (const key of known.keys()) if (key.startsWith("own ")) known.delete(key);
}

function takeStyle({ key, code, image }) {
  looks.set(key, code ? { code } : { picture: toPlanes(image, true) });
  for (const old of known.keys()) if (old.startsWith(key)) known.delete(old);
}

// Parameters of a style, as seen at a size.
async function parametersOf(key, size) {
  const { code, picture } = looks.get(key);
  if (code) return remembered(key, () => run("head", { code: [code, [1, code.length]] }, "parameters"));
  return remembered(`${key} ${size}`, () => read(picture, size));
}

async function remembered(name, compute) {
  if (!known.has(name)) {
    if (known.size > 100) known.clear();
    known.set(name, await compute());
  }
  return known.get(name);
}

async function read(picture, size) {
  const { width, height } = styleView(picture.width, picture.height, size);
  const { data } = resize(picture, width, height);
  return run("style", { style: [data, [1, 3, height, width]] }, "parameters");
}

async function run(name, inputs, output) {
  const model = await session(name);
  const feeds = {};
  for (const [key, [data, shape]] of Object.entries(inputs)) {
    if (!model.inputNames.includes(key)) continue; // only models that paint from noise take a seed
    feeds[key] = new ort.Tensor(data instanceof BigInt64Array ? "int64" : "float32", data, shape);
  }
  return (await model.run(feeds, [output]))[output].data;
}

async function paint({ id, shares, strength, size }) {
  const start = performance.now();
  const original = photo.picture;
  const most = Math.floor(Math.sqrt((MOST_PIXELS * Math.min(original.width, original.height)) / Math.max(original.width, original.height)));
  const short = Math.min(size, most);
  const { width, height } = sizeWithShortSide(original.width, original.height, short);
  const { picture, alpha } = photo.alpha
    ? resizeWithAlpha(original, photo.alpha, width, height)
    : { picture: resize(original, width, height), alpha: null };
  const styleSize = Math.min(Math.max(Math.min(width, height), STYLE_SIZES[0]), STYLE_SIZES[1]);
  const parameters = await blend(shares, styleSize);
  if (strength < 1) {
    const own = await remembered(`own ${width}`, () => read(picture, styleSize));
    parameters.forEach((value, i) => (parameters[i] = own[i] + strength * (value - own[i])));
  }
  const data = await run(
    "painter",
    { photo: [picture.data, [1, 3, height, width]], parameters: [parameters, [1, parameters.length]], seed: [new BigInt64Array(1), [1]] },
    "painted",
  );
  const amount = strength < 1 ? strength * (2 - strength) : 1; // so that 0 is exactly the photo
  const painted = data.map((value, i) => picture.data[i] + (value - picture.data[i]) * amount);
  const after = toBytes({ width, height, data: painted }, alpha);
  const before = toBytes(picture, alpha);
  const seconds = (performance.now() - start) / 1000;
  const painting = { name: photo.name, width, height, before, after, seconds, reduced: short < size };
  postMessage({ type: "painted", id, ...painting }, [before.buffer, after.buffer]);
}

// The weighted mean of styles' parameters.
async function blend(shares, size) {
  const total = shares.reduce((sum, { share }) => sum + share, 0);
  let sum;
  for (const { key, share } of shares) {
    const parameters = await parametersOf(key, size);
    sum ??= new Float32Array(parameters.length);
    parameters.forEach((value, i) => (sum[i] += (share / total) * value));
  }
  return sum;
}
