// What is on the page, and what its controls do. The painting is done in worker.js.
import { readSafetensors } from "./safetensors.js";

const LARGEST_FILE = 80_000_000; // bytes
const MOST_PIXELS = 60_000_000;

const element = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
let ready = false;
let shown = null; // what was painted last, and of which photo
let wanted = 0; // number of the latest wish
let working = false;
let again = false;
let hasPhoto = false;
let latestPhoto = 0; // how many were chosen: reading the last one may take less time than one before
let latestStyle = 0;
const waiting = []; // messages for a worker that is not ready

worker.onmessage = ({ data }) => ({ ready: started, painted: show, failed })[data.type](data);
worker.onerror = () => say("The painter could not be started. Please reload the page.", true);

// --- words --------------------------------------------------------------------------------

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

function started({ gpu, threads }) {
  ready = true;
  document.documentElement.dataset.ready = "true";
  waiting.splice(0).forEach((message) => worker.postMessage(message));
  say(hasPhoto ? "Painting …" : `Ready${gpu ? " on the graphics card" : `, with ${threads} thread${threads > 1 ? "s" : ""}`}. Choose a photo.`);
  if (hasPhoto) paint();
}

function failed({ during, message }) {
  if (during === "paint") working = false;
  if (during === "load" && element("gpu").checked) {
    element("gpu").checked = false;
    say(`The graphics card cannot be used (${message}); going on without.`, true);
    worker.postMessage({ type: "load", gpu: false });
    return;
  }
  if (during === "paint" && again) return paint();
  const action = during === "load" ? "The model could not be loaded" : "The photo could not be painted";
  say(`${action} (${message}). ${during === "paint" ? "A smaller size may help." : "Please reload the page."}`, true);
}

// --- files ---------------------------------------------------------------------------------

// The pixels of a file, upright and in sRGB; or a message of why not.
async function decode(file) {
  if (file.size > LARGEST_FILE) throw new Error(`${file.name} is too large (${Math.round(file.size / 1e6)} MB; at most ${LARGEST_FILE / 1e6})`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    bitmap.close();
    throw new Error(`${file.name} has ${Math.round((width * height) / 1e6)} megapixels; at most ${MOST_PIXELS / 1e6} can be painted`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data };
}

async function takePhoto(file) {
  if (!file) return;
  const number = ++latestPhoto;
  try {
    say("Reading the photo …");
    const image = await decode(file);
    if (number !== latestPhoto) return;
    send({ type: "photo", name: file.name.replace(/\.[^.]*$/, ""), image }, [image.data.buffer]);
    hasPhoto = true;
    const short = Math.min(image.width, image.height);
    element("size").value = Math.min(512, short);
    label("size");
    paint();
  } catch (error) {
    if (number === latestPhoto) say(`${error.message}.`, true);
  }
}

async function takeStyle(file) {
  if (!file) return;
  const number = ++latestStyle;
  try {
    const image = await decode(file);
    const address = URL.createObjectURL(file);
    const key = `picture ${file.name} ${file.lastModified} ${file.size}`;
    send({ type: "style", key, image }, [image.data.buffer]);
    addStyle(key, file.name, address, true);
    if (number !== latestStyle) return;
    element("first").querySelector(`input[value="${CSS.escape(key)}"]`).checked = true;
    paint();
  } catch (error) {
    say(`${error.message}.`, true);
  }
}

function send(message, transfer = []) {
  if (ready) worker.postMessage(message, transfer);
  else waiting.push(message);
}

// --- styles ---------------------------------------------------------------------------------

async function loadGallery() {
  const names = await (await fetch("gallery/index.json")).json();
  const files = names.map(async (name) => (await fetch(`gallery/${name}.style.safetensors`)).arrayBuffer());
  for (const [i, buffer] of (await Promise.all(files)).entries()) {
    const { metadata, tensors } = readSafetensors(buffer);
    const about = JSON.parse(metadata.about);
    send({ type: "style", key: names[i], code: tensors.code });
    const address = URL.createObjectURL(new Blob([tensors.thumbnail], { type: "image/webp" }));
    addStyle(names[i], names[i], address, false, `${about.artist}, ${about.title}, ${about.year}`);
  }
  element("first").querySelector("input").checked = true;
  paint();
}

function addStyle(key, name, address, own, description = name) {
  if (![...element("second").options].some((option) => option.value === key)) {
    const choice = document.createElement("label");
    choice.title = description;
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: key });
    radio.setAttribute("aria-label", description === name ? name : `${name}: ${description}`);
    const image = Object.assign(document.createElement("img"), { src: address, alt: "" });
    choice.append(radio, image, document.createTextNode(name));
    own ? element("first").prepend(choice) : element("first").append(choice);
    element("second").append(new Option(name, key));
  }
}

