// Keyboard and waiting; everything works without it, too.
"use strict";

const form = document.getElementById("choose");
if (form) {
  document.getElementById("keys").hidden = false;
  document.addEventListener("keydown", (event) => {
    const side = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
    const held = event.repeat || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (side && !held) form.querySelector(`button[value=${side}]`).click();
  });
}

// A second click sends nothing; the buttons are only switched off once the first is on its way.
document.addEventListener("submit", (event) => {
  setTimeout(() => {
    for (const button of event.target.querySelectorAll("button")) button.disabled = true;
  });
});
// Going back shows a page as it was left.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload();
});

const waiting = document.getElementById("waiting");
async function look() {
  try {
    const found = await (await fetch(waiting.dataset.ready)).json();
    document.getElementById("made").textContent = found.made;
    document.getElementById("progress").value = found.made;
    if (found.ready && waiting.dataset.reload === "1") window.location.reload();
    else if (found.made < found.wanted || waiting.dataset.reload === "1") setTimeout(look, 1500);
  } catch {
    setTimeout(look, 5000); // the connection is lost; the server waits
  }
}
if (waiting) setTimeout(look, 1000);

const back = document.getElementById("redirect");
if (back && Number(back.dataset.seconds)) {
  document.getElementById("taken-back").hidden = false;
  setTimeout(() => window.location.assign(back.href), 1000 * Number(back.dataset.seconds));
}
