// The conversations that are kept: { talks: [[key, time, html]], open, words, above, below }.  Rows that did not change stay,
// so that the keyboard's focus and a title that is being typed are left alone.
const list = element.querySelector(".talks");
const narrow = matchMedia("(max-width: 1199px)"); // the list and the conversation have no room side by side
let wanted = null; // the key whose title is being typed
let shown; // the key of the conversation that is open

function group(time, words) {
  const day = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  const days = Math.round((day(new Date()) - day(new Date(time))) / 86400000);
  return days < 1 ? words.today : days < 2 ? words.yesterday : words.earlier;
}

function node(key, kind, html) {
  const found = [...list.children].find((each) => each.dataset.key === key) || document.createElement("div");
  found.dataset.key = key;
  if (found.className !== kind) found.className = kind;
  if (found.source !== html && wanted !== key) {
    found.innerHTML = html;
    found.source = html;
  }
  return found;
}

function rows({ talks = [], open, words = {}, above, below }) {
  const made = above ? [node("above", "above", above)] : [];
  let last;
  for (const [key, time, html] of talks) {
    const here = group(time, words);
    if (here !== last) made.push(node(`group ${here}`, "group", here));
    last = here;
    const row = node(key, key === open ? "row open" : "row", html);
    row.querySelector(".talk")?.setAttribute("aria-current", String(key === open));
    made.push(row);
  }
  return below ? [...made, node("below", "below", below)] : made;
}

function draw() {
  const value = props.value || {};
  if (value.words?.name) list.setAttribute("aria-label", value.words.name);
  const made = rows(value);
  for (const each of [...list.children]) if (!made.includes(each)) each.remove();
  made.forEach((each, index) => {
    if (list.children[index] !== each) list.insertBefore(each, list.children[index] || null);
  });
  if (narrow.matches && shown !== undefined && shown !== value.open) close();
  shown = value.open;
}

const close = () => document.querySelector("#library.open .toggle-button")?.click();

function rename(row) {
  const title = row.querySelector(".title");
  const before = title.textContent;
  const field = Object.assign(document.createElement("input"), { value: before, maxLength: 120 });
  field.setAttribute("aria-label", row.querySelector("[data-do=rename]").title);
  wanted = row.dataset.key;
  row.querySelector(".talk").replaceWith(field);
  field.select();
  field.focus();
  const end = (keep) => {
    if (wanted !== row.dataset.key) return;
    wanted = null;
    row.source = null; // is drawn anew
    const text = field.value.trim();
    if (keep && text && text !== before) trigger("select", { verb: "rename", key: row.dataset.key, text });
    draw();
    row.querySelector("[data-do=rename]")?.focus();
  };
  field.addEventListener("blur", () => end(true));
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // or the button that gets the focus would be pressed by the same key
    end(event.key === "Enter");
  });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const row = button.closest(".row");
  if (button.dataset.do === "rename") return rename(row);
  if (button.dataset.do === "open" && narrow.matches) close();
  trigger("select", { verb: button.dataset.do, key: button.dataset.key ?? row?.dataset.key ?? "", text: "" });
});
// Where the window becomes too narrow for both, or another conversation was chosen there, the list makes room; gradio's
// sidebar would lie on the conversation.
narrow.addEventListener("change", () => narrow.matches && close());
watch("value", draw);
draw();
