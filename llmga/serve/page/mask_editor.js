// A picture to mark a part of, or to grow on its sides.  The server puts JSON into `props.value`: the words of the page, and
// a picture's number and address.  What was done is put there in return: the picture's number, the mask as a PNG (white is
// to be painted anew), how far its edge is feathered, and how much each side grows, in percent of the picture.
const LONGEST = 1024; // the mask's longer side; the server scales it to the picture's
const find = (selector) => element.querySelector(selector);
const every = (selector) => [...element.querySelectorAll(selector)];
const editor = find(".mask-editor"), stage = find(".stage"), canvas = find("canvas"), pen = canvas.getContext("2d");
const layer = () => document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const ink = layer(), dye = layer(), picture = new Image(), view = new View();
const still = matchMedia("(prefers-reduced-motion: reduce)"), narrow = matchMedia("(max-width: 640px)");
const MARKING = ["brush", "eraser", "rectangle", "lasso"];
let words = {}, shown = null, tool = "brush", history = new History(), draft = null, growth = null;
let size = { width: 1, height: 1 }, cross = null, hovered = null, share = 0, frame = null, tile = null, wandered = 0;
let held = null, touches = new Map(), pens = false, spaced = null, last = null;

// The server's words and picture.

function take() {
  const given = JSON.parse(props.value);
  if (!given.words) return; // our own report
  words = given.words;
  for (const node of every("[data-word]")) node.textContent = words[node.dataset.word] || "";
  for (const node of every("[data-hint]")) {
    const key = node.dataset.key ? ` (${node.dataset.key})` : "";
    node.setAttribute("aria-label", words[node.dataset.hint] || "");
    node.title = (words[node.dataset.hint] || "") + key;
  }
  if (given.keep) return shown && changed();
  shown = given.url ? given : null;
  editor.classList.add("empty");
  expand(false);
  if (!shown) return;
  picture.onload = open;
  picture.src = shown.url;
}

function open() {
  const scale = Math.min(1, LONGEST / Math.max(picture.naturalWidth, picture.naturalHeight));
  size = { width: Math.max(1, Math.round(picture.naturalWidth * scale)), height: Math.max(1, Math.round(picture.naturalHeight * scale)) };
  Object.assign(ink.canvas, size);
  stage.style.aspectRatio = `${size.width} / ${size.height}`;
  cross = { x: size.width / 2, y: size.height / 2 };
  [history, draft, growth, last] = [new History(), null, null, null];
  find("[name=feather]").value = 0;
  tile = hatch(getComputedStyle(element).getPropertyValue("--color-accent") || "#e66a1f");
  view.fit();
  choose(shown.tool);
  changed();
  editor.classList.remove("empty"); // only now, or what is chosen before would be lost
  if (narrow.matches) expand(true);
}

// What is done, and what it comes to.

const thickness = () => (Number(find("[name=width]").value) / 100) * Math.max(size.width, size.height);
const feather = () => Number(find("[name=feather]").value);
const grown = () => growth ?? history.growth;

function changed() {
  ink.clearRect(0, 0, size.width, size.height);
  for (const mark of history.marks) put(ink, mark, size.width, size.height);
  const { data } = ink.getImageData(0, 0, size.width, size.height);
  let marked = 0;
  for (let at = 3; at < data.length; at += 4) marked += data[at] > 127;
  share = marked / (data.length / 4);
  frame = frameOf(size.width, size.height, tool === "grow", grown());
  find("[data-act=undo]").disabled = !history.done.length;
  find("[data-act=redo]").disabled = !history.undone.length;
  redraw();
  report();
  tell(grows(grown()) ? "grown to" : share ? "marked share" : "canvas begin");
}

function add(step) {
  history.add(step);
  changed();
}

function tell(key) {
  const [width, height] = grownSize(grown(), picture.naturalWidth, picture.naturalHeight);
  const percent = share && share < 0.01 ? "< 1" : Math.round(100 * share);
  const figures = key === "grown to" ? [width, height] : [percent];
  const also = key === "grown to" && share ? ` ${words["grown instead"]}` : "";
  find(".status").textContent = figures.reduce((text, figure) => text.replace("{}", figure), words[key] || "") + also;
}

function report() {
  if (!shown) return;
  const page = layer();
  Object.assign(page.canvas, size);
  page.fillRect(0, 0, size.width, size.height);
  page.drawImage(ink.canvas, 0, 0);
  props.value = JSON.stringify({ picture: shown.picture, mask: share ? page.canvas.toDataURL("image/png") : "", feather: feather(), ...grown() });
}

