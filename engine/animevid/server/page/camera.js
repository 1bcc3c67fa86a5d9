// The viewer's camera: selection, size, front or back, and advice on errors.
import { $, element, state } from "./state.js";
import { recall, remember } from "./store.js";
import { notice, unnotice } from "./notice.js";
import { showMirror } from "./stage.js";

// Events: "change" (a new track), "size", "lost".
export const cameraEvents = new EventTarget();

let facing = recall("facing", "user"), device = recall("camera", ""), opening = null;

const wantedSize = () => $("resolution").value.split("x").map(Number);

// Keep the camera's own aspect ratio: nothing is cropped.
function wanted() {
  const [width, height] = wantedSize();
  const size = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 }, resizeMode: { ideal: "none" } };
  return device ? { ...size, deviceId: { exact: device } } : { ...size, facingMode: facing };
}

// The factor to scale a track down before sending, if the camera has no mode of the requested size.
export function shrinking(track) {
  const [width, height] = wantedSize(), { width: w, height: h } = track.getSettings();
  return Math.max(1, Math.sqrt((w * h) / (width * height)) || 1);
}

export function openCamera(change = {}) {
  if (state.camera) return Promise.resolve(state.camera);
  opening ??= open(change).finally(() => { opening = null; });
  return opening;
}

async function open(change) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...wanted(), ...change }, audio: false });
  } catch (error) {
    // The last camera is not connected: use any other.
    if (!device || !["OverconstrainedError", "NotFoundError"].includes(error.name)) throw error;
    device = "";
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...wanted(), ...change }, audio: false });
  }
  unnotice("camera");
  state.camera = stream;
  const track = stream.getVideoTracks()[0];
  state.facing = track.getSettings().facingMode ?? null;
  track.addEventListener("ended", () => { if (state.camera === stream) cameraEvents.dispatchEvent(new Event("lost")); });
  showMirror();
  listCameras().catch(() => {});
  return stream;
}

export function closeCamera() {
  state.camera?.getTracks().forEach((track) => track.stop());
  state.camera = null;
}

async function reopen() {
  if (!state.camera) return;
  closeCamera();
  await openCamera();
  cameraEvents.dispatchEvent(new Event("change"));
}

async function listCameras() {
  const found = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput" && one.deviceId);
  const now = state.camera?.getVideoTracks()[0].getSettings().deviceId;
  $("camera").replaceChildren(...found.map((one, index) =>
    element("option", { value: one.deviceId, textContent: one.label || `Camera ${index + 1}`, selected: one.deviceId === now })));
  $("camera-field").hidden = found.length < 2;
  $("flip").hidden = found.length < 2 || !matchMedia("(pointer: coarse)").matches;
}

// Advice for the user on an error of getUserMedia.
export function cameraTrouble(error, again) {
  const actions = [["Try again", again]];
  if (state.config.hostCamera) actions.push(["Use the host's camera", () => $("start-host").click()]);
  const say = (text) => notice("camera", text, { actions, tone: "error" });
  switch (error.name) {
    case "NotAllowedError":
      retryWhenAllowed(again);
      return say("The browser does not let this page use the camera. Allow it with the camera icon in the address bar " +
        "(on a phone: in the browser's settings for this site), then try again.");
    case "NotFoundError": case "OverconstrainedError":
      return say("No camera was found. Plug one in, or drop a photo or a video instead.");
    case "NotReadableError": case "AbortError":
      return say("Another program is using the camera. Close it there, then try again.");
    default:
      return say(error.message);
  }
}

async function retryWhenAllowed(again) {
  try {
    const permission = await navigator.permissions.query({ name: "camera" });
    permission.onchange = () => { if (permission.state === "granted" && !state.camera) again(); };
  } catch { /* the browser does not support this query */ }
}

export function setUpCamera() {
  const size = recall("resolution", null);
  if ([...$("resolution").options].some((option) => option.value === size)) $("resolution").value = size;
  $("resolution").addEventListener("change", () => {
    remember("resolution", $("resolution").value);
    const { width, height, frameRate, resizeMode } = wanted();
    Promise.resolve(state.camera?.getVideoTracks()[0].applyConstraints({ width, height, frameRate, resizeMode })).catch(() => {})
      .then(() => cameraEvents.dispatchEvent(new Event("size")));
  });
  const trouble = (error) => cameraTrouble(error, () => $("start").click());
  $("camera").addEventListener("change", () => {
    device = $("camera").value;
    remember("camera", device);
    reopen().catch(trouble);
  });
  $("flip").addEventListener("click", () => {
    facing = (state.facing ?? facing) === "user" ? "environment" : "user";
    device = "";
    remember("facing", facing);
    remember("camera", "");
    reopen().catch(trouble);
  });
}
