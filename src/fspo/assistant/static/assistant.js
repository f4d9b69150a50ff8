// The assistant's page. Everything goes through the interface that other programs use, and
// whatever people and models wrote is put into the page as text.
"use strict";

const $ = (id) => document.getElementById(id);
const model = $("app").dataset.model;
const csrf = document.querySelector("meta[name=csrf]").content;

let pair = null; // on the screen
let asked = ""; // the question that was answered last
let queue = Promise.resolve(); // one thing is done after the other
let waiting = 0;
let ahead = null; // the next pair, looked for while the person reads

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) window.location.assign("/login");
  if (!response.ok) throw new Error(await reason(response));
  return response;
}

async function reason(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server answered with ${response.status}`;
  }
}

// Does one thing after the others; says what is being done, and what went wrong.
function during(what, work) {
  waiting += 1;
  queue = queue.then(async () => {
    $("status").textContent = what;
    $("error").textContent = "";
    try {
      await work();
    } catch (error) {
      $("error").textContent = error.message;
    } finally {
      waiting -= 1;
      if (!waiting) $("status").textContent = "";
    }
  });
  return queue;
}

async function notYet(deletion) {
  const { erased } = await deletion.json();
  if (!erased) $("error").textContent = "Deleted; it will soon be gone from the disk, too.";
}

async function answer(question) {
  asked = question;
  const box = $("answer");
  $("answer-box").hidden = false;
  box.textContent = "";
  box.setAttribute("aria-busy", "true");
  try {
    const response = await call("POST", "/v1/chat/completions", {
      model,
      messages: [{ role: "user", content: question }],
      stream: true,
    });
    await eachEvent(response, (event) => {
      if (event.error) throw new Error(event.error.message);
      box.textContent += event.choices[0]?.delta?.content ?? "";
    });
  } finally {
    box.setAttribute("aria-busy", "false");
  }
}

async function eachEvent(response, use) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (left + value).split("\n");
    left = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") use(JSON.parse(line.slice(6)));
    }
  }
}

const WHY = {
  gain: "Your answer to this one is expected to tell most.",
  chance: "A pair drawn at random.",
  own: "Two answers to your question.",
};

function show(found, why) {
  pair = found;
  $("pair-box").hidden = !found;
  $("pair-why").textContent = found ? WHY[found.chosen_by] : why;
  if (!found) return;
  $("pair-prompt").textContent = found.prompt;
  $("left").textContent = found.answers[0];
  $("right").textContent = found.answers[1];
}

const find = (besides) => call("POST", "/v1/pairs", { besides }).then((r) => r.json());

// Not in the queue: who wants to ask something need not wait for it.
async function nextPair() {
  const found = ahead ?? find();
  ahead = null;
  $("pair-box").hidden = true;
  $("pair-why").textContent = "Looking for the next pair…";
  try {
    show(await found);
    ahead = find(pair);
    ahead.catch(() => {}); // it is told when it is its turn
  } catch (error) {
    show(null, error.message);
  }
}

function choose(side) {
  if (!pair) return;
  const { prompt, answers } = pair;
  pair = null; // chosen once
  $("pair-box").hidden = true;
  during("Taking your choice…", async () => {
    const made = { prompt, chosen: answers[side], rejected: answers[1 - side] };
    const kept = await (await call("POST", "/v1/preferences", made)).json();
    await profile();
    $("superseded").hidden = !kept.supersedes;
  });
  if (asked) {
    during("Answering your question anew…", async () => {
      const old = $("answer").textContent;
      await answer(asked);
      $("before").textContent = old;
      $("before-box").hidden = false;
      $("answer-title").textContent = "Answer now";
      await profile();
    });
  }
  queue.then(nextPair);
}

async function profile() {
  const [kept, choices] = await Promise.all([
    call("GET", "/v1/profile").then((r) => r.json()),
    call("GET", "/v1/preferences").then((r) => r.json()),
  ]);
  $("description").value = kept.description;
  $("described-by").textContent =
    { model: "Written by the model; yours to correct.", person: "Written by you." }[
      kept.described_by
    ] ?? "Nothing yet.";
  const standing = choices.data.filter((choice) => !choice.superseded_by);
  $("count").textContent = `(${standing.length})`;
  $("choices").replaceChildren(...choices.data.reverse().map(row));
}

function row(choice) {
  const box = document.createElement("div");
  box.className = choice.superseded_by ? "choice gone" : "choice";
  box.append(
    part("div", "soft", choice.prompt + (choice.superseded_by ? " (superseded)" : "")),
    part("div", "text", `✓ ${choice.chosen}`),
    part("div", "text soft", `✗ ${choice.rejected}`),
  );
  const remove = part("button", "plain", "Take back");
  remove.setAttribute("aria-label", `Take back the choice about: ${choice.prompt.slice(0, 80)}`);
  remove.addEventListener("click", () =>
    during("Taking it back…", async () => {
      const gone = await call("DELETE", `/v1/preferences/${encodeURIComponent(choice.id)}`);
      await profile();
      await notYet(gone);
    }),
  );
  box.append(remove);
  return box;
}

function part(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function save(value) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(
    new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }),
  );
  link.download = "fspo-profile.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  $("before-box").hidden = true;
  $("answer-title").textContent = "Answer";
  during("Answering…", async () => {
    await answer($("question").value);
    await profile();
  });
});
$("two").addEventListener("click", () => {
  const prompt = $("question").value.trim();
  if (!prompt) return $("question").reportValidity();
  return during("Writing two answers…", async () => {
    show(await (await call("POST", "/v1/pairs", { prompt })).json());
    $("pair-title").scrollIntoView();
  });
});
$("choose-left").addEventListener("click", () => choose(0));
$("choose-right").addEventListener("click", () => choose(1));
$("skip").addEventListener("click", nextPair);
$("describe").addEventListener("submit", (event) => {
  event.preventDefault();
  during("Saving…", async () => {
    await call("PATCH", "/v1/profile", { description: $("description").value });
    await profile();
  });
});
$("export").addEventListener("click", () =>
  during("Exporting…", async () => save(await (await call("GET", "/v1/profile")).json())),
);
$("import").addEventListener("change", (event) =>
  during("Importing…", async () => {
    const [file] = event.target.files;
    await call("PUT", "/v1/profile", JSON.parse(await file.text()));
    event.target.value = "";
    await profile();
  }),
);
$("delete").addEventListener("click", () => {
  $("sure").hidden = false;
  $("delete-no").focus();
});
$("delete-no").addEventListener("click", () => {
  $("sure").hidden = true;
  $("delete").focus();
});
$("delete-yes").addEventListener("click", () =>
  during("Deleting…", async () => {
    const gone = await call("DELETE", "/v1/profile");
    $("sure").hidden = true;
    ahead = null;
    await profile();
    nextPair();
    await notYet(gone);
  }),
);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select")) return;
  const side = { 1: 0, 2: 1, ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (side !== undefined) choose(side);
  else if (event.key === "3") $("skip").click();
});

during("Loading your profile…", profile).then(nextPair);