function shares() {
  const second = Number(element("blend").value) / 100;
  const first = element("first").querySelector("input:checked");
  const chosen = [{ key: first?.value, share: 1 - second }, { key: element("second").value, share: second }];
  return chosen.filter(({ key, share }) => key && share > 0);
}

// --- painting ---------------------------------------------------------------------------------

// One wish at a time is in work; of those that come meanwhile only the last one counts.
function paint() {
  if (!ready || !hasPhoto || !shares().length) return;
  if (working) {
    again = true;
    return;
  }
  working = true;
  again = false;
  say("Painting …");
  const number = (id) => Number(element(id).value);
  worker.postMessage({ type: "paint", id: ++wanted, shares: shares(), strength: number("strength") / 100, size: number("size") });
}

function show({ id, name, width, height, before, after, seconds, reduced }) {
  working = false;
  draw("before", width, height, before);
  draw("after", width, height, after);
  shown = { name, width, height };
  element("compare").hidden = false;
  element("empty").hidden = true;
  element("drop").classList.add("full");
  element("save-png").disabled = element("save-jpeg").disabled = false;
  moveSplit();
  if (again) return paint();
  document.documentElement.dataset.painted = id;
  say(`${width} × ${height} pixels painted in ${seconds.toFixed(1)} s${reduced ? "; a larger size does not fit into the page's memory" : ""}.`);
}

function draw(id, width, height, bytes) {
  const canvas = element(id);
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
}

function save(type, suffix) {
  const { name, width, height } = shown;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  if (suffix === "jpg") {
    context.fillStyle = "white"; // JPEG has no transparency
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(element("after"), 0, 0);
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}-painted.${suffix}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, type, 0.95);
}

// --- controls -----------------------------------------------------------------------------------

function label(id) {
  const unit = id === "size" ? "pixels" : "%";
  element(`${id}-value`).textContent = `${element(id).value} ${unit}`;
}

function moveSplit() {
  const { offsetLeft, offsetWidth } = element("before");
  const share = element("split").value;
  element("compare").style.setProperty("--split", `${share}%`);
  element("divider").style.left = `${offsetLeft + (offsetWidth * share) / 100}px`;
}

for (const id of ["strength", "blend", "size"]) {
  element(id).addEventListener("input", () => label(id));
  element(id).addEventListener("change", () => {
    element("second-label").hidden = element("blend").value === "0";
    paint();
  });
}
element("first").addEventListener("change", paint);
element("second").addEventListener("change", paint);
element("split").addEventListener("input", moveSplit);
addEventListener("resize", moveSplit);
for (const [id, take] of [["photo", takePhoto], ["style", takeStyle]]) {
  element(id).addEventListener("change", ({ target }) => take(target.files[0]).then(() => (target.value = "")));
}
element("save-png").addEventListener("click", () => save("image/png", "png"));
element("save-jpeg").addEventListener("click", () => save("image/jpeg", "jpg"));
element("gpu").addEventListener("change", ({ target }) => {
  ready = false;
  say("Loading …");
  worker.postMessage({ type: "load", gpu: target.checked });
});

for (const [area, take] of [[document.querySelector(".stage"), takePhoto], [document.querySelector("fieldset"), takeStyle]]) {
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("dragging");
  });
  area.addEventListener("dragleave", () => area.classList.remove("dragging"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("dragging");
    take(event.dataTransfer.files[0]);
  });
}
addEventListener("dragover", (event) => event.preventDefault()); // a photo dropped beside must not replace the page
addEventListener("drop", (event) => event.preventDefault());

element("gpu-label").hidden = !navigator.gpu;
worker.postMessage({ type: "load", gpu: false });
loadGallery().catch((error) => say(`The gallery could not be loaded (${error.message}).`, true));
navigator.serviceWorker?.register("offline.js").catch(() => {}); // a convenience, not a need
