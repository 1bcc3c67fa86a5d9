// The page of `animevid serve`. No library, nothing from elsewhere.
"use strict";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), original = $("original"), stylized = $("stylized");
const state = { config: null, style: "", peer: null, peerId: null, channel: null, source: null, camera: null,
  recorder: null, retry: 0, server: null, pingMs: 0, history: [], mjpeg: false };

document.body.classList.add("scripted");

// --- talking to the server ---------------------------------------------------------------------------------------

async function ask(path, options) {
  const response = await fetch(path, options);
  const text = await response.text();
  let body = {};
  try { body = text ? JSON.parse(text) : {}; } catch { body = { error: text.trim() }; }
  if (response.status === 401) location.assign("/");
  if (!response.ok) throw Object.assign(new Error(body.error || response.statusText), { status: response.status, body });
  return body;
}

function say(text, live = false) { $("status").textContent = text; $("status").dataset.live = live; }

function notice(text) { $("notice").hidden = !text; $("notice").textContent = text || ""; }

function tell(wishes) {
  if (state.channel?.readyState === "open") state.channel.send(JSON.stringify(wishes));
}

// --- live --------------------------------------------------------------------------------------------------------

function wantedSize() {
  const [width, height] = $("resolution").value.split("x").map(Number);
  return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
}

async function start(source) {
  clearTimeout(state.retry);
  notice("");
  state.source = source;
  if (!window.RTCPeerConnection) return startMjpeg();
  try {
    if (source === "viewer" && !state.camera) {
      say("Asking for the camera");
      state.camera = await navigator.mediaDevices.getUserMedia({ video: wantedSize(), audio: false });
    }
    say("Connecting");
    await connect(source);
  } catch (error) {
    if (error.status === 503) return waitForPlace(source, error);
    await stop();
    notice(error.name === "NotAllowedError" ? "The camera may not be used: allow it in the browser's address bar." :
      error.name === "NotFoundError" ? "No camera was found." : error.message);
  }
}

function waitForPlace(source, error) {
  hangUp();
  const seconds = error.body.retryAfterSeconds || 5;
  say("Waiting for a free place");
  notice(`${error.message}. Trying again in ${seconds} s.`);
  $("stop").disabled = false;
  state.retry = setTimeout(() => start(source), seconds * 1000);
}

async function connect(source) {
  hangUp();
  const peer = new RTCPeerConnection({ iceServers: [] });
  state.peer = peer;
  if (source === "viewer") {
    const track = state.camera.getVideoTracks()[0];
    track.contentHint = "motion";
    peer.addTransceiver(track, { direction: "sendrecv", streams: [state.camera],
      sendEncodings: [{ maxBitrate: 4_000_000, maxFramerate: 30 }] });
    original.srcObject = state.camera;
  } else {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("video", { direction: "recvonly" });
  }
  const channel = peer.createDataChannel("control");
  state.channel = channel;
  channel.onmessage = (event) => onFigures(JSON.parse(event.data));
  peer.ontrack = (event) => {
    // The newest picture, at once: nothing is kept back for smoothness.
    for (const wish of ["playoutDelayHint", "jitterBufferTarget"]) {
      try { event.receiver[wish] = 0; } catch { /* older browsers */ }
    }
    const first = event.transceiver === peer.getTransceivers()[0];
    const screen = first ? stylized : original;
    screen.srcObject = new MediaStream([event.track]);
    screen.play().catch(() => {});
  };
  peer.onconnectionstatechange = () => {
    if (peer !== state.peer) return;
    if (peer.connectionState === "connected") { say("Live", true); setLive(true); }
    if (peer.connectionState === "failed") { notice("The connection broke. Trying again."); start(source); }
  };
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const answer = await ask("/api/peers", { method: "POST", body: JSON.stringify({
    sdp: peer.localDescription.sdp, source, style: state.style, strength: $("strength").value / 100 }) });
  state.peerId = answer.id;
  await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
}

function gathered(peer) {
  return new Promise((done) => {
    if (peer.iceGatheringState === "complete") return done();
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && done());
    setTimeout(done, 2000);
  });
}

function hangUp() {
  if (state.peerId) fetch(`/api/peers/${state.peerId}`, { method: "DELETE", keepalive: true }).catch(() => {});
  state.peer?.close();
  state.peer = state.peerId = state.channel = null;
}