function choose(name) {
  if ((name === "grow") !== (tool === "grow")) view.fit(); // it is another frame
  [tool, draft, growth] = [name, null, null];
  for (const button of every("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  editor.classList.toggle("growing", name === "grow");
  frame = frameOf(size.width, size.height, name === "grow", grown());
  redraw();
}

const DO = {
  undo: () => (history.undo(), changed()),
  redo: () => (history.redo(), changed()),
  invert: () => add({ kind: "invert" }),
  wipe: () => history.steps.length && add({ kind: "wipe" }),
  nearer: () => (view.by(1.5), redraw()),
  farther: () => (view.by(1 / 1.5), redraw()),
  fit: () => (view.fit(), redraw()),
  expand: () => expand(!editor.classList.contains("expanded")),
  back: () => expand(false),
  paint,
};

// On a phone, or where somebody wants more room, the canvas takes the window and the message box stays below it.
function expand(wide) {
  editor.classList.toggle("expanded", wide);
  document.body.classList.toggle("canvas-expanded", wide);
  find("[data-act=expand]").setAttribute("aria-pressed", String(wide));
  redraw();
}

function paint() {
  if (!share && !grows(grown())) return tell("nothing marked");
  const box = document.querySelector("#message textarea"), send = document.querySelector("#message .submit-button");
  if (box?.value.trim()) return send?.click();
  tell("say what");
  box?.focus();
}

// What is seen.

const stageBox = () => canvas.getBoundingClientRect();

function redraw() {
  const box = stageBox(), dots = window.devicePixelRatio || 1;
  if (!shown || !box.width || !frame) return;
  const [wide, high] = [Math.round(box.width * dots), Math.round(box.height * dots)];
  for (const each of [canvas, dye.canvas]) if (each.width !== wide || each.height !== high) Object.assign(each, { width: wide, height: high });
  const { scale, left, top } = view.place(box, frame);
  const inPicture = (context) => context.setTransform(scale * dots, 0, 0, scale * dots, left * dots, top * dots);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, wide, high);
  if (tool === "grow") drawGrowth(inPicture, scale, left, top, dots);
  inPicture(pen);
  pen.imageSmoothingEnabled = (scale * dots * size.width) / picture.naturalWidth < 2; // pixel pictures are seen crisp
  pen.drawImage(picture, 0, 0, size.width, size.height);
  if (tool !== "grow" || !grows(grown())) drawMarks(inPicture, scale * dots);
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  const at = document.activeElement === canvas && last === "key" ? cross : hovered;
  canvas.classList.toggle("ringed", ["brush", "eraser"].includes(tool) && !spaced);
  if (at && tool !== "grow") ring(pen, left + at.x * scale, top + at.y * scale, ["brush", "eraser"].includes(tool) ? (thickness() * scale) / 2 : 3);
}

function drawMarks(inPicture, scale) {
  if (!share && !draft) return;
  dye.globalCompositeOperation = "source-over";
  dye.setTransform(1, 0, 0, 1, 0, 0);
  dye.clearRect(0, 0, dye.canvas.width, dye.canvas.height);
  inPicture(dye);
  dye.filter = feather() ? `blur(${((feather() / 100) * Math.max(size.width, size.height) * scale) / 2}px)` : "none";
  dye.drawImage(ink.canvas, 0, 0);
  dye.filter = "none";
  if (draft) put(dye, draft, size.width, size.height);
  hatched(dye, tile, wandered);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(dye.canvas, 0, 0);
}

function drawGrowth(inPicture, scale, left, top, dots) {
  const { left: l, top: t, right: r, bottom: b } = grown();
  const x = left - (l / 100) * size.width * scale, y = top - (t / 100) * size.height * scale;
  const wide = size.width * scale * (1 + (l + r) / 100), high = size.height * scale * (1 + (t + b) / 100);
  dye.globalCompositeOperation = "source-over";
  dye.setTransform(dots, 0, 0, dots, 0, 0);
  dye.clearRect(0, 0, dye.canvas.width, dye.canvas.height);
  dye.fillRect(x, y, wide, high);
  hatched(dye, tile, wandered);
  pen.drawImage(dye.canvas, 0, 0);
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  dashes(pen, x, y, wide, high);
  const box = stageBox(), middle = { x: x + wide / 2, y: y + high / 2 };
  hold("left", x, middle.y, box);
  hold("right", x + wide, middle.y, box);
  hold("top", middle.x, y, box);
  hold("bottom", middle.x, y + high, box);
}

// Place a side's handle where the picture will end, and where it can be reached.
function hold(side, x, y, box) {
  const handle = find(`[data-side=${side}]`), percent = Math.round(grown()[side]);
  handle.style.left = `${bounded(x, 28, box.width - 28)}px`;
  handle.style.top = `${bounded(y, 18, box.height - 18)}px`;
  handle.setAttribute("aria-valuenow", percent);
  handle.setAttribute("aria-valuetext", `${percent} %`);
  handle.textContent = `${percent}%`;
}

// Mouse, finger and pen: one marks, two fingers zoom and move; where a pen is used, fingers only move.

function point(event) {
  const box = stageBox(), { scale, left, top } = view.place(box, frame);
  return { x: (event.clientX - box.left - left) / scale, y: (event.clientY - box.top - top) / scale };
}

function begin(at, erases) {
  const kind = tool === "rectangle" || tool === "lasso" ? tool : "stroke";
  draft = { kind, erases: tool === "eraser" || erases, width: thickness(), points: [at] };
}

function finish() {
  const done = draft;
  draft = null;
  if (done && (done.kind === "stroke" || encloses(done.points))) add(done);
}

// Whether anything lies between the points.
function encloses(points) {
  const extent = (axis) => Math.max(...points.map((each) => each[axis])) - Math.min(...points.map((each) => each[axis]));
  return points.length > 1 && extent("x") >= 1 && extent("y") >= 1;
}

canvas.addEventListener("pointerdown", (event) => {
  if (!shown || event.button > 1) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  [last, pens] = ["pointer", pens || event.pointerType === "pen"];
  if (event.pointerType === "touch") touches.set(event.pointerId, event);
  const pans = event.button === 1 || spaced || touches.size > 1 || (pens && event.pointerType === "touch");
  if (touches.size > 1) draft = growth = null;
  const at = point(event);
  if (spaced) spaced.used = true;
  if (pans) held = { pans };
  else if (tool === "grow") held = { from: at, growth: grown() };
  else if (event.shiftKey && tool !== "rectangle" && tool !== "lasso" && cross.drawn) {
    begin({ x: cross.x, y: cross.y }, event.altKey); // a straight line from where the last one ended
    draft.points.push(at);
  } else begin(at, event.altKey);
  redraw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!shown) return;
  hovered = point(event);
  if (last !== "key" || held || draft) last = "pointer";
  if (touches.has(event.pointerId) && touches.size === 2) pinch(event);
  else if (held?.pans) {
    view.x += event.movementX;
    view.y += event.movementY;
  } else if (held) {
    growth = moved(held.growth, (100 * (hovered.x - held.from.x)) / size.width, (100 * (hovered.y - held.from.y)) / size.height);
    tell("grown to");
  } else if (draft) draft.points.push(...(event.getCoalescedEvents?.() || [event]).map(point));
  redraw();
});

