// Notices in the stage: what is wrong, and buttons for what to do about it. One of each kind at a time.
import { $, element } from "./state.js";

const shown = new Map();

// kind: what it is about; a newer notice of that kind takes its place.
// actions: [label, function]; every notice can be closed but those with `stays`.
// meanwhile: words that change each second, which a screen reader need not read each time.
export function notice(kind, text, { actions = [], tone = "warn", stays = false, meanwhile = "" } = {}) {
  const made = shown.get(kind) ?? element("li");
  // Only the words change while a countdown runs: a button under the finger stays where it is.
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

// Counts seconds down in a notice, then calls `over`; the function that is returned ends it before.
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
