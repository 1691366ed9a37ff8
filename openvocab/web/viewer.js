// Draws answers: masks over the picture with numbers, a legend to show, hide and find words, heat maps, downloads.
// Runs once, with `element`, `props` and `watch` of Gradio. Text of others is only ever set as textContent.
const NONE = 65535;
const HIDDEN_NOTE = 24; // words that do not occur are named up to this number
const state = { hidden: new Set(), opacity: 0.55, numbers: true, found: null, panes: [] };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}

const address = (key, file) => `answer/${key}/${file}`;
const percent = (share) => (share >= 0.0005 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %");

function load(source) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error(`${source} could not be loaded: ask again`));
    image.src = source;
  });
}

function pixelsOf(image) {
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function fit(canvas) { // as wide as there is room, and no higher than the window
  canvas.style.width = `min(100%, ${(78 * canvas.width) / canvas.height}vh)`;
}

// ---- one pane of masks ----

function labelsOf(map) {
  const labels = new Uint16Array(map.width * map.height);
  const scores = new Uint8Array(labels.length);
  for (let at = 0; at < labels.length; at++) {
    labels[at] = map.data[4 * at] | (map.data[4 * at + 1] << 8);
    scores[at] = map.data[4 * at + 2];
  }
  return { width: map.width, height: map.height, labels, scores };
}

function tint(pane, words) {
  const { width, height, labels } = pane.map;
  const layer = new ImageData(width, height);
  const rgba = new Uint32Array(layer.data.buffer); // little-endian: 0xAABBGGRR
  const inside = new Uint32Array(words.length);
  const edge = new Uint32Array(words.length);
  words.forEach((word, label) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(word.colour.slice(at, at + 2), 16));
    const faded = state.found !== null && state.found !== label ? 0.2 : 1;
    const shown = state.hidden.has(word.entry) ? 0 : faded;
    const packed = (b << 16) | (g << 8) | r;
    inside[label] = ((Math.round(255 * state.opacity * shown) << 24) | packed) >>> 0;
    const dark = ((b >> 1) << 16) | ((g >> 1) << 8) | (r >> 1);
    edge[label] = ((Math.round(230 * shown) << 24) | dark) >>> 0;
  });
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const label = labels[at];
      if (label === NONE) continue;
      const border = (x + 1 < width && labels[at + 1] !== label) || (y + 1 < height && labels[at + width] !== label)
        || (x > 0 && labels[at - 1] !== label) || (y > 0 && labels[at - width] !== label);
      rgba[at] = border ? edge[label] : inside[label];
    }
  }
  return layer;
}

function writeNumbers(context, pane, words) {
  const side = Math.max(pane.map.width, pane.map.height);
  const scale = side / Math.max(pane.canvas.clientWidth || side, 1); // a number is as large on a phone
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const [label, at] of Object.entries(pane.numbers)) {
    const word = words[label];
    if (!word || state.hidden.has(word.entry) || at.room * side < 3) continue;
    if (state.found !== null && state.found !== Number(label)) continue;
    const size = Math.max(11 * scale, Math.min(18 * scale, at.room * side * 1.3));
    context.font = `bold ${size}px system-ui, sans-serif`;
    context.lineWidth = size / 3.5;
    context.strokeStyle = "rgba(0, 0, 0, 0.85)";
    context.fillStyle = "white";
    const text = String(Number(label) + 1);
    context.strokeText(text, at.x * pane.map.width, at.y * pane.map.height);
    context.fillText(text, at.x * pane.map.width, at.y * pane.map.height);
  }
}

function draw(pane, words) {
  const context = pane.canvas.getContext("2d");
  context.drawImage(pane.image, 0, 0, pane.canvas.width, pane.canvas.height);
  const layer = make("canvas", { width: pane.canvas.width, height: pane.canvas.height });
  if (pane.heat) {
    context.globalAlpha = state.opacity;
    context.drawImage(pane.heat, 0, 0, pane.canvas.width, pane.canvas.height);
    context.globalAlpha = 1;
    return;
  }
  layer.getContext("2d").putImageData(tint(pane, words), 0, 0);
  context.drawImage(layer, 0, 0);
  if (state.numbers) writeNumbers(context, pane, words);
}

