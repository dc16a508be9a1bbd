// A picture to draw a mask on, or to grow on its sides.  The server puts JSON into `props.value`: the words of the
// page, and a picture's number and address.  What was done is put there in return: the picture's number, the mask as a
// PNG (white is to be painted anew), and how much each side grows, in percent of the picture.
const LONGEST = 1024; // the mask's longer side; the server scales it to the picture's
const SIDES = ["left", "top", "right", "bottom"];
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas"), pen = canvas.getContext("2d"), stage = find(".stage");
const mask = document.createElement("canvas"), ink = mask.getContext("2d");
const tint = document.createElement("canvas"), dye = tint.getContext("2d");
const picture = new Image();
let shown = null, mode = "brush", strokes = [], stroke = null, cross = null, growth = {};

function relabel(words) {
  for (const node of element.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word] || "";
  for (const node of element.querySelectorAll("[data-hint]")) {
    node.setAttribute("aria-label", words[node.dataset.hint] || "");
    node.title = words[node.dataset.hint] || "";
  }
}

function take() {
  const given = JSON.parse(props.value);
  if (!given.words) return; // our own report
  relabel(given.words);
  shown = given.url ? given : null;
  find(".mask-editor").classList.add("empty");
  if (!shown) return;
  picture.onload = () => {
    const scale = Math.min(1, LONGEST / Math.max(picture.naturalWidth, picture.naturalHeight));
    for (const each of [mask, tint]) {
      each.width = Math.max(1, Math.round(picture.naturalWidth * scale));
      each.height = Math.max(1, Math.round(picture.naturalHeight * scale));
    }
    cross = { x: mask.width / 2, y: mask.height / 2 };
    wipe();
    choose("brush");
    find(".mask-editor").classList.remove("empty"); // only now, or what is chosen before would be lost
    if (matchMedia("(max-width: 640px)").matches) stage.scrollIntoView({ block: "center" }); // below the conversation
  };
  picture.src = shown.url;
}

function wipe() {
  strokes = [];
  growth = { left: 0, top: 0, right: 0, bottom: 0 };
  redraw();
  report();
}

function choose(name) {
  mode = name;
  for (const button of element.querySelectorAll("[data-mode]"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === name));
  stage.classList.toggle("growing", name === "grow");
  redraw();
}

// Strokes are lists of points in the mask's pixels; the mask is what they leave.
function inked() {
  ink.clearRect(0, 0, mask.width, mask.height);
  ink.lineCap = ink.lineJoin = "round";
  for (const { erases, width, points } of strokes) {
    ink.globalCompositeOperation = erases ? "destination-out" : "source-over";
    ink.strokeStyle = "white";
    ink.lineWidth = width;
    ink.beginPath();
    ink.moveTo(points[0].x, points[0].y);
    for (const point of points) ink.lineTo(point.x, point.y + 1e-3);
    ink.stroke();
  }
}

// The part of the stage that the picture takes: all of it, or with room on each side to grow into.
function frame() {
  const room = mode === "grow" ? 0.5 : 0;
  return { x: mask.width * room, y: mask.height * room, width: mask.width * (1 + 2 * room), height: mask.height * (1 + 2 * room) };
}

function redraw() {
  if (!shown) return;
  const { x, y, width, height } = frame();
  const times = Math.max(1, Math.round(512 / Math.max(width, height))); // so that a small picture is drawn on finely
  canvas.width = width * times;
  canvas.height = height * times;
  pen.setTransform(times, 0, 0, times, x * times, y * times);
  const style = getComputedStyle(element), accent = style.getPropertyValue("--color-accent") || "#e66a1f";
  if (mode === "grow") {
    const grown = SIDES.map((side) => (growth[side] / 100) * (side === "left" || side === "right" ? mask.width : mask.height));
    pen.fillStyle = accent;
    pen.globalAlpha = 0.35;
    pen.fillRect(-grown[0], -grown[1], mask.width + grown[0] + grown[2], mask.height + grown[1] + grown[3]);
    pen.globalAlpha = 1;
    SIDES.forEach((side, index) => hold(side, grown[index]));
  }
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, mask.width, mask.height);
  if (mode === "grow") return;
  inked();
  dye.globalCompositeOperation = "copy";
  dye.drawImage(mask, 0, 0);
  dye.globalCompositeOperation = "source-in";
  dye.fillStyle = accent;
  dye.fillRect(0, 0, tint.width, tint.height);
  pen.globalAlpha = 0.6;
  pen.drawImage(tint, 0, 0);
  pen.globalAlpha = 1;
  if (document.activeElement === canvas) aim();
}

