// Notices in the stage: a problem with buttons to solve it. Shows at most one notice of each kind.
import { $, element } from "./state.js";

const shown = new Map();

// kind: the topic; a newer notice of the same kind replaces it.
// actions: [label, function]; all notices can be closed except those with `stays`.
// meanwhile: text that changes every second, which screen readers should not repeat.
export function notice(kind, text, { actions = [], tone = "warn", stays = false, meanwhile = "" } = {}) {
  const made = shown.get(kind) ?? element("li");
  // During a countdown only the text changes, so that buttons do not move under the finger.
  const form = JSON.stringify([actions.map(([label]) => label), stays]);
  if (made.dataset.form !== form) {
    const seconds = element("span");
    seconds.setAttribute("aria-hidden", true);
    made.replaceChildren(element("p", {}, element("span"), " ", seconds), element("div", { className: "row" },
      ...actions.map(([label, run]) => element("button", { textContent: label, ariaLabel: label === "✕" ? "Close" : null, onclick: run })),
      stays ? null : element("button", { textContent: "Close", className: "quiet", onclick: () => unnotice(kind) })));
    made.dataset.form = form;
  }
  made.dataset.kind = kind;
  made.dataset.tone = tone;
  const [said, changing] = made.querySelectorAll("p > span");
  if (said.textContent !== text) said.textContent = text;
  changing.textContent = meanwhile;
  if (!shown.has(kind)) {
    shown.set(kind, made);
    $("notices").append(made);
  }
}

export function unnotice(...kinds) {
  for (const kind of kinds) {
    shown.get(kind)?.remove();
    shown.delete(kind);
  }
}

// Counts down seconds in a notice, then calls `over`; returns a function that cancels it.
export function countdown(seconds, tell, over) {
  const end = performance.now() + seconds * 1000;
  const timer = setInterval(() => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left > 0) return tell(left);
    clearInterval(timer);
    over();
  }, 250);
  tell(Math.ceil(seconds));
  return () => clearInterval(timer);
}
