// The conversation: a list of [key, kind, html] blocks.  Only blocks that changed are drawn anew, so that a streamed answer
// leaves pictures, the place in the text and the keyboard's focus alone.
const log = element.querySelector(".log");
let atEnd = true; // stays there while the answer grows, unless the reader scrolled up

function keepEnd() {
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function draw() {
  const blocks = props.value || [];
  const there = new Map([...log.children].map((node) => [node.dataset.key, node]));
  const wanted = new Set(blocks.map(([key]) => key));
  for (const [key, node] of there) if (!wanted.has(key)) node.remove();
  blocks.forEach(([key, kind, html], index) => {
    let node = there.get(key);
    if (!node) {
      node = document.createElement("div");
      node.dataset.key = key;
      atEnd ||= kind === "user"; // who says something wants to see the answer
    }
    if (node.className !== kind) node.className = kind;
    if (node.source !== html) {
      node.innerHTML = html;
      node.source = html;
    }
    if (log.children[index] !== node) log.insertBefore(node, log.children[index] || null);
  });
  keepEnd();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { do: verb, number, address = "", text } = button.dataset;
  const words = button.closest(".painted")?.querySelector("textarea")?.value;
  trigger("select", { verb, number: Number(number ?? -1), address, text: text ?? words ?? "" });
});
log.addEventListener("load", keepEnd, true); // a picture has got its height
log.addEventListener("scroll", () => (atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80));
watch("value", draw);
draw();
