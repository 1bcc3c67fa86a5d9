// Live video: sends the viewer's camera, or uses the host's, and shows the server's output.
import { $, say, state, strength } from "./state.js";
import { isBroken, send, server } from "./server.js";
import { countdown, notice, unnotice } from "./notice.js";
import { cameraEvents, cameraTrouble, closeCamera, openCamera, shrinking } from "./camera.js";
import { isMirrored, original, setCompare, setState, showMirror, stageEvents, stylized } from "./stage.js";
import { onFigures } from "./figures.js";
import { stopRecording } from "./capture.js";

const QUEUE_SECONDS = 5;
// `attempt` counts starts and stops; work of an older attempt is dropped.
let channel = null, peerId = null, endCountdown = () => {}, isWanted = false, attempt = 0;

const params = () => ({ style: state.style, strength: strength(), mirror: isMirrored() });

export function tell(message) {
  if (channel?.readyState === "open") channel.send(JSON.stringify(message));
}

// The selected style, strength or mirroring has changed.
export function tellWishes() {
  tell(params());
  if (state.mjpeg) startMjpeg();
}

export async function start(source) {
  endCountdown();
  const mine = ++attempt;
  unnotice("queue", "connection", "quality", "trouble");
  state.source = source;
  isWanted = true;
  showMirror();
  if (!window.RTCPeerConnection) return startMjpeg();
  if (source === "viewer") {
    try {
      if (!state.camera) say("Asking for the camera");
      await openCamera();
    } catch (error) {
      if (mine !== attempt) return;
      stop();
      return cameraTrouble(error, () => start(source));
    }
    if (mine !== attempt) return isWanted || closeCamera();
  } else {
    closeCamera();
    original.srcObject = null;
  }
  try {
    say("Connecting");
    await connect(source);
  } catch (error) {
    if (mine !== attempt) return;
    if (error.status === 503) return waitForPlace(source, error);
    if (isBroken(error) && error instanceof TypeError) {
      // The server does not answer: continue when it is back, or at once if it was a short interruption.
      return void setTimeout(() => { if (mine === attempt && !state.gone) start(source); }, 3000);
    }
    stop();
    notice("connection", `No live video: ${error.message}`, { actions: [["Try again", () => start(source)]], tone: "error" });
  }
}

function waitForPlace(source, error) {
  hangUp();
  say("Waiting for a free place");
  const because = (error.message[0].toUpperCase() + error.message.slice(1)).split(":")[0];
  endCountdown = countdown(error.body.retryAfterSeconds || QUEUE_SECONDS, (left) => notice("queue",
    `${because}.`, { actions: [["Stop waiting", stop]], stays: true, meanwhile: `Trying again in ${left} s.` }), () => start(source));
}

async function connect(source) {
  hangUp();
  const peer = new RTCPeerConnection({ iceServers: [] });
  state.peer = peer;
  if (source === "viewer") {
    const track = state.camera.getVideoTracks()[0];
    track.contentHint = "motion";
    peer.addTransceiver(track, { direction: "sendrecv", streams: [state.camera],
      sendEncodings: [{ maxBitrate: 4_000_000, maxFramerate: 30, scaleResolutionDownBy: shrinking(track) }] });
    original.srcObject = state.camera;
  } else {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("video", { direction: "recvonly" });
  }
  channel = peer.createDataChannel("control");
  channel.onmessage = (event) => onFigures(JSON.parse(event.data));
  channel.onopen = () => tell(params()); // settings changed while connecting
  peer.ontrack = (event) => {
    // Show the newest frame at once, without buffering for smoothness.
    for (const wish of ["playoutDelayHint", "jitterBufferTarget"]) {
      try { event.receiver[wish] = 0; } catch { /* older browsers */ }
    }
    const first = event.transceiver === peer.getTransceivers()[0];
    const video = first ? stylized : original;
    video.srcObject = new MediaStream([event.track]);
    video.play().catch(() => {});
  };
  peer.onconnectionstatechange = () => {
    if (peer !== state.peer) return;
    if (peer.connectionState === "connected") { say("Live", true); setState("live"); }
    if (peer.connectionState === "failed") {
      notice("connection", "The connection broke. Trying again.");
      start(source);
    }
  };
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const answer = await send("/api/peers", { sdp: peer.localDescription.sdp, source, ...params() });
  if (peer !== state.peer) return void fetch(`/api/peers/${answer.id}`, { method: "DELETE" }).catch(() => {});
  peerId = answer.id;
  await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
}

async function shrink() {
  const sender = state.peer?.getSenders()[0], parameters = sender?.getParameters();
  if (!sender?.track || !parameters.encodings.length) return;
  parameters.encodings[0].scaleResolutionDownBy = shrinking(sender.track);
  await sender.setParameters(parameters).catch(() => {});
}

function gathered(peer) {
  return new Promise((done) => {
    if (peer.iceGatheringState === "complete") return done();
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && done());
    setTimeout(done, 2000);
  });
}

function hangUp() {
  if (peerId) fetch(`/api/peers/${peerId}`, { method: "DELETE", keepalive: true }).catch(() => {});
  state.peer?.close();
  state.peer = peerId = channel = null;
}

export function stop() {
  endCountdown();
  attempt += 1;
  isWanted = false;
  stopRecording();
  hangUp();
  closeCamera();
  original.srcObject = stylized.srcObject = null;
  $("mjpeg").hidden = true;
  $("mjpeg").removeAttribute("src");
  state.mjpeg = false;
  state.source = null;
  unnotice("queue", "quality", "trouble", "connection");
  setState("idle");
  say(state.gone ? "Server gone" : "Ready");
}

function startMjpeg() {
  if (!state.config.hostCamera) {
    return notice("connection", "This browser has no WebRTC. Drop a photo or a video instead.");
  }
  state.mjpeg = true;
  state.source = "host";
  const query = new URLSearchParams({ style: state.style, strength: strength(), mirror: isMirrored() ? 1 : 0 });
  $("mjpeg").src = `/stream.mjpg?${query}`;
  $("mjpeg").hidden = false;
  setState("live");
  $("record").disabled = true; // single JPEGs cannot be recorded
  setCompare(false, false);
  say("Live (single JPEGs)", true);
}

export function setUpLive() {
  $("start").addEventListener("click", () => start("viewer"));
  $("start-host").addEventListener("click", () => start("host"));
  $("stop").addEventListener("click", stop);
  addEventListener("pagehide", hangUp);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // restored from the back/forward cache
  stageEvents.addEventListener("mirror", tellWishes);
  cameraEvents.addEventListener("change", async () => {
    const track = state.camera.getVideoTracks()[0];
    track.contentHint = "motion";
    original.srcObject = state.camera;
    await state.peer?.getSenders()[0]?.replaceTrack(track);
    await shrink();
    tellWishes();
  });
  cameraEvents.addEventListener("size", shrink);
  cameraEvents.addEventListener("lost", () => {
    stop();
    notice("camera", "The camera was unplugged, or the browser took it away.",
      { actions: [["Try again", () => start("viewer")]], tone: "error" });
  });
  server.addEventListener("gone", () => {
    endCountdown();
    unnotice("queue");
    stopRecording(); // what was recorded so far is a complete file
    hangUp();
  });
  server.addEventListener("back", () => { if (isWanted) start(state.source); });
}
