// The light box: a picture of the conversation over everything else, with what it was made of and how.  Which pictures
// there are stands in the conversation (`data-picture`); what is done with one there, its buttons there do.
const SMALL = 256; // the dots of smaller pictures stay sharp, as in pictures.py
const STEP = 1.25, FARTHEST = 40;
const dialog = () => element.querySelector("dialog");
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const button = (name) => element.querySelector(`[data-do="${name}"]`);
const fingers = new Map(); // pointers on the stage, by their id
let pictures = [], at = 0, view = "one", zoom = 1, shift = { x: 0, y: 0 };

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const sharp = ({ size }) => Math.max(...size) <= SMALL;
const versions = () => pictures.filter(({ address }) => address && address === pictures[at].address);

function node(name, options = {}, ...children) {
  const made = Object.assign(document.createElement(name), options);
  made.append(...children);
  return made;
}

function face(picture, url = picture.url) {
  const image = node("img", { src: url, alt: picture.prompt, draggable: zoom === 1 });
  image.classList.toggle("small", sharp(picture));
  return image;
}

function open(number) {
  pictures = [...document.querySelectorAll(".log [data-picture]")].map(({ dataset }) => JSON.parse(dataset.picture));
  const found = pictures.findIndex((each) => each.number === number);
  if (found < 0) return;
  if (!dialog().open) dialog().showModal();
  show(found);
  dialog().focus(); // what the browser has given it to may be hidden or disabled by now, and keys would go nowhere
}

function show(index, kind = "one") {
  at = clamp(index, 0, pictures.length - 1);
  const picture = pictures[at], [width, height] = picture.size;
  view = kind;
  zoom = 1;
  shift = { x: 0, y: 0 };
  part("place").textContent = `${at + 1} / ${pictures.length}`;
  part("prompt").textContent = picture.prompt;
  part("words").hidden = !picture.prompt;
  part("record").hidden = !picture.made.length;
  part("made").replaceChildren(
    ...picture.made.flatMap(([name, said]) => [node("dt", { textContent: name }), node("dd", { textContent: said })]),
  );
  Object.assign(part("download"), { href: picture.url, download: picture.file });
  button("previous").disabled = at === 0;
  button("next").disabled = at === pictures.length - 1;
  button("compare").hidden = !picture.before;
  button("versions").hidden = versions().length < 2;
  for (const name of ["compare", "versions"]) button(name).setAttribute("aria-pressed", String(view === name));
  part("strip").replaceChildren(...(pictures.length > 1 ? pictures.map(thumbnail) : []));
  part("strip").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  part("stage").replaceChildren(view === "compare" ? slider(picture) : view === "versions" ? side() : face(picture));
  fit();
}

function thumbnail(picture, index) {
  const made = node("button", { type: "button" }, face(picture));
  made.dataset.show = index;
  made.setAttribute("aria-label", `${dialog().getAttribute("aria-label")} ${picture.number + 1}`);
  if (index === at) made.setAttribute("aria-current", "true");
  return made;
}

function side() {
  const grid = node("div", { className: "side-by-side" });
  for (const each of versions()) grid.append(thumbnail(each, pictures.indexOf(each)));
  return grid;
}

// The picture before is laid over the one after, and cut where the slider stands.  Its words are not in the template, as
// gradio leaves what is in one as it is when the language changes.
function slider(picture) {
  const made = part("slider").content.firstElementChild.cloneNode(true);
  const [after, before] = made.querySelectorAll("img");
  after.src = picture.url;
  before.src = picture.before;
  for (const image of [after, before]) image.classList.toggle("small", sharp(picture));
  const { before: left, after: right } = dialog().dataset;
  [left, right].forEach((word, side) => (made.querySelectorAll(".side")[side].textContent = word));
  made.querySelector("input").setAttribute("aria-label", button("compare").getAttribute("aria-label"));
  cut(made, 50);
  return made;
}

const cut = (compare, percent) => compare.style.setProperty("--at", `${percent}%`);

// As large as the stage allows; a small one by a whole number of times, so that its dots are all alike.
function fit() {
  const shown = part("stage").firstElementChild, stage = part("stage").getBoundingClientRect();
  if (!shown || view === "versions") return (part("zoom").textContent = "");
  const [width, height] = pictures[at].size;
  let scale = Math.min((stage.width - 16) / width, (stage.height - 16) / height);
  if (sharp(pictures[at]) && scale > 2) scale = Math.floor(scale);
  shown.style.width = `${width * scale}px`;
  shown.style.height = `${height * scale}px`;
  move(scale);
}

