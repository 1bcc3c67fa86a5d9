// The stage: aspect ratio, dividing line, mirroring, full screen.
import { $, state } from "./state.js";
import { recall, remember } from "./store.js";
import { attachHandle, setSplit } from "./compare.js";

const stage = $("stage"), screen = $("screen");
export const original = $("original"), stylized = $("stylized");
// Events: "mirror".
export const stageEvents = new EventTarget();

// People expect to see themselves as in a mirror, and everything else unmirrored.
const mirrors = recall("mirror", { front: true, other: false });
const kind = () => (state.source === "host" || state.facing === "environment" ? "other" : "front");
export const isMirrored = () => mirrors[kind()];

// The server mirrors its output, so that screen, snapshots and recordings agree; the viewer's own video is
// mirrored here.
export function showMirror() {
  $("mirror").setAttribute("aria-pressed", isMirrored());
  stage.dataset.mirror = isMirrored();
  stage.dataset.flipped = isMirrored() && state.source !== "host";
}

export function setState(name) {
  stage.dataset.state = name;
  for (const id of ["snapshot", "record"]) $(id).disabled = name !== "live";
  $("shoot").disabled = name === "shooting" || (name === "live" && state.source === "host");
}

export function setCompare(on, kept = true) {
  $("compare").setAttribute("aria-pressed", on);
  stage.dataset.compare = on;
  if (kept) remember("compare", on);
}

function shape(width, height) {
  if (width && height) screen.style.setProperty("--shape", width / height);
}

// iPhones allow full screen only for videos: there the stage covers the page instead.
function fill(on) {
  screen.classList.toggle("filled", on);
  document.body.classList.toggle("covered", on);
  $("fullscreen").textContent = on ? "Exit full screen" : "Full screen";
}

export function setUpStage() {
  attachHandle(stage, $("split"));
  setSplit(stage, 50);
  setCompare(recall("compare", true));
  showMirror();
  $("compare").addEventListener("click", () => setCompare($("compare").getAttribute("aria-pressed") !== "true"));
  $("mirror").addEventListener("click", () => {
    mirrors[kind()] = !mirrors[kind()];
    remember("mirror", mirrors);
    showMirror();
    stageEvents.dispatchEvent(new Event("mirror"));
  });
  for (const video of [original, stylized]) {
    for (const event of ["loadedmetadata", "resize"]) video.addEventListener(event, () => shape(video.videoWidth, video.videoHeight));
  }
  $("mjpeg").addEventListener("load", () => shape($("mjpeg").naturalWidth, $("mjpeg").naturalHeight));
  $("fullscreen").addEventListener("click", async () => {
    if (document.fullscreenElement) return document.exitFullscreen();
    if (screen.classList.contains("filled")) return fill(false);
    try { await screen.requestFullscreen(); } catch { fill(true); }
  });
  document.addEventListener("fullscreenchange", () => fill(document.fullscreenElement === screen));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !document.fullscreenElement) fill(false); });
}
