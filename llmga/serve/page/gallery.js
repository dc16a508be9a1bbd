// Thumbnails lead to their picture in the conversation.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-goto]");
  const face = button && document.getElementById(button.dataset.goto);
  if (!face) return;
  face.scrollIntoView({ behavior: "smooth", block: "center" });
  face.closest(".painted")?.querySelector("button")?.focus({ preventScroll: true });
});
