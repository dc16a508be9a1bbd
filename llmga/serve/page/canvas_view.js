// How the canvas is seen: a picture's pixels on the stage, zoomed and moved, with what is marked hatched over it.  The hatch
// is of three colours, one of which differs from any picture, and wanders slowly.
const HATCH = 12; // pixels of the screen after which the hatch repeats
const LARGEST_ZOOM = 16;

class View {
  zoom = 1;
  x = 0; // of the frame's middle from the stage's, in pixels of the screen
  y = 0;

  // frame: what is to be seen at zoom 1, around the picture's own corner, in pixels of the picture.
  place(stage, frame) {
    const scale = Math.min(stage.width / frame.width, stage.height / frame.height) * this.zoom;
    return { scale, left: stage.width / 2 + this.x - (frame.x + frame.width / 2) * scale, top: stage.height / 2 + this.y - (frame.y + frame.height / 2) * scale };
  }

  // Zoom, while the point of the stage (from its middle) stays where it is.
  by(times, x = 0, y = 0) {
    const before = this.zoom;
    this.zoom = bounded(before * times, 1, LARGEST_ZOOM);
    const ratio = this.zoom / before;
    this.x = x - (x - this.x) * ratio;
    this.y = y - (y - this.y) * ratio;
    if (this.zoom === 1) this.fit();
  }

  fit() {
    this.zoom = 1;
    this.x = this.y = 0;
  }
}

// The room around a picture that its sides can grow into.
function frameOf(width, height, growing, growth) {
  const room = (before, after) => (growing ? Math.max(0.3, Math.max(growth[before], growth[after]) / 100 + 0.15) : 0);
  const across = width * room("left", "right"), down = height * room("top", "bottom");
  return { x: -across, y: -down, width: width + 2 * across, height: height + 2 * down };
}

function hatch(accent) {
  const tile = document.createElement("canvas"), pen = tile.getContext("2d");
  tile.width = tile.height = HATCH;
  const stripes = [[0, 3, accent, 0.85], [3, 3, "#fff", 0.95], [6, 3, "#000", 0.9]]; // the rest lets the picture through
  for (let y = 0; y < HATCH; y++)
    for (const [from, wide, colour, alpha] of stripes) {
      pen.globalAlpha = alpha;
      pen.fillStyle = colour;
      for (let x = from; x < from + wide; x++) pen.fillRect((x - y + HATCH) % HATCH, y, 1, 1);
    }
  return tile;
}

// Fill what is drawn on a layer with the hatch.
function hatched(dye, tile, wandered, across = dye.canvas.width, down = dye.canvas.height) {
  const pattern = dye.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().translate(wandered % HATCH, 0));
  dye.setTransform(1, 0, 0, 1, 0, 0);
  dye.filter = "none";
  dye.globalCompositeOperation = "source-in";
  dye.fillStyle = pattern;
  dye.fillRect(0, 0, across, down);
}

// A ring that is seen on black and on white.
function ring(pen, x, y, radius) {
  for (const [colour, wide] of [["#000", 3], ["#fff", 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.beginPath();
    pen.arc(x, y, Math.max(1.5, radius), 0, 7);
    pen.stroke();
  }
}

function dashes(pen, x, y, width, height) {
  for (const [colour, shift] of [["#000", 0], ["#fff", 5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 5]);
    pen.lineDashOffset = shift;
    pen.strokeRect(x, y, width, height);
  }
  pen.setLineDash([]);
}
