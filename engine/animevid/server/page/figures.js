// Figures: frames per second, latency and its parts, and the server's quality level.
import { $, state } from "./state.js";
import { notice, unnotice } from "./notice.js";
import { tell } from "./live.js";

let history = [], before = null, isClosed = false;

export function onFigures(message) {
  if ("pong" in message) { state.pingMs = performance.now() - message.pong; return; }
  state.server = message;
  $("dropped").textContent = message.dropped;
  $("viewers").textContent = `${message.viewers} of ${state.config.maxViewers}`;
  $("stage").dataset.style = message.style;
  if (message.trouble) notice("trouble", message.trouble); else unnotice("trouble");
  tellQuality(message.reduced);
}

// The server lowers the network's resolution if the machine cannot keep up.
function tellQuality(reduced) {
  if (!reduced) { isClosed = false; return unnotice("quality"); }
  if (isClosed) return;
  const smaller = state.source === "viewer" ? $("resolution").options[$("resolution").selectedIndex - 1] : undefined;
  const actions = [["✕", () => { isClosed = true; unnotice("quality"); }]];
  if (smaller) {
    actions.unshift(["Smaller video", () => {
      $("resolution").value = smaller.value;
      $("resolution").dispatchEvent(new Event("change"));
      isClosed = true;
      unnotice("quality");
    }]);
  }
  notice("quality", `Drawn at ${reduced}, to keep up.`, { actions, tone: "info", stays: true });
}

// Latency from camera to screen is the sum of its parts: encoding here, the network round trip, the server,
// buffering and decoding here. Each part is measured; the display's own delay is not included.
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
    history = [...history, { fps: now.fps, latency }].slice(-60);
    draw();
  }
  before = { ...totals, peer };
}

function draw() {
  const canvas = $("graph"), pen = canvas.getContext("2d"), colours = getComputedStyle(canvas);
  const sharpness = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * sharpness; canvas.height = height * sharpness;
  pen.scale(sharpness, sharpness);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  const highest = Math.max(100, ...history.map((point) => point.latency));
  const line = (key, top, colour, label, y) => {
    pen.strokeStyle = pen.fillStyle = colours.getPropertyValue(colour); pen.lineWidth = 2; pen.beginPath();
    history.forEach((point, index) => {
      const x = width - (history.length - index) * width / 60, level = height - 4 - (height - 42) * Math.min(1, point[key] / top);
      if (index) pen.lineTo(x, level); else pen.moveTo(x, level);
    });
    pen.stroke();
    pen.fillText(label, 4, y);
  };
  line("fps", 40, "--accent-2", "fps (0–40)", 14);
  line("latency", highest, "--accent", `latency (0–${highest.toFixed(0)} ms)`, 30);
}

export function setUpFigures() { setInterval(() => measure().catch(() => {}), 1000); }
