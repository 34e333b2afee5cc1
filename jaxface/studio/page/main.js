// The page: one state, one link, and what shows them.

import { Files, download } from "./files.js";
import { keyTable, listen } from "./keys.js";
import { Link } from "./link.js";
import { Panel, make } from "./panel.js";
import { Stage } from "./stage.js";
import { State, nothing, same } from "./state.js";

const $ = (id) => document.getElementById(id);
let controls = null, hello = null, portraits = [], drivers = [];
let waited = false; // for a server that was still loading, or compiling
let comparing = false, recording = false, playing = null, sensitivity = 1;

const state = new State();
const stage = new Stage(state, () => controls, () => sensitivity);
const panel = new Panel(state, stage);
const link = new Link();
const files = new Files();

// ---- the link

function status(kind, text) {
  $("status").className = kind;
  $("status").lastElementChild.textContent = text;
}

link.addEventListener("preparing", ({ detail }) => {
  status("", hello ? detail.text : "starting");
  $("covered").textContent = detail.text;
});
link.addEventListener("lost", () => {
  waited = false;
  status("off", "connection lost; trying again");
});
link.addEventListener("hello", ({ detail }) => {
  const first = hello === null;
  // The same server again, further than before: what was built stands.
  const further = waited && same([hello.controls, hello.portraits], [detail.controls, detail.portraits]);
  hello = detail;
  ({ controls, portraits, drivers } = detail);
  files.largest = detail.largest;
  $("open").hidden = !detail.opens;
  if (detail.preparing) status("", detail.preparing);
  else status("on", `${detail.suite}, ${detail.size} px`);
  waited = Boolean(detail.preparing);
  if (further) return ask(false);
  recording = false;
  playing = null;
  const known = portraits.find((each) => each.key === (state.portrait?.key ?? state.wanted));
  panel.build(controls, [driverSection(), keepSection()]);
  film();
  choose(known ?? portraits[0]);
  if (first) stage.hint(!Object.keys(state.edit.values).length);
});
link.addEventListener("refused", ({ detail }) => files.task({ number: `refused ${detail.text}`, state: "failed", text: detail.text }));
link.addEventListener("task", ({ detail }) => {
  files.task(detail);
  if (detail.state !== "done") return;
  if (detail.driver) {
    drivers = [...drivers.filter((each) => each.name !== detail.driver.name), detail.driver];
    updateDrivers(detail.driver.name);
  }
  if (detail.portraits) joined(detail.portraits, detail.show);
});
link.addEventListener("picture", ({ detail }) => {
  stage.draw(detail);
  $("cover").classList.add("gone");
  if (detail.playing === 1) playing = null;
  if (!detail.moving) {
    panel.update();
    const line = document.getElementById("command");
    if (line && !comparing) line.value = detail.command;
  }
  if (!detail.moving || performance.now() - spoken > PACE) tell(detail);
});

function ask(moving) {
  if (!state.portrait) return;
  link.ask(state.portrait.key, comparing ? nothing() : state.edit, moving);
}
// Numbers and sliders follow a moving hand at a pace that eyes can read: they cost more to paint
// than the portrait.
const PACE = 150; // ms
let told = 0;
const due = (moving) => {
  const now = performance.now();
  if (moving && now - told < PACE) return false;
  told = now;
  return true;
};

state.addEventListener("edit", ({ detail }) => {
  ask(detail.moving);
  if (detail.moving) stage.hint(false);
  if (!due(detail.moving)) return;
  panel.update();
  $("undo").disabled = !state.canUndo;
  $("redo").disabled = !state.canRedo;
  $("paste").disabled = state.clipboard === null;
});

// ---- what is told under the portrait

let spoken = 0;
function tell({ ms }) {
  spoken = performance.now();
  const parts = Object.keys(controls.head).map((name) => {
    const read = stage.shown[name];
    const asked = state.edit.values[name];
    const told = read === undefined ? stage.angle(name) : read;
    const goal = asked === undefined || comparing ? "" : ` of ${asked.toFixed(1)}°`;
    return make("div", {}, make("dt", {}, name), make("dd", {}, make("b", {}, `${(told + 0).toFixed(1)}°`), goal));
  });
  $("shown").replaceChildren(...parts);
  const latency = Number($("canvas").dataset.latency);
  $("speed").textContent = `${ms.toFixed(0)} ms drawn, ${latency.toFixed(0)} ms to see` + (stage.rate > 2 ? `, ${stage.rate} a second` : "");
}

