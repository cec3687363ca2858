// What was done, and that an answer takes long: lines that a screen reader reads out.
"use strict";

(() => {
  const status = document.getElementById("status");
  const words = document.getElementById("busy-words");
  const PATIENCE = 250; // milliseconds: a shorter wait needs no word

  // A screen reader reads what changes: a line that came with the page takes its own place once more.
  for (const line of [...status.children]) {
    setTimeout(() => line.replaceWith(line.cloneNode(true)), PATIENCE);
  }

  // A slow home library is waited for in sight; the clerk can stop waiting.
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

  const wait = () => {
    clear();
    timer = setTimeout(show, PATIENCE);
  };

  // After the listeners of the form itself, which may have refused to send it. No page comes of a download.
  document.addEventListener("submit", (event) => {
    if (!event.defaultPrevented && !event.submitter?.hasAttribute("data-download")) wait();
  });
  // Opening a guest may ask its home library too. With a key held down the page opens elsewhere.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]:not([href^='#'])");
    if (link && !(event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey)) wait();
  });
  window.addEventListener("pageshow", clear);
})();
