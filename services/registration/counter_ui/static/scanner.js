// A scanner types fast and ends with Enter. Whatever it reads outside a text field goes to the scan form, and
// never presses the button or follows the link that happens to have the focus.
"use strict";

(() => {
  const form = document.getElementById("scan");
  const field = document.getElementById("card_number");
  const status = document.getElementById("status");
  const canScan = form && field && form.contains(field);

  const PAUSE = 400; // milliseconds: slower than any scanner, so that stray keys are forgotten
  let read = "";
  let last = 0;

  const takesText = (element) =>
    element.matches("input:not([type='checkbox'], [type='radio']), select, textarea, [contenteditable]");

  // A page without a scan form is in the middle of something: that is finished or left first.
  const tellWhyNot = () => {
    const notice = document.createElement("p");
    notice.className = "alert warning";
    notice.textContent = status.dataset.busy;
    status.replaceChildren(notice);
    window.scrollTo(0, 0);
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || takesText(event.target)) return;
    if (event.timeStamp - last > PAUSE) read = "";
    last = event.timeStamp;
    if (event.key === "Enter") {
      if (!read) return;
      event.preventDefault();
      if (canScan) {
        field.value = read;
        form.requestSubmit();
      } else {
        tellWhyNot();
      }
      read = "";
    } else if (event.key.length === 1 && event.key !== " ") {
      read += event.key; // the space bar is somebody's who presses a button
    }
  });

  if (!form) return;
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
