// gradio's fields have no `inputmode`: where a number is typed, a phone is to show the keyboard for numbers.
const modes = MODES; // by the id of the setting
for (const kind of ["pointerdown", "focusin"]) // the first comes in time for the keyboard
  document.addEventListener(kind, ({ target }) => {
    const mode = modes[target.closest?.("[id^=setting-]")?.id];
    if (mode && target.matches("input, textarea")) target.inputMode = mode;
  });