const drawAll = () => state.panes.forEach((pane) => draw(pane, state.words));

function describe(pane, event) {
  const box = pane.canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * pane.map.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * pane.map.height);
  if (x < 0 || y < 0 || x >= pane.map.width || y >= pane.map.height) return "";
  const label = pane.map.labels[y * pane.map.width + x];
  const score = (pane.map.scores[y * pane.map.width + x] / 255).toFixed(2);
  return label === NONE ? `none of these (best score ${score})` : `${label + 1} ${state.words[label].name}, score ${score}`;
}

async function masksPane(told) {
  const [image, map] = await Promise.all([load(address(told.picture, "picture.jpg")), load(address(told.key, "map.png"))]);
  const pane = { ...told, image, map: labelsOf(pixelsOf(map)) };
  pane.canvas = make("canvas", { width: pane.map.width, height: pane.map.height, role: "img",
    "aria-label": `masks of ${told.title}` });
  const tip = make("div", { class: "tip" });
  const point = (event) => {
    tip.textContent = describe(pane, event);
    const box = pane.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    tip.style.left = `${x}px`;
    tip.style.top = `${event.clientY - box.top}px`;
    tip.classList.toggle("left", x > box.width / 2);
    tip.classList.toggle("shown", tip.textContent !== "");
  };
  pane.canvas.addEventListener("pointermove", point);
  pane.canvas.addEventListener("pointerdown", point);
  pane.canvas.addEventListener("pointerleave", () => tip.classList.remove("shown"));
  const files = make("p", { class: "files" }, "Download: ",
    make("a", { href: address(told.key, "labels.png"), download: "", class: "labels" }, "labels (PNG)"), ", ",
    make("a", { href: address(told.key, "overlay.png"), download: "", class: "overlay" }, "overlay (PNG)"), ", ",
    make("a", { href: address(told.key, "coco.json"), download: "", class: "coco" }, "masks (COCO json)"));
  fit(pane.canvas);
  pane.figure = make("figure", {}, caption(told, told.about), make("p", { class: "note" }, told.note),
    ...told.notices.map((text) => make("p", { class: "notice" }, text)), make("div", { class: "stage" }, pane.canvas, tip), files);
  return pane;
}

async function heatPane(told) {
  const [image, heat] = await Promise.all([load(address(told.picture, "picture.jpg")), load(address(told.key, "heat.png"))]);
  const pane = { ...told, image, heat };
  pane.canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight, role: "img",
    "aria-label": told.title });
  fit(pane.canvas);
  pane.figure = make("figure", { class: "heat" }, caption(told, told.about), make("div", { class: "stage" }, pane.canvas),
    make("p", { class: "scale" }, told.low.toFixed(2), make("span", { class: "ramp" }), told.high.toFixed(2)));
  return pane;
}

const caption = (told, about) => make("figcaption", {}, make("b", {}, told.title), make("span", {}, ` ${about}`));

// ---- the legend ----

function row(word, label, panes) {
  const box = make("input", { type: "checkbox", onchange: () => {
    state.hidden[box.checked ? "delete" : "add"](word.entry);
    drawAll();
  } });
  box.checked = !state.hidden.has(word.entry);
  const cells = panes.map((pane) => pane.numbers[label]).map((at) => make("td", {},
    at ? make("span", {}, percent(at.share)) : "", at ? make("span", { class: "score", title: "mean score" }, at.score.toFixed(2)) : ""));
  const find = (found) => () => {
    if (state.found === found) return;
    state.found = found;
    drawAll();
  };
  const swatch = make("span", { class: "swatch" }, String(label + 1));
  swatch.style.background = word.colour;
  return make("tr", { onpointerenter: find(label), onpointerleave: find(null), onfocusin: find(label), onfocusout: find(null) },
    make("th", { scope: "row" }, make("label", {}, box, swatch, make("span", { class: "name" }, word.name))), ...cells);
}

