// Requests to the server; detects within two seconds that it is gone.
import { $, say, state } from "./state.js";
import { countdown, notice, unnotice } from "./notice.js";

const EVERY_MS = 900;
const PATIENCE_MS = 1000;
const MAX_PAUSE_SECONDS = 30;

// Events: "gone", "back".
export const server = new EventTarget();

export async function ask(path, options) {
  const response = await fetch(path, options);
  const text = await response.text();
  let body = {};
  try { body = text ? JSON.parse(text) : {}; } catch { body = { error: text.trim() }; }
  if (response.status === 401) location.assign("/");
  if (!response.ok) throw Object.assign(new Error(body.error || response.statusText), { status: response.status, body });
  return body;
}

export const send = (path, body) => ask(path, { method: "POST", body: JSON.stringify(body) });

// A failed connection, as opposed to a refusal by the server.
export const isBroken = (error) => error.status === undefined;

let pause = 1, slowestMs = 0, endCountdown = () => {};

async function answers() {
  const begun = performance.now();
  // Allow slow links more time.
  const patience = AbortSignal.timeout(Math.max(PATIENCE_MS, Math.min(8000, 4 * slowestMs)));
  try {
    const response = await fetch("/api/alive", { signal: patience, cache: "no-store" });
    slowestMs = Math.max(0.8 * slowestMs, performance.now() - begun);
    if (response.status === 401) location.assign("/");
    return response.ok;
  } catch {
    return false;
  }
}

async function look() {
  if (document.hidden) return void setTimeout(look, EVERY_MS);
  if (!(await answers())) return lost();
  setTimeout(look, EVERY_MS);
}

function lost() {
  if (!state.gone) {
    state.gone = true;
    pause = 1;
    say("Server gone");
    server.dispatchEvent(new Event("gone"));
  }
  const again = async () => {
    endCountdown();
    if (await answers()) return found();
    pause = Math.min(MAX_PAUSE_SECONDS, 2 * pause);
    lost();
  };
  endCountdown = countdown(pause, (left) => notice("server",
    "The server does not answer: it was stopped, or the network is down.",
    { actions: [["Try now", again]], tone: "error", stays: true, meanwhile: `Trying again in ${left} s.` }), again);
}

function found() {
  state.gone = false;
  unnotice("server");
  say("Ready");
  server.dispatchEvent(new Event("back"));
  setTimeout(look, EVERY_MS);
}

export function watchServer() {
  setTimeout(look, EVERY_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && state.gone) $("notices").querySelector("[data-kind=server] button")?.click(); });
}
