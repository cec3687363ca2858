// How far a rebuild is, as the server tells it; at the end the page is shown anew.
"use strict";

(() => {
  const bar = document.getElementById("progress");
  if (!bar) return;

  const source = new EventSource(bar.dataset.source);
  const show = (event) => {
    const told = JSON.parse(event.data);
    bar.value = told.percentage;
    for (const name of ["percentage", "done", "total"]) {
      document.getElementById(name).textContent = told[name];
    }
  };
  source.addEventListener("progress", show);
  source.addEventListener("ended", (event) => {
    source.close();
    show(event);
    window.location.reload();
  });
})();
