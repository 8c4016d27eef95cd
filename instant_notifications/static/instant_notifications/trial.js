// Shows the preview while one writes; the server makes it, as it does for the button.
"use strict";
{
  const PAUSE = 400; // milliseconds without a key before the server is asked
  const form = document.getElementById("trial");
  const preview = document.getElementById("preview");
  let timer;
  let asked;

  async function refresh() {
    asked?.abort();
    asked = new AbortController();
    const written = new FormData(form);
    written.set("only", "preview");
    try {
      const answer = await fetch(form.action, {
        method: "POST", body: written, signal: asked.signal, redirect: "error",
      });
      if (answer.ok) preview.innerHTML = await answer.text();
    } catch {
      // The next key asks again, and the button is still there.
    }
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, PAUSE);
  });
}
