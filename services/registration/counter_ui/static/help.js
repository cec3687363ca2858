// F1 opens and closes the help of the page, which its link does without JavaScript. Escape closes it.
"use strict";

(() => {
  const isOpen = () => window.location.hash === "#help";
  const go = (hash) => window.location.replace(hash); // no step more for Back

  document.addEventListener("keydown", (event) => {
    if (event.key === "F1") {
      event.preventDefault(); // the browser's own help
      go(isOpen() ? "#main" : "#help");
    } else if (event.key === "Escape" && isOpen()) {
      go("#main");
    }
  });
})();
