// Shows before and after on top of each other, with a dividing line that pointer and keys move.
import { clock, element } from "./state.js";

export function setSplit(box, percent) {
  const value = Math.min(100, Math.max(0, percent));
  box.style.setProperty("--split", `${value}%`);
  box.querySelector(".split").setAttribute("aria-valuenow", value.toFixed(0));
}

// `handle` (.split, a slider) moves the dividing line of `box`.
export function attachHandle(box, handle) {
  const follow = (event) => {
    const place = box.getBoundingClientRect();
    setSplit(box, 100 * (event.clientX - place.left) / place.width);
  };
  handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); follow(event); });
  handle.addEventListener("pointermove", (event) => { if (handle.hasPointerCapture(event.pointerId)) follow(event); });
  handle.addEventListener("keydown", (event) => {
    const now = Number(handle.getAttribute("aria-valuenow"));
    const target = { ArrowLeft: now - 2, ArrowRight: now + 2, PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    setSplit(box, target);
  });
}

function layers(before, after, ...more) {
  const handle = element("div", { className: "split", tabIndex: 0 }, element("span"));
  for (const [name, value] of Object.entries({ role: "slider", "aria-label": "Line between before and after",
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 50 })) handle.setAttribute(name, value);
  before.classList.add("before");
  after.classList.add("after");
  const box = element("div", { className: "compare" }, before, after,
    element("span", { className: "tag left", textContent: "before" }),
    element("span", { className: "tag right", textContent: "after" }), handle, ...more);
  attachHandle(box, handle);
  return box;
}

const shape = (box, width, height) => { if (width && height) box.style.setProperty("--shape", width / height); };

export function compareImages(before, after) {
  const image = (src, alt) => element("img", { src, alt, draggable: false });
  const result = image(after, "After");
  const box = layers(image(before, "Before"), result);
  result.addEventListener("load", () => shape(box, result.naturalWidth, result.naturalHeight));
  return box;
}

// Plays two videos in sync. Calls `onFail` if the browser cannot play the original.
export function compareVideos(before, after, onFail) {
  const video = (src, properties) => element("video", { src, playsInline: true, preload: "auto", ...properties });
  const original = video(before, { muted: true }), result = video(after, { loop: true });
  const play = element("button", { textContent: "▶", className: "icon" });
  const seek = element("input", { type: "range", min: 0, max: 1, step: "any", value: 0 });
  const time = element("span", { className: "time", textContent: "0:00" });
  const sound = element("button", { textContent: "Sound" });
  play.setAttribute("aria-label", "Play");
  seek.setAttribute("aria-label", "Position");
  sound.setAttribute("aria-pressed", true);
  const box = layers(original, result);
  original.addEventListener("error", onFail, { once: true });
  result.addEventListener("loadedmetadata", () => {
    shape(box, result.videoWidth, result.videoHeight);
    seek.max = result.duration || 1;
    show();
  });
  const show = () => { time.textContent = `${clock(result.currentTime)} / ${clock(result.duration || 0)}`; };
  const step = () => {
    seek.value = result.currentTime;
    show();
    // The original follows: slightly faster or slower, or by seeking if it is far off.
    const behind = result.currentTime - original.currentTime;
    if (Math.abs(behind) > 0.5 || result.paused) original.currentTime = result.currentTime;
    if (!result.paused && original.paused) original.play().catch(() => {}); // it had ended
    original.playbackRate = 1 + (Math.abs(behind) > 0.03 ? Math.min(0.5, Math.max(-0.5, behind)) : 0);
  };
  result.addEventListener("timeupdate", step);
  result.addEventListener("seeked", step);
  result.addEventListener("play", () => { original.play().catch(() => {}); play.textContent = "❚❚"; play.setAttribute("aria-label", "Pause"); });
  result.addEventListener("pause", () => { original.pause(); play.textContent = "▶"; play.setAttribute("aria-label", "Play"); step(); });
  play.addEventListener("click", () => { if (result.paused) result.play().catch(() => {}); else result.pause(); });
  seek.addEventListener("input", () => { result.currentTime = seek.value; });
  sound.addEventListener("click", () => {
    result.muted = !result.muted;
    sound.setAttribute("aria-pressed", !result.muted);
  });
  return element("div", { className: "videos" }, box, element("div", { className: "player" }, play, seek, time, sound));
}
