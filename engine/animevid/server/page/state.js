// State shared by the modules of the page.

export const $ = (id) => document.getElementById(id);

export const state = {
  config: null, // the response of /api/config
  style: "", // the name of the chosen style
  source: null, // "viewer" or "host" while live or connecting
  camera: null, // the viewer's MediaStream
  facing: null, // of that camera: "user", "environment" or null
  peer: null,
  server: null, // the newest figures from the server
  pingMs: 0,
  mjpeg: false,
  gone: false, // the server does not answer
};

// Exposed for measurements and for the console.
globalThis.animevid = { state };

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export function say(text, live = false) {
  $("status").textContent = text;
  $("status").dataset.live = live;
}

export function styleTitle(name) {
  return state.config?.styles.find((style) => style.name === name)?.title ?? name;
}

export const strength = () => Number($("strength").value) / 100;

export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const stamp = () => new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
