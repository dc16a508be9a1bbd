// The line above the message box, and what gradio's box does not do by itself: a message that waits for the answer
// before it, pictures that are pasted or dropped anywhere, and the cards of the welcome.
const message = () => document.querySelector("#message");
const box = () => message().querySelector("textarea");
const talk = () => document.querySelector("#talk");
const busy = () => Boolean(message().querySelector(".stop-button"));
const waits = document.createElement("div"); // beside what gradio draws, which it would draw over
const PICTURE = "application/x-llmga-picture"; // what is dragged is one of the conversation, by its number
const AGAIN = 500; // milliseconds
let tries = 0, tried = -AGAIN;

element.addEventListener("click", (event) => {
  if (event.target.closest("[data-do=drop]")) trigger("click");
});

// Enter while an answer is given: what stands in the box is sent when it is done, and may be changed until then.
function queue(wanted) {
  const { waits: told, not } = document.querySelector("#words").dataset;
  const button = document.createElement("button");
  button.textContent = not;
  button.onclick = () => queue(false);
  waits.className = "subject waits";
  waits.setAttribute("role", "status");
  waits.replaceChildren(...(wanted ? [Object.assign(document.createElement("span"), { textContent: told }), button] : []));
  if (wanted) message().before(waits);
  else waits.remove();
  tries = 0;
}

function send() {
  // Every change of the box leads here, among them those that a message leads to that was taken: it is not sent twice.
  if (!waits.isConnected) return;
  if (tries && !box().value.trim()) return queue(false); // it was taken, however long its answer is going to be
  if (busy() || performance.now() - tried < 0.9 * AGAIN) return;
  if (!box().value.trim() || tries++ > 20) return queue(false);
  tried = performance.now();
  message().querySelector(".submit-button")?.click();
  setTimeout(send, AGAIN); // gradio takes nothing before the last of the answer before has arrived
}

document.addEventListener(
  "keydown",
  (event) => {
    if (event.target !== box() || event.key !== "Enter" || event.shiftKey || event.isComposing || !busy()) return;
    event.preventDefault();
    event.stopPropagation();
    if (box().value.trim()) queue(true);
  },
  true,
);
function follow() {
  if (message()) new MutationObserver(send).observe(message(), { childList: true, subtree: true });
  else requestAnimationFrame(follow); // gradio has not drawn the box yet
}
follow();

// Pictures from outside go into the box, wherever on the page they are put.
function take(files) {
  const pictures = [...files].filter(({ type, name }) => type.startsWith("image/") || /\.(heic|heif)$/i.test(name));
  const input = message().querySelector("input[type=file]");
  if (!pictures.length || !input) return false;
  const given = new DataTransfer();
  for (const each of pictures) given.items.add(each);
  input.files = given.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  box().focus();
  return true;
}

document.addEventListener("paste", (event) => {
  if (event.target.closest?.("#message") || event.target.matches?.("input, textarea")) return; // gradio's own
  if (take(event.clipboardData?.files || [])) event.preventDefault();
});
document.addEventListener("dragstart", (event) => {
  const shown = event.target.closest?.(".log [data-picture]");
  if (shown) event.dataTransfer.setData(PICTURE, JSON.parse(shown.dataset.picture).number);
});
document.addEventListener("dragover", (event) => {
  const ours = event.dataTransfer.types.includes(PICTURE);
  if (!ours && !event.dataTransfer.types.includes("Files")) return;
  if (!event.target.closest?.("#talk")) return;
  event.preventDefault();
  talk().classList.add("dropping");
});
for (const name of ["dragleave", "dragend", "drop"])
  document.addEventListener(name, (event) => {
    if (name !== "dragleave" || !event.relatedTarget?.closest?.("#talk")) talk().classList.remove("dropping");
  }, true);
document.addEventListener(
  "drop",
  (event) => {
    const number = event.dataTransfer.getData(PICTURE);
    if (!event.target.closest?.("#talk")) return;
    if (number) {
      event.preventDefault();
      event.stopPropagation(); // or gradio would upload it once more
      document.querySelector(`.log [data-do=look][data-number="${number}"]`)?.click();
    } else if (!event.target.closest("#message") && take(event.dataTransfer.files)) event.preventDefault();
  },
  true,
);

const CARDS = {
  say: () => suggest(document.querySelector(".examples [data-text]")?.dataset.text),
  upload: () => message().querySelector("input[type=file]")?.click(),
  fill: () => document.querySelector("#bring-mark input[type=file], #bring-mark")?.click(),
  larger: () => document.querySelector("#bring-larger input[type=file], #bring-larger")?.click(),
  story: () => suggest(document.querySelector("#words").dataset.story),
};

function suggest(text = "") {
  box().value = text;
  box().dispatchEvent(new Event("input", { bubbles: true }));
  box().focus();
  box().select();
}

document.addEventListener("click", (event) => {
  const card = event.target.closest?.("[data-card]");
  if (card) CARDS[card.dataset.card]();
});