// ---- the filmstrip

function film() {
  const thumbs = portraits.map((each) => {
    const image = make("img", { src: `thumbnails/${each.key}`, alt: "", loading: "lazy", draggable: false });
    const thumb = make("button", { className: "thumb", role: "option", title: title(each), tabIndex: -1, onclick: () => choose(each) }, image);
    thumb.setAttribute("aria-label", title(each));
    thumb.dataset.key = each.key;
    if (each.how && each.how !== "sample") thumb.append(make("em", {}, each.how.replaceAll("_", " ")));
    return thumb;
  });
  $("film").replaceChildren(...thumbs);
}
const title = (each) => `${each.name}${each.how && each.how !== "sample" ? `, ${each.how}` : ""}`;

$("film").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) { step(by); event.preventDefault(); event.stopPropagation(); }
});

function choose(portrait) {
  if (!portrait) return;
  if (state.portrait?.key !== portrait.key) { stage.shown = {}; stage.before = {}; }
  state.show(portrait);
  for (const thumb of $("film").children) {
    const chosen = thumb.dataset.key === portrait.key;
    thumb.setAttribute("aria-selected", chosen);
    thumb.tabIndex = chosen ? 0 : -1;
    if (chosen) { // in the strip, and not the page
      const film = $("film"), left = thumb.offsetLeft - film.offsetLeft;
      film.scrollLeft = Math.min(Math.max(film.scrollLeft, left + thumb.offsetWidth - film.clientWidth), left);
    }
  }
  updateKeep();
}
function step(by) {
  const place = portraits.findIndex((each) => each.key === state.portrait?.key);
  const next = portraits[(place + by + portraits.length) % portraits.length];
  const inside = document.activeElement?.closest?.("#film");
  choose(next);
  if (inside) $("film").querySelector('[aria-selected="true"]').focus();
}

// Somebody was embedded: anew, or better than before, when the one on the stage is replaced.
function joined(found, show) {
  const shown = state.portrait;
  portraits = [...portraits.filter((each) => !found.some((other) => other.key === each.key)), ...found];
  film();
  const better = found.find((each) => each.group === shown?.group);
  choose(show ? found[0] : better ?? shown);
}

// ---- the driver

let chosenDriver = null;
function driverSection() {
  if (!hello.drives) return "";
  const choice = make("select", { id: "drivers", "aria-label": "Driver" });
  choice.onchange = () => { chosenDriver = choice.value; };
  const play = make("button", { id: "play", className: "solid", onclick: togglePlay }, "Play");
  const open = make("button", { className: "solid", onclick: () => $("driver").click() }, "Open a clip or a motion");
  const relative = make("input", { type: "checkbox", id: "relative", checked: true });
  const check = make("label", { className: "check" }, relative, "add its changes to the portrait's own pose");
  const head = make("div", { className: "head" }, make("h2", {}, "Driver"));
  const chosen = make("div", { id: "chosen" }, make("div", { className: "line" }, choice, play), check);
  const section = make("section", { className: "group", "aria-label": "Driver" }, head, make("div", { className: "buttons" }, open), chosen);
  queueMicrotask(() => updateDrivers());
  return section;
}
function updateDrivers(name = chosenDriver) {
  const choice = document.getElementById("drivers");
  if (!choice) return;
  choice.replaceChildren(...drivers.map((each) => make("option", { value: each.name }, `${each.name}, ${each.seconds.toFixed(1)} s`)));
  chosenDriver = drivers.some((each) => each.name === name) ? name : drivers[0]?.name ?? null;
  if (chosenDriver) choice.value = chosenDriver;
  document.getElementById("chosen").hidden = !drivers.length;
}
function togglePlay() {
  if (playing) {
    playing = null;
    link.send({ do: "pause" });
    return ask(false);
  }
  if (!chosenDriver) return;
  playing = chosenDriver;
  link.send({ do: "play", driver: chosenDriver, relative: document.getElementById("relative").checked });
}

// ---- what is kept

