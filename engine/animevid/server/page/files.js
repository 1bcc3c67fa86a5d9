// Photos and videos: upload, preview, conversion, comparison, download. They survive a reload of the page.
import { $, clock, element, state, strength, styleTitle, wait } from "./state.js";
import { ask, isBroken, send, server } from "./server.js";
import { recall, remember } from "./store.js";
import { notice, unnotice } from "./notice.js";
import { compareVideos, compareImages } from "./compare.js";

const POLL_MS = 500, BUSY_SECONDS = 5, MEBI = 2 ** 20;
const entries = new Set();
let isRecalling = false;

const size = (bytes) => (bytes < MEBI ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / MEBI).toFixed(1)} MiB`);

function duration(seconds) {
  if (seconds < 1) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const serverIsBack = () => new Promise((done) => server.addEventListener("back", done, { once: true }));

// Repeat a request until the server answers: if it is gone, wait until it is back.
async function patiently(request) {
  for (;;) {
    try { return await request(); } catch (error) {
      if (!isBroken(error)) throw error;
      await (state.gone ? serverIsBack() : wait(1000));
    }
  }
}

// One file on the page. `job` is its last state from the server.
class Entry {
  constructor(name, file = null) {
    this.name = name;
    this.file = file;
    this.job = null;
    this.isRemoved = false;
    this.figure = element("div", { className: "figure" });
    this.bar = element("progress", { max: 1, value: 0 });
    this.text = element("p");
    this.actions = element("div", { className: "row" });
    const close = element("button", { textContent: "✕", className: "icon quiet", onclick: () => this.remove() });
    close.setAttribute("aria-label", `Remove ${name}`);
    this.item = element("li", {}, element("header", {}, element("b", { textContent: name }), close),
      this.figure, this.bar, this.text, this.actions);
    entries.add(this);
    $("jobs").prepend(this.item);
  }

  show(name, text, ...actions) {
    this.item.dataset.state = name;
    this.text.textContent = text;
    this.bar.hidden = !["sending", "previewing", "waiting", "running"].includes(name);
    if (name === "previewing") this.bar.removeAttribute("value"); // the duration is unknown
    this.actions.replaceChildren(...actions);
  }

  fail(text, stays = false) {
    const actions = this.file ? [["Send again", () => this.sendAgain()]] : [];
    this.show("failed", text, ...actions.map(([textContent, onclick]) => element("button", { textContent, onclick })));
    if (!stays) notice("upload", `${this.name}: ${text}`, { actions: actions.map(([label, run]) => [label, () => { unnotice("upload"); run(); }]), tone: "error" });
  }

  remove() {
    this.isRemoved = true;
    this.request?.abort();
    if (this.job) fetch(`/api/jobs/${this.job.id}`, { method: "DELETE" }).catch(() => {});
    this.item.remove();
    entries.delete(this);
    keep();
  }

  // --- upload ---

  sendAgain() {
    this.remove();
    take([this.file]);
  }

  upload() {
    if (this.file.size > state.config.uploadBytes) {
      const file = this.file;
      this.file = null; // sending it again would not help
      return this.fail(`${size(file.size)} is too large: the limit is ${size(state.config.uploadBytes)}.`);
    }
    this.show("sending", "Sending");
    const query = new URLSearchParams({ name: this.name, style: state.style, strength: strength(), hold: 1 });
    const request = this.request = new XMLHttpRequest(); // fetch reports no upload progress
    request.open("POST", `/api/jobs?${query}`);
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      this.bar.value = event.loaded / event.total;
      this.text.textContent = `Sending, ${size(event.loaded)} of ${size(event.total)}`;
    };
    request.onerror = () => this.fail("The connection broke during the upload.");
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* not a response of animevid */ }
      if (request.status === 503) return this.queue(body, () => this.upload());
      if (request.status !== 201) return this.fail(body.error || `The server refused the file (${request.status}).`);
      this.follow(body);
    };
    request.send(this.file);
  }

  // The server is busy: try again in a few seconds.
  async queue(body, again) {
    for (let left = body.retryAfterSeconds || BUSY_SECONDS; left > 0 && !this.isRemoved; left -= 1) {
      this.show("waiting", `${body.error}. Trying again in ${left} s.`);
      await wait(1000);
    }
    if (!this.isRemoved) again();
  }

  // --- progress on the server ---

  async follow(job) {
    this.job = job;
    keep();
    if (job.state === "held") return job.preview ? this.offer() : this.preview();
    const begun = performance.now();
    while (!this.isRemoved) {
      if (job.state === "failed") return this.fail(job.error);
      if (job.state === "done") return this.finish();
      const remaining = job.progress > 0.05 ? (performance.now() - begun) / 1000 / job.progress * (1 - job.progress) : null;
      this.show(job.state, job.state === "running" ?
        `Drawing, ${Math.round(100 * job.progress)} %${remaining === null ? "" : `, about ${duration(remaining)} left`}` :
        `In the queue behind ${job.ahead === 1 ? "one file" : `${job.ahead} files`}`);
      this.bar.value = job.progress;
      await wait(POLL_MS);
      try {
        job = this.job = await patiently(() => ask(`/api/jobs/${job.id}`));
      } catch (error) {
        return this.lose(error);
      }
    }
  }

  lose(error) {
    if (this.isRemoved) return;
    this.job = null;
    keep();
    this.fail(error.status === 404 ? "The server no longer has this file." : error.message);
  }

  async preview() {
    const params = { style: state.style, strength: strength() };
    const turn = this.turn = (this.turn ?? 0) + 1;
    this.show("previewing", `Drawing one frame in ${styleTitle(state.style)}`);
    try {
      const job = await patiently(() => send(`/api/jobs/${this.job.id}/preview`, params));
      if (this.isRemoved || turn !== this.turn) return;
      this.job = job;
      if (job.state === "failed") return this.fail(job.error);
      if (job.state === "held") this.offer();
    } catch (error) {
      if (turn === this.turn) this.lose(error);
    }
  }

  // A video with its preview: it is converted when the viewer confirms.
  offer() {
    const { width, height, duration_seconds: length, seconds } = this.job.preview;
    this.figure.replaceChildren(this.images());
    this.show("held", [
      `${width} × ${height}${length === null ? "" : `, ${clock(length)}`}.`,
      seconds === null ? "Its length is unknown." : `About ${duration(seconds)} to convert.`,
    ].join(" "), element("button", { textContent: "Convert", className: "primary", onclick: () => this.begin() }));
  }

  async begin() {
    this.turn = (this.turn ?? 0) + 1; // do not wait for a running preview
    try {
      this.follow(await patiently(() => send(`/api/jobs/${this.job.id}/start`, { style: state.style, strength: strength() })));
    } catch (error) {
      if (error.status === 503) return this.queue(error.body, () => this.begin());
      this.lose(error);
    }
  }

  images() {
    const at = (name) => `/api/jobs/${this.job.id}/${name}.jpg?${this.job.preview?.number ?? ""}${this.job.style}${this.job.strength}`;
    return compareImages(at("before"), at("after"));
  }

  finish() {
    const job = this.job, address = `/api/jobs/${job.id}`;
    const result = `${address}/result?inline`;
    const stills = () => {
      const video = element("video", { src: result, controls: true, playsInline: true, preload: "metadata" });
      this.figure.replaceChildren(...(job.preview ? [this.images()] : []), video);
    };
    if (job.photo) this.figure.replaceChildren(this.images());
    else if (!job.hasOriginal || /\.gif$/i.test(job.name)) stills();
    else this.figure.replaceChildren(compareVideos(`${address}/original`, result, stills));
    this.again = element("button", { onclick: () => this.begin() });
    this.show("done", `${styleTitle(job.style)}, ${size(job.bytes)}`,
      element("a", { href: `${address}/result`, textContent: job.photo ? "Save the photo" : "Save the video", className: "button primary" }),
      element("button", { textContent: "Enlarge", onclick: () => enlarge(this.figure) }), this.again);
    this.offerAgain();
  }

  // Another style was selected: offer to draw the files in it.
  offerAgain() {
    const { job } = this;
    this.again.hidden = !job.hasOriginal || (job.style === state.style && Math.abs(job.strength - strength()) < 0.005);
    this.again.textContent = `Draw in ${styleTitle(state.style)}`;
  }

  restyle() {
    if (["held", "previewing"].includes(this.item.dataset.state)) this.preview();
    if (this.item.dataset.state === "done") this.offerAgain();
  }
}

function enlarge(figure) {
  const home = figure.parentNode, next = figure.nextSibling;
  $("big-figure").append(figure);
  $("big").showModal();
  $("big").addEventListener("close", () => home.insertBefore(figure, next), { once: true });
}

function keep() {
  if (isRecalling) return;
  remember("jobs", [...entries].filter((entry) => entry.job).map(({ job, name }) => ({ id: job.id, name })));
}

export function take(files) {
  for (const file of files) {
    const entry = new Entry(file.name || "pasted.png", file);
    entry.upload();
    entry.item.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
}

let restyling = 0;
export function restyleFiles() {
  clearTimeout(restyling);
  restyling = setTimeout(() => entries.forEach((entry) => entry.restyle()), 250);
}

// Restore the files from before the page was reloaded.
export async function recallFiles() {
  isRecalling = true;
  for (const { id, name } of recall("jobs", [])) {
    try {
      const job = await patiently(() => ask(`/api/jobs/${encodeURIComponent(id)}`));
      new Entry(name).follow(job);
    } catch { /* the server has deleted it */ }
  }
  isRecalling = false;
  keep();
}

export function setUpFiles() {
  $("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dragging", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) { event.preventDefault(); take(event.clipboardData.files); }
  });
  $("big-close").addEventListener("click", () => $("big").close());
  addEventListener("beforeunload", (event) => {
    if ([...entries].some((entry) => entry.item.dataset.state === "sending")) event.preventDefault();
  });
}
