// The controls: what the suite has, and nothing else.

import { GAZE, rounded } from "./stage.js";

const REST = 180; // ms after a slider's last move

export function make(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list" && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...inside);
  return element;
}

export class Panel {
  #element = document.getElementById("panel");
  #rows = []; // what is brought up to date
  #timer = 0;

  constructor(state, stage) {
    this.state = state;
    this.stage = stage;
  }

  build(controls, sections) {
    this.#rows = [];
    this.#element.replaceChildren();
    const regions = {};
    for (const [name, control] of Object.entries(controls.values)) {
      (regions[control.region] ??= []).push(this.#slider("values", name, control));
    }
    const first = Object.keys(regions)[0];
    for (const [region, rows] of Object.entries(regions)) {
      this.#group(region, "values", rows.map((row) => row.key), rows.map((row) => row.element));
      if (region === first && controls.light) this.#lamp();
    }
    if (!first && controls.light) this.#lamp();
    const looks = Object.keys(controls.moves).filter((key) => controls.gaze && key.startsWith(`${controls.gaze}.eyeLook`));
    if (looks.length) this.#gaze(looks);
    const moves = Object.fromEntries(Object.entries(controls.moves).filter(([key]) => !looks.includes(key)));
    if (Object.keys(moves).length) this.#directions(moves);
    this.#element.append(...sections);
    this.update();
  }

  update() {
    for (const row of this.#rows) row();
  }

  #changed(alter) {
    this.state.change(alter);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.state.settle(), REST);
  }

  #group(title, kind, keys, inside, more = {}) {
    const reset = make("button", { title: `Reset ${title}`, "aria-label": `Reset ${title}` }, "Reset");
    const asked = () => more.asked?.() ?? keys().some((key) => key in this.state.edit[kind]);
    if (Array.isArray(keys)) { const list = keys; keys = () => list; }
    reset.onclick = () => {
      this.state.change((edit) => {
        if (more.reset) more.reset(edit);
        else for (const key of keys()) delete edit[kind][key];
      });
      this.state.settle();
    };
    this.#rows.push(() => { reset.disabled = !asked(); });
    const head = make("div", { className: "head" }, make("h2", {}, title), reset);
    const section = make("section", { className: "group", "aria-label": title }, head, ...inside);
    this.#element.append(section);
    return section;
  }

  #slider(kind, key, control) {
    const id = `${kind}-${key}`;
    const { low, high, step, unit, label } = control;
    const range = make("input", { type: "range", id, min: low, max: high, step });
    const output = make("output", { htmlFor: id });
    const name = make("label", { htmlFor: id, title: label }, label);
    if (control.key) name.append(make("kbd", { "aria-hidden": "true" }, control.key));
    const element = make("div", { className: "row" }, name, range, output);
    range.oninput = () => this.#changed((edit) => { edit[kind][key] = rounded(Number(range.value), step); });
    range.onchange = () => this.state.settle();
    name.ondblclick = () => {
      this.state.change((edit) => { delete edit[kind][key]; });
      this.state.settle();
    };
    let seen;
    this.#rows.push(() => {
      const asked = this.state.edit[kind][key];
      const own = kind === "values" ? this.stage.before[key] : 0;
      const value = asked ?? own;
      if (seen === `${asked} ${own}`) return;
      seen = `${asked} ${own}`;
      element.classList.toggle("asked", asked !== undefined);
      if (value !== undefined) range.value = value;
      const told = value === undefined ? "" : shown(value, step, unit);
      output.value = told;
      range.setAttribute("aria-valuetext", `${told}${asked === undefined ? ", as it was" : ""}`);
    });
    return { element, key };
  }

  #lamp() {
    const ball = make("canvas", { width: 184, height: 184, "aria-hidden": "true" });
    const parts = [
      ["Across", -90, 90, 1, "°"], ["Up", -90, 90, 1, "°"], ["Strength", 0, 1, 0.01, ""],
    ].map(([label, low, high, step, unit], place) => {
      const id = `lamp-${place}`;
      const range = make("input", { type: "range", id, min: low, max: high, step });
      const output = make("output", { htmlFor: id });
      range.setAttribute("aria-label", `Light ${label.toLowerCase()}`);
      range.oninput = () => this.#changed((edit) => {
        edit.light ??= [0, 20, 0.8];
        edit.light[place] = rounded(Number(range.value), step);
      });
      range.onchange = () => this.state.settle();
      this.#rows.push(() => {
        const light = this.state.edit.light;
        range.value = light ? light[place] : [0, 20, 0.8][place];
        output.value = light ? shown(light[place], step, unit) : "–";
        range.setAttribute("aria-valuetext", light ? output.value : "the portrait's own light");
        range.parentElement.classList.toggle("asked", light !== null);
      });
      return make("div", { className: "row" }, make("label", { htmlFor: id }, label), range, output);
    });
    const put = (event) => {
      const box = ball.getBoundingClientRect();
      let x = ((event.clientX - box.left) / box.width) * 2 - 1;
      let y = 1 - ((event.clientY - box.top) / box.height) * 2;
      const length = Math.hypot(x, y);
      if (length > 0.999) { x *= 0.999 / length; y *= 0.999 / length; }
      const z = Math.sqrt(Math.max(0, 1 - x * x - y * y));
      this.#changed((edit) => {
        edit.light ??= [0, 0, 0.8];
        edit.light[0] = Math.round((Math.atan2(x, z) * 180) / Math.PI) + 0;
        edit.light[1] = Math.round((Math.asin(y) * 180) / Math.PI) + 0;
      });
    };
    ball.onpointerdown = (event) => { ball.setPointerCapture(event.pointerId); put(event); };
    ball.onpointermove = (event) => { if (ball.hasPointerCapture(event.pointerId)) put(event); };
    ball.onpointerup = () => this.state.settle();
    let painted;
    this.#rows.push(() => {
      const wanted = String(this.state.edit.light);
      if (wanted !== painted) paintBall(ball, this.state.edit.light);
      painted = wanted;
    });
    const inside = make("div", { className: "lamp" }, ball, make("div", {}, ...parts));
    this.#group("Light", "light", [], [inside], {
      asked: () => this.state.edit.light !== null,
      reset: (edit) => { edit.light = null; },
    });
  }

  // The eight units of looking as what they are together; the eyes can be dragged, too.
  #gaze(looks) {
    const rows = [["Across", GAZE.across], ["Down", GAZE.down]].map(([label, most], place) => {
      const id = `gaze-${place}`;
      const range = make("input", { type: "range", id, min: -most, max: most, step: 0.02 });
      const output = make("output", { htmlFor: id });
      range.setAttribute("aria-label", `Gaze ${label.toLowerCase()}`);
      range.oninput = () => this.#changed((edit) => {
        const gaze = this.stage.gaze();
        gaze[place] = Number(range.value);
        this.stage.look(edit, ...gaze);
      });
      range.onchange = () => this.state.settle();
      this.#rows.push(() => {
        const value = this.stage.gaze()[place];
        range.value = value;
        output.value = shown(value, 0.01, "");
        range.parentElement.classList.toggle("asked", value !== 0);
      });
      return make("div", { className: "row" }, make("label", { htmlFor: id }, label), range, output);
    });
    this.#group("Gaze", "moves", looks, rows);
  }

  #directions(moves) {
    const sets = {};
    for (const key of Object.keys(moves)) (sets[moves[key].region] ??= []).push(key);
    const choice = make("select", { "aria-label": "Set of directions" });
    for (const set of Object.keys(sets)) choice.append(make("option", { value: set }, set));
    const list = make("div");
    const built = {};
    const rows = (set) => built[set] ??= sets[set].map((key) => {
      const { element } = this.#slider("moves", key, moves[key]);
      const mark = () => {
        this.stage.direction = key;
        for (const other of list.children) other.classList.toggle("wheel", other === element);
      };
      element.addEventListener("focusin", mark);
      element.addEventListener("pointerdown", mark);
      return element;
    });
    const show = () => {
      list.replaceChildren(...rows(choice.value));
      this.stage.direction = sets[choice.value][0];
      this.update();
    };
    choice.onchange = show;
    const line = make("div", { className: "line" }, choice);
    const note = make("p", { className: "note" }, "The wheel on the portrait moves the one touched last.");
    this.#group("Directions", "moves", Object.keys(moves), [line, list, note]);
    show();
  }
}