async function stop() {
  clearTimeout(state.retry);
  if (state.recorder) record();
  hangUp();
  state.camera?.getTracks().forEach((track) => track.stop());
  state.camera = null;
  original.srcObject = stylized.srcObject = null;
  $("mjpeg").hidden = true; $("mjpeg").removeAttribute("src"); state.mjpeg = false;
  setLive(false);
  say("Ready");
}

function startMjpeg() {
  if (!state.config.hostCamera) return notice("This browser has no WebRTC: convert a file instead.");
  state.mjpeg = true;
  $("mjpeg").src = `/stream.mjpg?style=${encodeURIComponent(state.style)}&strength=${$("strength").value / 100}`;
  $("mjpeg").hidden = false;
  setLive(true);
  $("record").disabled = true; // pictures one by one are no film
  setPressed("compare", false);
  say("Live (plain pictures)", true);
}

function setLive(live) {
  stage.dataset.state = live ? "live" : "idle";
  for (const id of ["stop", "snapshot", "record"]) $(id).disabled = !live;
}

// --- figures -----------------------------------------------------------------------------------------------------

function onFigures(message) {
  if ("pong" in message) { state.pingMs = performance.now() - message.pong; return; }
  state.server = message;
  $("dropped").textContent = message.dropped;
  $("viewers").textContent = `${message.viewers} of ${state.config.maxViewers}`;
  notice(message.trouble || (message.reduced ? `Reduced to ${message.reduced}, to keep up.` : ""));
  stage.dataset.style = message.style;
}

// Latency from camera to screen is the sum of its parts: encoding here, the way there and back, the server,
// buffering and decoding here. Each is measured; what the screen itself takes is not in it.
let before = null;
async function measure() {
  const peer = state.peer;
  if (!peer || peer.connectionState !== "connected") return;
  tell({ ping: performance.now() });
  const now = { fps: 0, encodeMs: 0, bufferMs: 0, decodeMs: 0 };
  const totals = {};
  const report = await peer.getStats(peer.getReceivers()[0]?.track);
  const all = await peer.getStats();
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp") Object.assign(totals, { frames: entry.framesDecoded, decode: entry.totalDecodeTime,
      buffer: entry.jitterBufferDelay, emitted: entry.jitterBufferEmittedCount });
  }
  for (const entry of all.values()) {
    if (entry.type === "outbound-rtp") Object.assign(totals, { sent: entry.framesEncoded, encode: entry.totalEncodeTime });
  }
  totals.at = performance.now();
  if (before && before.peer === peer) {
    const per = (sum, count) => 1000 * (totals[sum] - before[sum]) / Math.max(1, totals[count] - before[count]) || 0;
    now.fps = 1000 * (totals.frames - before.frames) / (totals.at - before.at);
    now.decodeMs = per("decode", "frames"); now.bufferMs = per("buffer", "emitted"); now.encodeMs = per("encode", "sent");
    const latency = now.encodeMs + state.pingMs + (state.server?.serverMs || 0) + now.bufferMs + now.decodeMs;
    $("fps").textContent = now.fps.toFixed(0);
    $("latency").textContent = `${latency.toFixed(0)} ms`;
    state.history.push({ fps: now.fps, latency });
    state.history = state.history.slice(-60);
    draw();
  }
  before = { ...totals, peer };
}

function draw() {
  const canvas = $("graph"), pen = canvas.getContext("2d");
  const sharpness = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * sharpness; canvas.height = height * sharpness;
  pen.scale(sharpness, sharpness);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  const highest = Math.max(100, ...state.history.map((point) => point.latency));
  const line = (key, top, colour, label, y) => {
    pen.strokeStyle = pen.fillStyle = colour; pen.lineWidth = 2; pen.beginPath();
    state.history.forEach((point, index) => {
      const x = width - (state.history.length - index) * width / 60, level = height - 4 - (height - 42) * Math.min(1, point[key] / top);
      if (index) pen.lineTo(x, level); else pen.moveTo(x, level);
    });
    pen.stroke();
    pen.fillText(label, 4, y);
  };
  line("fps", 40, "#6fb6ff", "fps (0–40)", 14);
  line("latency", highest, "#ff6f9c", `latency (0–${highest.toFixed(0)} ms)`, 30);
}
setInterval(() => measure().catch(() => {}), 1000);