function legend(words, panes) {
  const share = (label) => Math.max(...panes.map((pane) => pane.numbers[label]?.share ?? 0));
  const labels = words.map((_, label) => label);
  const there = labels.filter((label) => share(label) > 0).sort((a, b) => share(b) - share(a));
  const absent = labels.filter((label) => share(label) === 0).map((label) => words[label].name);
  const rows = there.map((label) => row(words[label], label, panes));
  if (panes.some((pane) => pane.numbers[-1])) {
    rows.push(make("tr", { class: "none" }, make("th", { scope: "row" }, "none of these"), ...panes.map((pane) => make("td", {},
      pane.numbers[-1] ? percent(pane.numbers[-1].share) : ""))));
  }
  const head = make("tr", {}, make("th", {}, "word"), ...panes.map((pane) => make("th", { scope: "col" },
    panes.length > 1 ? pane.title : "share", make("span", { class: "score" }, panes.length > 1 ? "" : "score"))));
  const more = absent.length - HIDDEN_NOTE;
  const note = absent.length ? [make("p", { class: "absent" }, `Not found: ${absent.slice(0, HIDDEN_NOTE).join(", ")}`
    + (more > 0 ? ` and ${more} more` : ""))] : [];
  return make("div", { class: "legend" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), ...note);
}

function tools(words) {
  const slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": "opacity", class: "opacity",
    oninput: () => { state.opacity = Number(slider.value); drawAll(); } });
  slider.value = state.opacity;
  const numbers = make("input", { type: "checkbox", class: "numbers",
    onchange: () => { state.numbers = numbers.checked; drawAll(); } });
  numbers.checked = state.numbers;
  const every = (hidden) => () => {
    state.hidden = new Set(hidden ? words.map((word) => word.entry) : []);
    show(false);
  };
  return make("div", { class: "tools" }, make("label", {}, "Opacity ", slider), make("label", {}, numbers, " Numbers"),
    make("button", { type: "button", class: "all", onclick: every(false) }, "Show all"),
    make("button", { type: "button", class: "nothing", onclick: every(true) }, "Hide all"));
}

// ---- all together ----

let turn = 0;

async function show(fresh = true) {
  const root = element.querySelector(".viewer");
  const told = props.value ?? {};
  const mine = ++turn;
  const line = make("p", { class: `status ${told.kind}`, role: told.kind === "error" ? "alert" : "status" }, told.status ?? "");
  if (told.kind !== "done") {
    root.querySelector(".status")?.remove();
    root.prepend(line);
    root.classList.toggle("stale", told.kind === "error" || told.kind === "busy");
    return;
  }
  try {
    const panes = fresh ? await Promise.all(told.panes.map((pane) => (pane.kind === "masks" ? masksPane(pane) : heatPane(pane)))) : state.panes;
    if (mine !== turn) return; // a later answer has overtaken this one
    Object.assign(state, { panes, words: told.words, found: null });
    const masks = panes.filter((pane) => !pane.heat);
    const grid = make("div", { class: "panes" }, ...panes.map((pane) => pane.figure));
    grid.style.setProperty("--columns", panes.length > masks.length ? panes.length / masks.length : masks.length);
    root.classList.remove("stale");
    const side = make("div", { class: "side" }, tools(told.words), legend(told.words, masks));
    root.replaceChildren(line, make("div", { class: panes.length > 1 ? "body" : "body single" }, grid, side));
    drawAll();
  } catch (error) {
    root.querySelector(".status")?.remove();
    root.prepend(make("p", { class: "status error", role: "alert" }, error.message));
  }
}

// A picture that is pasted anywhere takes the road of one that is chosen.
document.addEventListener("paste", (event) => {
  const input = document.querySelector("#picture input[type=file]");
  if (!input || ![...event.clipboardData.files].some((file) => file.type.startsWith("image/"))) return;
  input.files = event.clipboardData.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// From the click until the server says something, the old answer is no answer.
window.addEventListener("openvocab-asked", () => {
  turn++;
  const root = element.querySelector(".viewer");
  root.querySelector(".status")?.remove();
  root.prepend(make("p", { class: "status busy", role: "status" }, "asking ..."));
  root.classList.add("stale");
});

watch("value", () => show());
show();
