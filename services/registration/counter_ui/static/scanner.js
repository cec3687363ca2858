// A scanner types fast and ends with Enter. What it reads outside a text field goes to the scan form; its Enter
// must not press a button or follow a link that has the focus.
"use strict";

(() => {
  const form = document.getElementById("scan");
  const field = document.getElementById("card_number");
  const status = document.getElementById("status");
  const canScan = form && field && form.contains(field);

  const PAUSE = 400; // milliseconds, slower than any scanner: keys before a pause are dropped
  let read = "";
  let last = 0;

  const takesText = (element) =>
    element.matches("input:not([type='checkbox'], [type='radio']), select, textarea, [contenteditable]");

  // A page without a scan form has a form that the clerk first finishes or cancels.
  const showWhyNot = () => {
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
        showWhyNot();
      }
      read = "";
    } else if (event.key.length === 1 && event.key !== " ") {
      read += event.key; // not the space bar: a clerk presses a button with it
    }
  });

  // A form beside the field sends the number that stands in it now, not the one that the page came with.
  for (const copy of document.querySelectorAll("input[data-as-typed]")) {
    copy.form.addEventListener("submit", () => {
      copy.value = field.value;
    });
  }

  if (!form) return;
  // What is scanned into the field takes the place of the number that is there.
  const select = () => field.select();
  if (canScan) field.addEventListener("focus", select);
  if (canScan && document.activeElement === field) select();

  // A double Enter sends the form once. After a return to the page it can be sent again.
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener("pageshow", () => {
    sent = false;
  });
})();