// --- comparing ---------------------------------------------------------------------------------------------------

function setSplit(percent) {
  const value = Math.min(100, Math.max(0, percent));
  stage.style.setProperty("--split", `${value}%`);
  $("split").setAttribute("aria-valuenow", value.toFixed(0));
}
function followPointer(event) {
  const box = stage.getBoundingClientRect();
  setSplit(100 * (event.clientX - box.left) / box.width);
}
$("split").addEventListener("pointerdown", (event) => { $("split").setPointerCapture(event.pointerId); followPointer(event); });
$("split").addEventListener("pointermove", (event) => { if ($("split").hasPointerCapture(event.pointerId)) followPointer(event); });
$("split").addEventListener("keydown", (event) => {
  const now = Number($("split").getAttribute("aria-valuenow"));
  const target = { ArrowLeft: now - 2, ArrowRight: now + 2, PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  setSplit(target);
});

function setPressed(id, on) { $(id).setAttribute("aria-pressed", on); stage.dataset[id] = on; }
for (const id of ["compare", "mirror"]) $(id).addEventListener("click", () => setPressed(id, $(id).getAttribute("aria-pressed") !== "true"));
setPressed("compare", true);

// --- snapshot and recording --------------------------------------------------------------------------------------

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
function stamp() { return new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-"); }

$("snapshot").addEventListener("click", () => {
  const picture = state.mjpeg ? $("mjpeg") : stylized;
  const canvas = document.createElement("canvas");
  canvas.width = picture.videoWidth || picture.naturalWidth;
  canvas.height = picture.videoHeight || picture.naturalHeight;
  if (!canvas.width) return;
  const pen = canvas.getContext("2d");
  if (stage.dataset.mirror === "true") { pen.translate(canvas.width, 0); pen.scale(-1, 1); }
  pen.drawImage(picture, 0, 0);
  canvas.toBlob((blob) => save(blob, `animevid-${stamp()}.png`), "image/png");
});

async function record() {
  if (state.recorder) { state.recorder.stop(); return; }
  const tracks = [...(stylized.srcObject?.getVideoTracks() || [])];
  if (!tracks.length) return;
  let microphone = null;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    tracks.push(...microphone.getAudioTracks());
  } catch { /* no microphone, or not allowed: a silent recording */ }
  const type = ["video/mp4;codecs=avc1,mp4a.40.2", "video/webm;codecs=vp8,opus", "video/webm"].find((kind) => MediaRecorder.isTypeSupported(kind));
  let recorder;
  try {
    recorder = new MediaRecorder(new MediaStream(tracks), { mimeType: type, videoBitsPerSecond: 6_000_000 });
  } catch {
    microphone?.getTracks().forEach((track) => track.stop());
    return notice("This browser cannot record: take snapshots, or record with animevid webcam.");
  }
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    microphone?.getTracks().forEach((track) => track.stop());
    state.recorder = null;
    $("record").setAttribute("aria-pressed", false);
    $("record").textContent = "Record";
    save(new Blob(parts, { type }), `animevid-${stamp()}.${type.includes("mp4") ? "mp4" : "webm"}`);
  };
  recorder.start(1000);
  state.recorder = recorder;
  $("record").setAttribute("aria-pressed", true);
  $("record").textContent = "Stop recording";
}
$("record").addEventListener("click", record);

// --- choices -----------------------------------------------------------------------------------------------------

function chosen() {
  tell({ style: state.style, strength: $("strength").value / 100 });
  if (state.mjpeg) startMjpeg();
}
$("strength").addEventListener("input", () => { $("strength-value").textContent = `${$("strength").value} %`; if (!state.mjpeg) chosen(); });
$("strength").addEventListener("change", chosen);
$("resolution").addEventListener("change", () => state.camera?.getVideoTracks()[0].applyConstraints(wantedSize()).catch(() => {}));
$("start").addEventListener("click", () => start("viewer"));
$("start-host").addEventListener("click", () => start("host"));
$("stop").addEventListener("click", stop);
$("fullscreen").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen()));
addEventListener("pagehide", hangUp);

