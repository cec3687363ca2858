// The server sends the state of the login account as soon as it changes.
"use strict";

(() => {
  const shown = document.querySelector("[data-link]");
  if (!shown) return;

  // What had the focus keeps it; where it is gone, the first control that came instead has it.
  const replace = (part, fresh) => {
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    part.replaceWith(fresh);
    if (!focused) return;
    const same = focused.id && document.getElementById(focused.id);
    (same || fresh.querySelector("a, button, input:not([type='hidden'])"))?.focus({ preventScroll: true });
  };

  // What can be done, and what the patron is told, fit the new state. The state itself stays where a screen
  // reader is reading it.
  const renew = async () => {
    const text = await (await fetch(shown.dataset.linkPage)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const id of ["link-actions", "advice"]) {
      const part = document.getElementById(id);
      const fresh = page.getElementById(id);
      if (part && fresh) replace(part, fresh);
    }
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
