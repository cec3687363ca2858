// The server sends the parts of the operators' page that have changed. What has the focus keeps it.
"use strict";

(() => {
  const state = document.querySelector("[data-live]");
  if (!state) return;

  const shown = {};
  const source = new EventSource(state.dataset.live);
  source.addEventListener("open", () => {
    state.textContent = state.dataset.on;
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) state.textContent = state.dataset.off;
  });
  source.addEventListener("part", (event) => {
    const { id, html } = JSON.parse(event.data);
    if (shown[id] === html) return;
    shown[id] = html;
    const part = document.getElementById(id);
    const focused = part.contains(document.activeElement) && document.activeElement.id;
    const open = new Set([...part.querySelectorAll("details[open] > summary")].map((summary) => summary.id));
    part.innerHTML = html;
    for (const summary of part.querySelectorAll("details > summary")) {
      summary.parentElement.open ||= open.has(summary.id);
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  });
})();
