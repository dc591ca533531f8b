// Says when what stands in a page is no longer kept up to date.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const lost = document.getElementById("lost");
  if (!lost) return;
  document.body.addEventListener("htmx:sseError", () => { lost.hidden = false; });
  document.body.addEventListener("htmx:sseOpen", () => { lost.hidden = true; });
});
