// The line above the message box; its button lets the next message be about nothing in particular.
element.addEventListener("click", (event) => {
  if (event.target.closest("[data-do]")) trigger("click");
});
