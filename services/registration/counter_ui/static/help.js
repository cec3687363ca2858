// F1 opens and closes the help of the page, which its link does without JavaScript. Escape closes it. Then what
// had the focus when F1 opened it has it again.
"use strict";

(() => {
  const isOpen = () => window.location.hash === "#help";
  let before = null;
  const go = (hash) => window.location.replace(hash); // no step more for Back

  document.addEventListener("keydown", (event) => {
    if (event.key === "F1") {
      event.preventDefault(); // the browser's own help
      if (!isOpen()) before = document.activeElement;
      go(isOpen() ? "#main" : "#help");
    } else if (event.key === "Escape" && isOpen()) {
      go("#main");
    }
  });
  window.addEventListener("hashchange", () => {
    if (isOpen()) return;
    before?.focus();
    before = null;
  });
})();
