// The server sends the state of the login account as soon as it changes.
"use strict";

(() => {
  const shown = document.querySelector("[data-link]");
  if (!shown) return;

  const source = new EventSource(shown.dataset.link);
  source.addEventListener("message", (event) => {
    const { kind, text, pending } = JSON.parse(event.data);
    shown.className = `alert ${kind}`;
    if (kind === "error") document.querySelector("h1.good")?.classList.remove("good"); // never under a green heading
    shown.dataset.pending = pending;
    shown.querySelector(".alert-text").textContent = text;
    if (!pending) {
      source.close();
      document.querySelector("[data-link-refresh]")?.setAttribute("hidden", "");
    }
  });
})();
