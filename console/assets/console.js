// Keeps the stream of a page that is looked at alone, and says when a page is no longer kept up to date.
"use strict";
(() => {
  let stream = null;
  let left = false;
  htmx.createEventSource = (url) => {
    stream = new EventSource(url);
    return stream;
  };
  // Browsers open six connections to one host: a page behind others gives its own up.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && stream) {
      stream.close();
      left = true;
    } else if (left) {
      location.reload();
    }
  });
  document.addEventListener("DOMContentLoaded", () => {
    const lost = document.getElementById("lost");
    if (!lost) return;
    document.body.addEventListener("htmx:sseError", () => { lost.hidden = false; });
    document.body.addEventListener("htmx:sseOpen", () => { lost.hidden = true; });
  });
})();
