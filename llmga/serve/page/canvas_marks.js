// What was done on the canvas, as data.  A mark is a stroke, a rectangle, a lasso or an inversion in pixels of the mask;
// a growth says how much each side grows, in percent of the picture.  All of it can be taken back, wiping included.
const SIDES = ["left", "top", "right", "bottom"];
const NO_GROWTH = { left: 0, top: 0, right: 0, bottom: 0 };
const MOST = 200; // percent that a side grows at most at once, as `mask_editor.py` has it

class History {
  done = [];
  undone = [];

  add(step) {
    this.done.push(step);
    this.undone = [];
  }

  undo() {
    if (this.done.length) this.undone.push(this.done.pop());
  }

  redo() {
    if (this.undone.length) this.done.push(this.undone.pop());
  }

  // What counts: everything since the canvas was last wiped.
  get steps() {
    return this.done.slice(this.done.findLastIndex((step) => step.kind === "wipe") + 1);
  }

  get marks() {
    return this.steps.filter((step) => step.kind !== "growth");
  }

  get growth() {
    return this.steps.findLast((step) => step.kind === "growth")?.growth ?? NO_GROWTH;
  }
}

const bounded = (value, least, greatest) => Math.min(greatest, Math.max(least, value));
const grows = (growth) => SIDES.some((side) => growth[side] >= 0.5);
const withSide = (growth, side, percent) => ({ ...growth, [side]: bounded(percent, 0, MOST) });

// The growth to an aspect such as 16/9, the picture in its middle; what it has of this aspect already does not grow.
function grownTo(aspect, width, height) {
  const across = Math.max(0, ((height * aspect) / width - 1) * 50);
  const down = Math.max(0, (width / aspect / height - 1) * 50);
  return { left: bounded(across, 0, MOST), top: bounded(down, 0, MOST), right: bounded(across, 0, MOST), bottom: bounded(down, 0, MOST) };
}

// The picture moved inside what it grows to, by percents of its own width and height.
function moved(growth, across, down) {
  const x = bounded(across, -growth.left, growth.right), y = bounded(down, -growth.top, growth.bottom);
  return { left: growth.left + x, right: growth.right - x, top: growth.top + y, bottom: growth.bottom - y };
}

// Width and height of what a picture grows to.
function grownSize(growth, width, height) {
  const share = (before, after) => 1 + (growth[before] + growth[after]) / 100;
  return [Math.round(width * share("left", "right")), Math.round(height * share("top", "bottom"))];
}

// Put a mark on a drawing: white is marked, transparent is not.
function put(ink, mark, width, height) {
  ink.globalCompositeOperation = mark.kind === "invert" ? "xor" : mark.erases ? "destination-out" : "source-over";
  ink.fillStyle = ink.strokeStyle = "white";
  ink.lineCap = ink.lineJoin = "round";
  const points = mark.points ?? [];
  ink.beginPath();
  if (mark.kind === "invert") ink.rect(0, 0, width, height);
  else if (mark.kind === "rectangle") {
    const [from, to] = [points[0], points[points.length - 1]];
    ink.rect(Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  } else {
    ink.moveTo(points[0].x, points[0].y);
    for (const point of points) ink.lineTo(point.x, point.y + 1e-3); // a single point is seen, too
  }
  if (mark.kind === "stroke") {
    ink.lineWidth = mark.width;
    ink.stroke();
  } else ink.fill();
}
