// Snapshots, recordings and photos for the style cards, all as shown: the server has mirrored its output already.
import { $, clock, element, save, stamp, state, wait } from "./state.js";
import { notice, unnotice } from "./notice.js";
import { cameraTrouble, closeCamera, openCamera } from "./camera.js";
import { isMirrored, original, setState, stylized } from "./stage.js";

const COUNT_FROM = 3;
const PHOTO_SIZE = { width: { ideal: 1920 }, height: { ideal: 1080 } };
let recorder = null, timer = 0, isShooting = false;

function imageOf(source, mirrored, type, quality) {
  const canvas = element("canvas", { width: source.videoWidth || source.naturalWidth, height: source.videoHeight || source.naturalHeight });
  if (!canvas.width) return Promise.resolve(null);
  const pen = canvas.getContext("2d");
  if (mirrored) { pen.translate(canvas.width, 0); pen.scale(-1, 1); }
  pen.drawImage(source, 0, 0);
  return new Promise((done) => canvas.toBlob(done, type, quality));
}

async function snapshot() {
  const blob = await imageOf(state.mjpeg ? $("mjpeg") : stylized, false, "image/png");
  if (blob) save(blob, `animevid-${stamp()}.png`);
}

function showRecording(on) {
  $("record").setAttribute("aria-pressed", on);
  $("record").textContent = on ? "Stop recording" : "Record";
  $("timer").hidden = !on;
  clearInterval(timer);
  if (!on) return;
  const begun = performance.now();
  const tick = () => { $("timer").textContent = clock(Math.floor((performance.now() - begun) / 1000)); };
  timer = setInterval(tick, 250);
  tick();
}

async function record() {
  if (recorder) return stopRecording();
  const tracks = [...(stylized.srcObject?.getVideoTracks() || [])];
  if (!tracks.length) return;
  let microphone = null;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    tracks.push(...microphone.getAudioTracks());
  } catch {
    notice("record", "Recording without sound: no microphone, or it is not allowed.", { tone: "info" });
  }
  const silence = () => microphone?.getTracks().forEach((track) => track.stop());
  const type = ["video/mp4;codecs=avc1,mp4a.40.2", "video/webm;codecs=vp8,opus", "video/webm"].find((kind) => window.MediaRecorder?.isTypeSupported(kind));
  try {
    recorder = new MediaRecorder(new MediaStream(tracks), { mimeType: type, videoBitsPerSecond: 6_000_000 });
  } catch {
    silence();
    return notice("record", "This browser cannot record. Take snapshots, or record with animevid webcam.");
  }
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    silence();
    recorder = null;
    showRecording(false);
    unnotice("record");
    save(new Blob(parts, { type }), `animevid-${stamp()}.${type.includes("mp4") ? "mp4" : "webm"}`);
  };
  recorder.start(1000);
  showRecording(true);
}

export function stopRecording() {
  if (recorder && recorder.state !== "inactive") recorder.stop();
}

// Takes a photo with the camera after a countdown in the stage; calls `take` with the file.
async function shoot(take) {
  if (isShooting) return;
  isShooting = true;
  const wasOpen = state.camera !== null, wasLive = $("stage").dataset.state === "live";
  try {
    await openCamera(wasOpen ? {} : PHOTO_SIZE);
    if (!wasLive) {
      original.srcObject = state.camera;
      await original.play();
      setState("shooting");
    }
    $("stage").scrollIntoView({ block: "nearest" });
    for (let left = COUNT_FROM; left > 0; left -= 1) {
      $("count").textContent = left;
      await wait(700);
    }
    const blob = await imageOf(original, isMirrored(), "image/jpeg", 0.95);
    if (blob) take(new File([blob], `photo-${stamp()}.jpg`, { type: "image/jpeg" }));
  } catch (error) {
    cameraTrouble(error, () => shoot(take));
  } finally {
    isShooting = false;
    $("count").textContent = "";
    if (!wasOpen) closeCamera();
    if (!wasLive) {
      original.srcObject = null;
      setState("idle");
    }
  }
}

export function setUpCapture(take) {
  $("snapshot").addEventListener("click", snapshot);
  $("record").addEventListener("click", record);
  $("shoot").addEventListener("click", () => shoot(take));
}
