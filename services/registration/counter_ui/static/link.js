// The server sends the state of the login account as soon as it changes.
"use strict";

(() => {
  const shown = document.querySelector("[data-link]");
  if (!shown) return;

  // What can be done fits the new state. The state itself stays where a screen reader is reading it.
  const renew = async () => {
    const page = await (await fetch(shown.dataset.linkPage)).text();
    const fresh = new DOMParser().parseFromString(page, "text/html").getElementById("link-actions");
    if (fresh) document.getElementById("link-actions")?.replaceWith(fresh);
  };

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
      renew();
    }
  });
})();