function pinch(event) {
  const [one, two] = [...touches.values()], box = stageBox();
  const distance = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
  const middle = (a, b) => ({ x: (a.clientX + b.clientX) / 2 - box.left - box.width / 2, y: (a.clientY + b.clientY) / 2 - box.top - box.height / 2 });
  touches.set(event.pointerId, event);
  const [first, second] = [...touches.values()], before = middle(one, two), now = middle(first, second);
  view.x += now.x - before.x;
  view.y += now.y - before.y;
  view.by(distance(first, second) / distance(one, two), now.x, now.y);
}

for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, (event) => {
    touches.delete(event.pointerId);
    if (touches.size) return;
    held = null;
    if (growth) settle();
    if (draft) cross = { ...draft.points[draft.points.length - 1], drawn: true };
    name === "pointerup" ? finish() : (draft = null);
    redraw();
  });
canvas.addEventListener("pointerleave", () => {
  hovered = null;
  redraw();
});
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener(
  "wheel",
  (event) => {
    const box = stageBox();
    event.preventDefault();
    view.by(Math.exp(-event.deltaY / 400), event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
    redraw();
  },
  { passive: false },
);

// What grows.

function settle() {
  const step = growth;
  growth = null;
  if (step && SIDES.some((side) => step[side] !== history.growth[side])) add({ kind: "growth", growth: step });
}

function grow(side, percent) {
  growth = withSide(grown(), side, percent);
  tell("grown to");
  redraw();
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
for (const side of SIDES) {
  const handle = find(`[data-side=${side}]`), sign = side === "left" || side === "top" ? -1 : 1;
  const wide = side === "left" || side === "right";
  let start = null;
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    event.preventDefault();
    handle.focus();
    start = { at: wide ? event.clientX : event.clientY, percent: grown()[side] };
  });
  handle.addEventListener("pointermove", (event) => {
    if (!start) return;
    const { scale } = view.place(stageBox(), frame), whole = (wide ? size.width : size.height) * scale;
    grow(side, start.percent + (100 * sign * ((wide ? event.clientX : event.clientY) - start.at)) / whole);
  });
  for (const name of ["pointerup", "pointercancel"])
    handle.addEventListener(name, () => {
      start = null;
      settle();
    });
  handle.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    grow(side, grown()[side] + (event.shiftKey ? 25 : 5) * sign * (wide ? move[0] : move[1]));
    settle();
    event.preventDefault();
  });
}
for (const button of every("[data-aspect]"))
  button.addEventListener("click", () => {
    const [across, down] = button.dataset.aspect.split(":").map(Number);
    growth = grownTo(across / down, size.width, size.height);
    settle();
  });