function aim() {
  pen.strokeStyle = "white";
  pen.lineWidth = Math.max(mask.width, mask.height) / 256;
  pen.beginPath();
  pen.arc(cross.x, cross.y, thickness() / 2, 0, 7);
  pen.stroke();
  pen.setLineDash([pen.lineWidth * 2, pen.lineWidth * 2]);
  pen.strokeStyle = "black";
  pen.stroke();
  pen.setLineDash([]);
}

// Place a side's handle where the picture will end.
function hold(side, grown) {
  const { x, y, width, height } = frame(), handle = find(`[data-side=${side}]`);
  const across = side === "left" ? x - grown : side === "right" ? x + mask.width + grown : width / 2;
  const down = side === "top" ? y - grown : side === "bottom" ? y + mask.height + grown : height / 2;
  handle.style.left = `${(100 * across) / width}%`;
  handle.style.top = `${(100 * down) / height}%`;
  handle.setAttribute("aria-valuenow", Math.round(growth[side]));
  handle.textContent = `${Math.round(growth[side])}%`;
}

function report() {
  if (!shown) return;
  inked();
  const page = document.createElement("canvas");
  page.width = mask.width;
  page.height = mask.height;
  const plain = page.getContext("2d");
  plain.fillRect(0, 0, page.width, page.height);
  plain.drawImage(mask, 0, 0);
  const marked = strokes.some((each) => !each.erases) ? page.toDataURL("image/png") : "";
  props.value = JSON.stringify({ picture: shown.picture, mask: marked, ...growth });
}

const thickness = () => (Number(find("input").value) / 100) * Math.max(mask.width, mask.height);

function point(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) / box.width) * mask.width, y: ((event.clientY - box.top) / box.height) * mask.height };
}

function begin(at) {
  stroke = { erases: mode === "eraser", width: thickness(), points: [at] };
  strokes.push(stroke);
  redraw();
}

canvas.addEventListener("pointerdown", (event) => {
  if (mode === "grow" || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  begin(point(event));
  event.preventDefault();
});
canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  stroke.points.push(...(event.getCoalescedEvents?.() || [event]).map(point));
  redraw();
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, () => {
    if (!stroke) return;
    stroke = null;
    report();
  });

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  if (mode === "grow" || !shown) return;
  const move = MOVES[event.key], pace = (event.shiftKey ? 0.1 : 0.02) * Math.max(mask.width, mask.height);
  if (move) {
    cross.x = Math.min(mask.width, Math.max(0, cross.x + move[0] * pace));
    cross.y = Math.min(mask.height, Math.max(0, cross.y + move[1] * pace));
    redraw();
  } else if (event.key === " ") {
    begin({ ...cross });
    stroke = null;
    report();
  } else return;
  event.preventDefault();
});
for (const name of ["focus", "blur"]) canvas.addEventListener(name, redraw);

function grow(side, percent) {
  growth[side] = Math.min(50, Math.max(0, percent));
  redraw();
}

for (const side of SIDES) {
  const handle = find(`[data-side=${side}]`), sign = side === "left" || side === "top" ? -1 : 1;
  const wide = side === "left" || side === "right";
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    event.preventDefault();
    handle.focus();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = canvas.getBoundingClientRect();
    const from = wide ? box.left + box.width / 2 : box.top + box.height / 2;
    const extent = (wide ? box.width : box.height) / 2; // the picture takes half of the stage
    const away = sign * ((wide ? event.clientX : event.clientY) - from) - extent / 2;
    grow(side, (100 * away) / extent);
  });
  handle.addEventListener("pointerup", report);
  handle.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move) return;
    grow(side, growth[side] + 5 * sign * (wide ? move[0] : move[1]));
    report();
    event.preventDefault();
  });
}

for (const button of element.querySelectorAll("[data-mode]")) button.addEventListener("click", () => choose(button.dataset.mode));
find("[data-word=unmark]").addEventListener("click", () => {
  strokes.pop();
  redraw();
  report();
});
find("[data-word=wipe]").addEventListener("click", wipe);
watch("value", take);
take();
