// Says while the clerk types that a new username is taken. The server checks it again when the form is saved.
"use strict";

(() => {
  const field = document.getElementById("new_username");
  const said = document.getElementById("new_username-said");
  if (!field || !said) return;

  const PAUSE = 800; // milliseconds: each question is a look-up of the clerk, so no question per key
  let timer = 0;
  let asked = "";

  const ask = async () => {
    if (!field.value || field.value === asked) return;
    asked = field.value;
    const body = new URLSearchParams({
      csrf_token: field.form.elements["csrf_token"].value,
      username: asked,
      home_isil: said.dataset.home,
    });
    const answer = await fetch("/gasten/nieuw/gebruikersnaam", { method: "POST", body }).catch(() => null);
    const isOurs = answer?.headers.get("content-type") === "application/json";
    const text = isOurs ? (await answer.json()).text : "";
    if (field.value === asked) said.textContent = text;
  };

  if (!field.matches("[aria-invalid]")) ask(); // after a change of language the answer is in that language
  field.addEventListener("input", () => {
    clearTimeout(timer);
    said.textContent = "";
    timer = setTimeout(ask, PAUSE);
  });
})();