// The keyboard.

const KEYS = {
  b: () => choose("brush"), e: () => choose("eraser"), r: () => choose("rectangle"), l: () => choose("lasso"), g: () => choose("grow"),
  i: DO.invert, z: DO.nearer, Z: DO.farther, 0: DO.fit, f: DO.expand, "[": () => thicken(-2), "]": () => thicken(2),
};

function thicken(step) {
  const input = find("[name=width]");
  input.value = Number(input.value) + step;
  redraw();
}

function pressed(event) {
  const inside = element.contains(document.activeElement);
  if (!shown || !(inside || (hovered && document.activeElement === document.body))) return;
  const ctrl = event.ctrlKey || event.metaKey, key = event.key;
  if (ctrl && key.toLowerCase() === "z") event.shiftKey ? DO.redo() : DO.undo();
  else if (ctrl && key.toLowerCase() === "y") DO.redo();
  else if (ctrl || event.altKey) return;
  else if (key === "Escape") return escape();
  else if (KEYS[key]) KEYS[key]();
  else if (document.activeElement === canvas || !inside) return onStage(event);
  else return;
  event.preventDefault();
}

function escape() {
  if (draft) draft = null;
  else expand(false);
  redraw();
}

// On the stage itself a cross moves by the arrow keys; Enter, or a tap of Space, marks there.  A rectangle begins with one
// Enter and ends with the next, a lasso takes a corner with each and ends where the last corner is confirmed.
function onStage(event) {
  const move = MOVES[event.key], pace = (event.shiftKey ? 0.1 : 0.02) * Math.max(size.width, size.height);
  if (event.key === " ") {
    if (!event.repeat) spaced = { used: false };
  } else if (event.key === "Enter") stamp();
  else if (move) {
    last = "key";
    cross = { x: bounded(cross.x + move[0] * pace, 0, size.width), y: bounded(cross.y + move[1] * pace, 0, size.height) };
    if (draft?.kind === "rectangle") draft.points[1] = { ...cross };
  } else return;
  event.preventDefault();
  redraw();
}

function stamp() {
  if (tool === "grow") return;
  last = "key";
  const corner = { x: cross.x, y: cross.y }, previous = draft?.points[draft.points.length - 1];
  if (!draft) begin(corner);
  else if (draft.kind === "rectangle") return finish();
  else if (previous.x === corner.x && previous.y === corner.y) return finish();
  else draft.points.push(corner);
  if (draft.kind === "stroke") finish();
}

document.addEventListener("keydown", pressed);
document.addEventListener("keyup", (event) => {
  if (event.key !== " " || !spaced) return;
  if (!spaced.used && document.activeElement === canvas) stamp();
  spaced = null;
  redraw();
});

for (const button of every("[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));
for (const button of every("[data-act]")) button.addEventListener("click", () => DO[button.dataset.act]());
find("[name=width]").addEventListener("input", redraw);
find("[name=feather]").addEventListener("input", redraw);
find("[name=feather]").addEventListener("change", report);
for (const name of ["focus", "blur"]) canvas.addEventListener(name, redraw);
new ResizeObserver(redraw).observe(stage);
setInterval(() => {
  if (still.matches || document.hidden || !shown || !(share || grows(grown())) || !canvas.offsetParent) return;
  wandered += 2;
  redraw();
}, 200);
watch("value", take);
take();