function keepSection() {
  const button = (id, text, title, onclick) => make("button", { id, className: "solid", title, onclick }, text);
  const buttons = make("div", { className: "buttons" },
    button("png", "Image", "The image as a PNG", actionPng),
    button("save", "Save with its row", "As jaxface edit writes it, in the studio's folder (Ctrl S)", () => actions.save()),
    button("record", "Record", "Record a gesture (R)", () => actions.record()),
    button("tune", "Tune a generator", "Pivotal tuning of a generator to this photograph, which takes minutes", () => link.send({ do: "tune", portrait: state.portrait.key })));
  const kind = make("select", { id: "kind", "aria-label": "A recorded gesture becomes" },
    make("option", { value: "mp4" }, "MP4 clip"), make("option", { value: "gif" }, "GIF"), make("option", { value: "motion" }, "Motion template"));
  const line = make("div", { className: "line" }, make("span", { className: "note" }, "A gesture becomes"), kind);
  const command = make("textarea", { id: "command", readOnly: true, spellcheck: false, "aria-label": "The same as a command line" });
  const copy = make("button", { title: "Copy the command line", onclick: () => { command.select(); navigator.clipboard?.writeText(command.value); } }, "Copy");
  const feel = make("input", { type: "range", id: "feel", min: 0.25, max: 2, step: 0.05, value: sensitivity });
  const output = make("output", { htmlFor: "feel" }, `${Math.round(57.3 * sensitivity)}°`);
  feel.oninput = () => { sensitivity = Number(feel.value); output.value = `${Math.round(57.3 * sensitivity)}°`; };
  const hand = make("div", { className: "row", title: "Degrees that the head turns for a drag of one radius of the head" }, make("label", { htmlFor: "feel" }, "Turn per radius"), feel, output);
  const head = make("div", { className: "head" }, make("h2", {}, "Keep"), copy);
  return make("section", { className: "group", "aria-label": "Keep" }, head, buttons, line, command, hand);
}
function updateKeep() {
  const tune = document.getElementById("tune");
  if (tune) document.getElementById("save").hidden = !hello.opens;
  if (tune) tune.hidden = !(hello.tunes && state.portrait.photograph);
}
function actionPng() {
  if (stage.last) download(stage.last.image, `${state.portrait.name.replace(/\.[^.]*$/, "")}.png`);
}

// ---- actions of buttons and keys

const actions = {
  neutral() {
    state.change((edit) => {
      for (const name of Object.keys(controls.values)) edit.values[name] = 0;
    });
    state.settle();
  },
  reset() { state.set(nothing()); },
  copy() {
    state.clipboard = structuredClone({ values: state.edit.values, moves: state.edit.moves });
    $("paste").disabled = false;
  },
  paste() {
    if (!state.clipboard) return;
    state.change((edit) => Object.assign(edit, structuredClone(state.clipboard)));
    state.settle();
  },
  compare(on) {
    if (on === comparing) return;
    comparing = on;
    $("compare").setAttribute("aria-pressed", on);
    ask(false);
  },
  record() {
    recording = !recording;
    const button = document.getElementById("record");
    button.setAttribute("aria-pressed", recording);
    button.textContent = recording ? "Stop" : "Record";
    const message = { portrait: state.portrait.key, edit: state.edit };
    if (recording) link.send({ do: "record", ...message });
    else link.send({ do: "stop", ...message, kinds: [document.getElementById("kind").value] });
  },
  save() { link.send({ do: "save", portrait: state.portrait.key, edit: state.edit, paste: true }); },
  play: togglePlay,
  step,
  help() {
    const rows = keyTable(controls).map(([key, text]) => make("div", {}, make("span", {}, text), make("kbd", {}, key)));
    const close = make("button", { className: "solid", onclick: () => $("keys").close() }, "Close");
    $("keys").replaceChildren(make("h2", {}, "Keys"), make("div", { className: "columns" }, ...rows), close);
    $("keys").showModal();
  },
};
$("undo").onclick = () => state.undo();
$("redo").onclick = () => state.redo();
for (const name of ["neutral", "reset", "copy", "paste", "help"]) $(name).onclick = () => actions[name]();
$("compare").addEventListener("pointerdown", () => actions.compare(true));
for (const end of ["pointerup", "pointerleave", "pointercancel"]) $("compare").addEventListener(end, () => actions.compare(false));
$("compare").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") actions.compare(true); });
$("compare").addEventListener("keyup", () => actions.compare(false));
$("open").onclick = () => $("photograph").click();
listen({ state, stage, controls: () => controls, actions });

// What tests measure.
globalThis.studio = { state, stage, link };
