// The page of `animevid serve`. Uses no library and loads nothing from other hosts.
import { $, element, state } from "./state.js";
import { recall, remember } from "./store.js";
import { ask, server, watchServer } from "./server.js";
import { notice } from "./notice.js";
import { setUpStage } from "./stage.js";
import { setUpCamera } from "./camera.js";
import { setUpLive, tellWishes } from "./live.js";
import { setUpCapture } from "./capture.js";
import { setUpFigures } from "./figures.js";
import { recallFiles, restyleFiles, setUpFiles, take } from "./files.js";

document.body.classList.add("scripted");

function showStrength() { $("strength-value").textContent = `${$("strength").value} %`; }

function addCard(style) {
  const image = element("img", { src: `/styles/${encodeURIComponent(style.name)}.jpg`, alt: "", width: 240, height: 360 });
  const input = element("input", { type: "radio", name: "style", value: style.name, checked: style.name === state.style });
  input.addEventListener("change", () => {
    state.style = style.name;
    remember("style", style.name);
    tellWishes();
    restyleFiles();
  });
  $("styles").append(element("label", { className: "card", title: style.description || style.title }, input, image,
    element("span", { textContent: style.title })));
}

// A restarted server may have other styles and limits.
function configure(config) {
  state.config = config;
  const wanted = state.style || recall("style", "");
  state.style = config.styles.some((style) => style.name === wanted) ? wanted : config.styles[0].name;
  $("styles").replaceChildren();
  config.styles.forEach(addCard);
  $("limits").textContent = `at most ${Math.round(config.uploadBytes / 2 ** 20)} MiB, videos up to ${Math.round(config.durationSeconds / 60)} minutes`;
  $("start-host").hidden = !config.hostCamera;
}

function setUpStrength() {
  $("strength").value = recall("strength", Math.round(state.config.strength * 100));
  showStrength();
  $("strength").addEventListener("input", () => {
    showStrength();
    if (!state.mjpeg) tellWishes();
  });
  $("strength").addEventListener("change", () => {
    remember("strength", Number($("strength").value));
    tellWishes();
    restyleFiles();
  });
}

async function begin() {
  configure(await ask("/api/config"));
  setUpStrength();
  setUpStage();
  setUpCamera();
  setUpLive();
  setUpCapture((file) => take([file]));
  setUpFigures();
  setUpFiles();
  server.addEventListener("back", async () => configure(await ask("/api/config")));
  watchServer();
  if (!navigator.mediaDevices?.getUserMedia) $("shoot").hidden = true;
  if (!window.RTCPeerConnection || !navigator.mediaDevices?.getUserMedia) {
    $("start").disabled = true;
    $("hint").textContent = window.isSecureContext ? "This browser cannot send its camera." :
      "Browsers allow cameras only on https pages: put TLS in front of animevid to use yours from here.";
  }
  document.body.dataset.ready = true;
  await recallFiles();
}

begin().catch((error) => notice("server", `The page could not start: ${error.message}`,
  { actions: [["Reload", () => location.reload()]], tone: "error" }));
