// The server sends the progress of a rebuild. At the end the page is loaded again.
"use strict";

(() => {
  const bar = document.getElementById("progress");
  if (!bar) return;

  const source = new EventSource(bar.dataset.source);
  const show = (event) => {
    const state = JSON.parse(event.data);
    bar.value = state.percentage;
    for (const name of ["percentage", "done", "total"]) {
      document.getElementById(name).textContent = state[name];
    }
  };
  source.addEventListener("progress", show);
  source.addEventListener("ended", (event) => {
    source.close();
    show(event);
    window.location.reload();
  });
})();
