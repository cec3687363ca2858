// An answer that takes long, because a home library is slow, is waited for in sight; the clerk can stop waiting.
"use strict";

(() => {
  const status = document.getElementById("status");
  const words = document.getElementById("busy-words");
  const PATIENCE = 250; // milliseconds: a shorter wait needs no word

  let timer = 0;
  const clear = () => {
    clearTimeout(timer);
    document.getElementById("busy")?.remove();
  };

  const show = () => {
    status.append(words.content.cloneNode(true));
    document.querySelector("#busy button").addEventListener("click", () => {
      window.stop();
      window.dispatchEvent(new Event("pageshow")); // as after a return: what was sent can be sent again
    });
  };

  // After the listeners of the form itself, which may have refused to send it.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    clear();
    timer = setTimeout(show, PATIENCE);
  });
  window.addEventListener("pageshow", clear);
})();