function shown(value, step, unit) {
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  return `${(Number(value.toFixed(digits)) + 0).toFixed(digits)}${unit}`;
}

// A ball in the light that is asked for: what the lamp of the edit does to a white sphere.
function paintBall(canvas, light) {
  const context = canvas.getContext("2d");
  const side = canvas.width, middle = side / 2, radius = middle - 4;
  context.clearRect(0, 0, side, side);
  const [across, up, strength] = light ?? [0, 20, 0.25];
  const a = (across * Math.PI) / 180, e = (up * Math.PI) / 180;
  const x = Math.sin(a) * Math.cos(e), y = Math.sin(e), z = Math.cos(a) * Math.cos(e);
  const image = context.createImageData(side, side);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const u = (column - middle) / radius, v = (middle - row) / radius, d = u * u + v * v;
      if (d > 1) continue;
      const lit = Math.max(0, u * x + v * y + Math.sqrt(1 - d) * z);
      const shade = 255 * Math.min(1, 0.55 * (1 - strength) + 0.1 + (0.25 + 0.65 * strength) * lit);
      const place = 4 * (row * side + column);
      image.data[place] = shade; image.data[place + 1] = shade * 0.94; image.data[place + 2] = shade * 0.86;
      image.data[place + 3] = 255 * Math.min(1, (1 - Math.sqrt(d)) * radius);
    }
  }
  context.putImageData(image, 0, 0);
  if (light && z >= 0) {
    context.strokeStyle = "#1b1206"; context.fillStyle = "#f0b37e"; context.lineWidth = 3;
    context.beginPath(); context.arc(middle + x * radius * 0.96, middle - y * radius * 0.96, 8, 0, 7);
    context.fill(); context.stroke();
  }
}
