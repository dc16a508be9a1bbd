// The conversation: a list of [key, kind, html] blocks.  Only blocks that changed are drawn anew, so that a streamed answer
// leaves pictures, the place in the text and the keyboard's focus alone.
const log = element.querySelector(".log");
let atEnd = true; // stays there while the answer grows, unless the reader scrolled up

function keepEnd() {
  if (atEnd) log.scrollTop = log.querySelector(".user") ? log.scrollHeight : 0;
}

function draw() {
  const blocks = props.value || [];
  const there = new Map([...log.children].map((node) => [node.dataset.key, node]));
  const wanted = new Set(blocks.map(([key]) => key));
  const fresh = [];
  for (const [key, node] of there) if (!wanted.has(key)) node.remove();
  blocks.forEach(([key, kind, html], index) => {
    let node = there.get(key);
    if (!node) {
      node = document.createElement("div");
      node.dataset.key = key;
      atEnd ||= kind === "user"; // who says something wants to see the answer
      fresh.push(node);
    }
    if (node.className !== kind) node.className = kind;
    if (node.source !== html) {
      const focused = node.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
      node.innerHTML = html;
      node.source = html;
      if (focused) node.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
    if (log.children[index] !== node) log.insertBefore(node, log.children[index] || null);
  });
  settle();
  keepEnd();
  announce(fresh);
}

// What cannot be done while an answer is given is disabled until it is there.
const BUSY = ["similar", "retry", "undo", "edit", "paint", "say", "bring back"];
const message = () => document.querySelector("#message");
const busy = () => Boolean(message()?.querySelector(".stop-button"));

function settle() {
  for (const button of log.querySelectorAll("[data-do]")) button.disabled = BUSY.includes(button.dataset.do) && busy();
  const clear = document.querySelector("#clear");
  if (clear) clear.disabled = !log.querySelector(".user"); // nothing to leave
}

// Those who hear the page are told what is new in whole sentences, not with every token: words when they pause, pictures
// when they begin and when they are there, troubles at once.  What was there before is not read out again.
const polite = element.querySelector("[role=status]"), urgent = element.querySelector("[role=alert]");
const heard = new WeakMap(), said = new Set();
let pause = 0, told = 0;

function announce(fresh) {
  const old = fresh.filter((node) => node.className === "user").length > 1; // a whole conversation came back
  for (const node of log.querySelectorAll("[data-say]")) {
    const text = node.dataset.say, key = `${node.closest("[data-key]").dataset.key} ${text}`;
    if (!said.has(key) && !old) polite.textContent = text;
    said.add(key);
  }
  for (const node of fresh) {
    if (old && node.matches(".words")) heard.set(node, node.textContent.length);
    if (old || !node.matches(".trouble, .note")) continue;
    urgent.textContent = node.textContent;
    clearTimeout(told);
    told = setTimeout(() => (urgent.textContent = ""), 3000);
  }
  clearTimeout(pause);
  pause = setTimeout(read, 900);
}

function read() {
  const spoken = [...log.querySelectorAll(".words")].map((node) => {
    const from = heard.get(node) || 0;
    heard.set(node, node.textContent.length);
    return node.textContent.slice(from).trim();
  });
  const text = spoken.filter(Boolean).join(" ");
  if (text) polite.textContent = text;
}

// A message is edited where it stands.
function edit(button) {
  const block = button.closest(".user"), bubble = block.querySelector(".bubble"), row = button.closest(".actions");
  const box = document.createElement("textarea"), form = document.createElement("div");
  const send = document.createElement("button"), leave = document.createElement("button");
  form.className = "editing";
  box.value = bubble.textContent;
  box.setAttribute("aria-label", button.getAttribute("aria-label"));
  send.textContent = row.dataset.send;
  leave.textContent = row.dataset.leave;
  const end = () => {
    form.remove();
    bubble.hidden = row.hidden = false;
    button.focus();
  };
  const done = () => {
    if (!box.value.trim() || busy()) return;
    trigger("select", { verb: "edit", number: Number(button.dataset.number), address: "", text: box.value });
    end();
  };
  send.onclick = done;
  leave.onclick = end;
  box.onkeydown = (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") end();
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      done();
    }
  };
  form.append(box, send, leave);
  bubble.hidden = row.hidden = true;
  bubble.after(form);
  box.focus();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const { do: verb, number, address = "", text } = button.dataset;
  if (verb === "edit") return edit(button);
  const words = button.closest(".painted")?.querySelector("textarea")?.value;
  trigger("select", { verb, number: Number(number ?? -1), address, text: text ?? words ?? "" });
  if (verb === "look" || verb === "change") message()?.querySelector("textarea")?.focus();
});
log.addEventListener("load", keepEnd, true); // a picture has got its height
log.addEventListener("scroll", () => (atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80));
function follow() {
  if (message()) new MutationObserver(settle).observe(message(), { childList: true, subtree: true });
  else requestAnimationFrame(follow); // gradio has not drawn the box yet
}
follow();
watch("value", draw);
draw();