function move(scale = Number.parseFloat(part("stage").firstElementChild.style.width) / pictures[at].size[0]) {
  const shown = part("stage").firstElementChild;
  const reach = { x: (shown.offsetWidth * (zoom - 1)) / 2, y: (shown.offsetHeight * (zoom - 1)) / 2 };
  shift = { x: clamp(shift.x, -reach.x, reach.x), y: clamp(shift.y, -reach.y, reach.y) };
  shown.style.transform = `translate(${shift.x}px, ${shift.y}px) scale(${zoom})`;
  shown.draggable = zoom === 1;
  part("stage").classList.toggle("zoomed", zoom > 1);
  part("zoom").textContent = `${Math.round(scale * zoom * 100)} %`;
  button("zoom out").disabled = zoom <= 1;
  button("fit").disabled = zoom === 1;
}

// `where`: the place in the stage, from its middle, that stays under the pointer.
function magnify(times, where = { x: 0, y: 0 }) {
  if (view === "versions") return;
  const before = zoom;
  zoom = clamp(zoom * times, 1, FARTHEST);
  if (zoom < 1.01) zoom = 1;
  shift = { x: where.x - ((where.x - shift.x) * zoom) / before, y: where.y - ((where.y - shift.y) * zoom) / before };
  move();
}

function fromMiddle(event) {
  const box = part("stage").getBoundingClientRect();
  return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
}

const ACTIONS = {
  previous: () => show(at - 1),
  next: () => show(at + 1),
  close: () => dialog().close(),
  compare: () => show(at, view === "compare" ? "one" : "compare"),
  versions: () => show(at, view === "versions" ? "one" : "versions"),
  "zoom in": () => magnify(STEP),
  "zoom out": () => magnify(1 / STEP),
  fit: () => magnify(0),
  "go to": () => {
    dialog().close();
    const shown = document.getElementById(`picture-${pictures[at].number}`);
    shown?.scrollIntoView({ block: "center" });
    shown?.querySelector("button")?.focus({ preventScroll: true });
  },
  copy: async (pressed) => {
    await navigator.clipboard?.writeText(pictures[at].prompt);
    const said = pressed.querySelector("span"), before = said.textContent;
    said.textContent = dialog().dataset.copied;
    setTimeout(() => (said.textContent = before), 1500);
  },
};

element.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-do], [data-show], [data-verb]");
  if (event.target === dialog()) return dialog().close(); // beside everything
  if (!pressed) return;
  if (pressed.dataset.show) return show(Number(pressed.dataset.show));
  if (!pressed.dataset.verb) return ACTIONS[pressed.dataset.do](pressed);
  dialog().close();
  document.querySelector(`.log [data-do="${pressed.dataset.verb}"][data-number="${pictures[at].number}"]`)?.click();
});
element.addEventListener("input", (event) => cut(event.target.closest(".compare"), event.target.value));
element.addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return; // the slider has arrows of its own
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "zoom in", "=": "zoom in", "-": "zoom out", 0: "fit" };
  const name = keys[event.key];
  if (!name || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (!button(name).disabled) ACTIONS[name]();
  if (button(name).disabled) dialog().focus(); // a button that has the focus and is disabled would swallow the next key
});
element.addEventListener(
  "wheel",
  (event) => {
    if (!event.target.closest("[data-part=stage]") || view === "versions") return;
    event.preventDefault();
    magnify(event.deltaY < 0 ? STEP : 1 / STEP, fromMiddle(event));
  },
  { passive: false },
);
element.addEventListener("dblclick", (event) => {
  if (event.target.closest("[data-part=stage] > img")) magnify(zoom > 1 ? 0 : 3, fromMiddle(event));
});

// One finger moves what is enlarged, or leads to the next picture; two enlarge.
element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest("[data-part=stage] > img")) return;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, from: event.clientX });
  if (zoom > 1) event.target.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  const finger = fingers.get(event.pointerId);
  if (!finger) return;
  const [one, two] = fingers.values(), apart = two && Math.hypot(one.x - two.x, one.y - two.y);
  if (!two && zoom > 1) {
    shift = { x: shift.x + event.clientX - finger.x, y: shift.y + event.clientY - finger.y };
    move();
  }
  Object.assign(finger, { x: event.clientX, y: event.clientY });
  if (two) magnify(Math.hypot(one.x - two.x, one.y - two.y) / apart);
});
for (const name of ["pointerup", "pointercancel", "pointerleave"])
  element.addEventListener(
    name,
    (event) => {
      const finger = fingers.get(event.pointerId), alone = fingers.size === 1;
      fingers.delete(event.pointerId);
      const way = finger && event.pointerType === "touch" && zoom === 1 && alone ? event.clientX - finger.from : 0;
      if (Math.abs(way) > 60) show(at - Math.sign(way));
    },
    true,
  );

addEventListener("resize", () => dialog()?.open && fit());
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) open(Number(opener.dataset.open));
});