function addCard(style, index) {
  const card = document.createElement("label");
  card.className = "card";
  card.title = style.description || style.title;
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: style.name, checked: index === 0 });
  const picture = Object.assign(document.createElement("img"), { src: `/styles/${encodeURIComponent(style.name)}.jpg`, alt: "", width: 240, height: 180 });
  const name = Object.assign(document.createElement("span"), { textContent: style.title });
  input.addEventListener("change", () => { state.style = style.name; chosen(); });
  card.append(input, picture, name);
  $("styles").append(card);
}

// --- files -------------------------------------------------------------------------------------------------------

function convert(file) {
  const item = document.createElement("li");
  const title = Object.assign(document.createElement("b"), { textContent: file.name });
  const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
  const text = Object.assign(document.createElement("span"), { textContent: "Sending" });
  const cancel = Object.assign(document.createElement("button"), { textContent: "Cancel" });
  item.append(title, bar, text, cancel);
  $("jobs").prepend(item);
  const fail = (message) => { text.textContent = message; item.dataset.state = "failed"; bar.remove(); cancel.textContent = "Remove"; };
  if (file.size > state.config.uploadBytes) {
    cancel.addEventListener("click", () => item.remove());
    return fail(`Too large: at most ${Math.round(state.config.uploadBytes / 2 ** 20)} MiB.`);
  }
  const query = new URLSearchParams({ name: file.name, style: state.style, strength: $("strength").value / 100 });
  const request = new XMLHttpRequest(); // fetch tells nothing about how far an upload is
  let id = null;
  request.open("POST", `/api/jobs?${query}`);
  request.upload.onprogress = (event) => { bar.value = event.lengthComputable ? 0.2 * event.loaded / event.total : 0; };
  request.onerror = () => fail("The connection broke.");
  request.onload = () => {
    let body = {};
    try { body = JSON.parse(request.responseText); } catch { /* an answer that is not ours */ }
    if (request.status !== 201) return fail(body.error || `Refused (${request.status})`);
    id = body.id;
    watch();
  };
  cancel.addEventListener("click", () => {
    request.abort();
    if (id) fetch(`/api/jobs/${id}`, { method: "DELETE" }).catch(() => {});
    id = null;
    item.remove();
  });
  async function watch() {
    while (id) {
      const job = await ask(`/api/jobs/${id}`).catch((error) => ({ state: "failed", error: error.message }));
      if (!id) return;
      if (job.state === "failed") return fail(job.error);
      bar.value = 0.2 + 0.8 * job.progress;
      text.textContent = job.state === "waiting" ? "Waiting for its turn" : `Drawing, ${Math.round(100 * job.progress)} %`;
      if (job.state === "done") {
        bar.remove();
        text.textContent = `Done, ${job.bytes < 2 ** 20 ? `${Math.ceil(job.bytes / 1024)} KiB` : `${(job.bytes / 2 ** 20).toFixed(1)} MiB`}`;
        item.dataset.state = "done";
        const film = Object.assign(document.createElement("video"), { src: `/api/jobs/${id}/result?inline`, controls: true, playsInline: true, preload: "metadata" });
        const link = Object.assign(document.createElement("a"), { href: `/api/jobs/${id}/result`, textContent: "Save the video", className: "button" });
        item.insertBefore(film, cancel);
        item.insertBefore(link, cancel);
        cancel.textContent = "Remove";
        return;
      }
      await new Promise((done) => setTimeout(done, 500));
    }
  }
  request.send(file);
}
$("file").addEventListener("change", () => { [...$("file").files].forEach(convert); $("file").value = ""; });
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") [...event.dataTransfer.files].forEach(convert);
  });
}

// --- begin -------------------------------------------------------------------------------------------------------

(async () => {
  const config = await ask("/api/config");
  state.config = config;
  state.style = config.styles[0].name;
  config.styles.forEach(addCard);
  $("strength").value = Math.round(config.strength * 100);
  $("strength-value").textContent = `${$("strength").value} %`;
  $("limits").textContent = `at most ${Math.round(config.uploadBytes / 2 ** 20)} MiB, ${Math.round(config.durationSeconds / 60)} minutes`;
  $("start-host").hidden = !config.hostCamera;
  if (!window.RTCPeerConnection || !navigator.mediaDevices?.getUserMedia) {
    $("start").disabled = true;
    $("hint").textContent = window.isSecureContext ? "This browser cannot send its camera." :
      "A browser lends its camera to https pages only: put TLS in front of animevid to use yours from here.";
  }
})().catch((error) => notice(error.message));
