// A scanner types fast and ends with Enter. Whatever it reads outside a field goes to the scan form.
"use strict";

(() => {
  const form = document.getElementById("scan");
  const field = document.getElementById("card_number");
  if (!form || !field) return;

  const PAUSE = 400; // milliseconds: slower than any scanner, so that stray keys are forgotten
  let read = "";
  let last = 0;

  const writes = (element) =>
    element.matches("input, select, textarea, button, a, summary, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || writes(event.target)) return;
    if (event.timeStamp - last > PAUSE) read = "";
    last = event.timeStamp;
    if (event.key === "Enter") {
      if (!read) return;
      event.preventDefault();
      field.value = read;
      read = "";
      form.requestSubmit();
    } else if (event.key.length === 1) {
      read += event.key;
    }
  });

  // A double Enter sends the form once; coming back to the page, it can be sent again.
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener("pageshow", () => {
    sent = false;
  });
})();
