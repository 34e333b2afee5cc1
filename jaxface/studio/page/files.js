// What goes to the server and comes back: photographs, drivers, tasks and their downloads.

import { make } from "./panel.js";

const FADES = 6000; // ms that a finished task is shown
const MOTION = /\.(safetensors|csv)$/i;
const CLIP = /\.(mp4|m4v|mov|mkv|webm|avi|gif|mpg|mpeg|ts|wmv)$/i;

export class Files {
  #tasks = document.getElementById("tasks");
  #shown = new Map();
  largest = Infinity;

  constructor() {
    const drop = document.getElementById("drop");
    let depth = 0; // dragenter and dragleave come for every element on the way
    addEventListener("dragenter", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      depth++;
      drop.hidden = false;
      event.preventDefault();
    });
    addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; drop.hidden = true; } });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      drop.hidden = true;
      for (const file of event.dataTransfer.files) this.send(file);
    });
    for (const id of ["photograph", "driver"]) {
      const input = document.getElementById(id);
      input.onchange = () => {
        for (const file of input.files) this.send(file);
        input.value = "";
      };
    }
  }

  async send(file) {
    const drives = MOTION.test(file.name) || CLIP.test(file.name) || file.type.startsWith("video/");
    const told = `sending ${file.name}`;
    if (file.size > this.largest) {
      const most = Math.round(this.largest / 2 ** 20);
      return this.task({ number: told, state: "failed", text: `${file.name}: larger than ${most} MB, which is the most that is taken` });
    }
    this.task({ number: told, state: "running", text: told });
    try {
      const where = `${drives ? "drivers" : "photographs"}?name=${encodeURIComponent(file.name)}`;
      const answer = await fetch(where, { method: "POST", body: file });
      if (answer.ok) return this.#gone(told);
      const { error } = await answer.json();
      this.task({ number: told, state: "failed", text: error });
    } catch {
      this.task({ number: told, state: "failed", text: `${file.name} could not be sent` });
    }
  }

  // A task as the server tells of it, in place of what was told of it before.
  task({ number, state, text, share, links = [], remarks = [], folder }) {
    const close = make("button", { "aria-label": "Close", onclick: () => this.#gone(number) }, "×");
    const box = make("div", { className: `task ${state}` }, make("p", {}, text), close);
    if (state === "running" || state === "waiting") {
      const bar = make("progress", { max: 1, "aria-label": text });
      if (share) bar.value = share;
      box.append(bar);
    }
    for (const remark of remarks) box.append(make("p", { className: "more" }, remark));
    for (const link of links) {
      const name = decodeURIComponent(link.split("/").pop());
      const address = link.split("/").map(encodeURIComponent).join("/");
      box.append(make("p", { className: "more" }, make("a", { href: address, download: name }, name)));
    }
    if (folder) box.append(make("p", { className: "more" }, `with its row in ${folder}`));
    const before = this.#shown.get(number);
    if (before) before.replaceWith(box); else this.#tasks.append(box);
    this.#shown.set(number, box);
    if (state === "done" && !links.length) setTimeout(() => { if (this.#shown.get(number) === box) this.#gone(number); }, FADES);
  }

  #gone(number) {
    this.#shown.get(number)?.remove();
    this.#shown.delete(number);
  }
}

export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
