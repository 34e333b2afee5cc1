// Keys for everything. A key that is held moves on; what it moved rests when it is let go.

import { rounded } from "./stage.js";

const TURN = 2; // degrees of an arrow
const NUDGE = 10; // steps of a control, of a key
const LAMP = 5; // degrees of an arrow with Alt

export function keyTable(controls) {
  const rows = [];
  if (controls.head.yaw) rows.push(["← →", "turn the head"]);
  if (controls.head.pitch) rows.push(["↑ ↓", "look up, look down"]);
  if (controls.head.roll) rows.push(["[ ]", "roll; or Shift while dragging"]);
  if (controls.light) rows.push(["Alt ← → ↑ ↓", "move the lamp"], [", .", "weaker, stronger lamp"]);
  if (Object.keys(controls.moves).length) rows.push(["+ −", "the direction touched last"]);
  rows.push(["N", "neutral face"], ["0", "reset all"], ["V", "hold: as it was"]);
  rows.push(["Ctrl Z", "undo"], ["Ctrl Shift Z", "redo"], ["Ctrl C, Ctrl V", "copy, paste the motion"]);
  rows.push(["Page ↑ ↓", "the portrait before, after"], ["R", "record, stop"], ["Space", "play the driver, pause"]);
  rows.push(["Ctrl S", "save with its row"], ["?", "these keys"]);
  for (const control of Object.values(controls.values)) {
    if (control.key) rows.push([control.key.toUpperCase(), `${control.label.toLowerCase()}; Shift: less`]);
  }
  return rows;
}

export function listen({ state, stage, controls, actions }) {
  let rests = 0;
  const later = () => {
    clearTimeout(rests);
    rests = setTimeout(() => state.settle(), 220);
  };

  const turns = {
    ArrowLeft: ["yaw", -TURN], ArrowRight: ["yaw", TURN], ArrowUp: ["pitch", -TURN],
    ArrowDown: ["pitch", TURN], "[": ["roll", TURN / 2], "]": ["roll", -TURN / 2],
  };
  const lamps = { ArrowLeft: [0, -LAMP], ArrowRight: [0, LAMP], ArrowUp: [1, LAMP], ArrowDown: [1, -LAMP] };

  const lit = (place, change) => state.change((edit) => {
    edit.light ??= [0, 20, 0.8];
    const [low, high] = place === 2 ? [0, 1] : [-90, 90];
    edit.light[place] = rounded(Math.min(Math.max(edit.light[place] + change, low), high), place === 2 ? 0.01 : 1);
  });

  const nudge = (kind, key, steps) => {
    const { low, high, step } = controls()[kind][key];
    state.change((edit) => {
      const now = edit[kind][key] ?? (kind === "values" ? stage.before[key] ?? 0 : 0);
      edit[kind][key] = rounded(Math.min(Math.max(now + steps * step, low), high), step);
    });
  };

  addEventListener("keydown", (event) => {
    if (!controls() || document.querySelector("dialog[open]")) return;
    const at = event.target, { key } = event;
    const typing = at.matches?.("textarea, select");
    const sliding = at.matches?.('input[type="range"]');
    if (event.ctrlKey || event.metaKey) {
      const low = key.toLowerCase();
      if (low === "z") event.shiftKey ? state.redo() : state.undo();
      else if (low === "y") state.redo();
      else if (low === "s") actions.save();
      else if (low === "c" && !typing && String(getSelection()) === "") actions.copy();
      else if (low === "v" && !typing) actions.paste();
      else return;
      return event.preventDefault();
    }
    if (typing) return;
    const inFilm = at.closest?.("#film");
    if (event.altKey) {
      if (!(key in lamps) || !controls().light) return;
      lit(...lamps[key]);
    } else if (key in turns && !sliding && !inFilm) {
      const [name, by] = turns[key];
      if (!(name in controls().head)) return;
      state.change((edit) => stage.turn(edit, name, stage.angle(name) + by));
    } else if ((key === "," || key === ".") && controls().light) {
      lit(2, key === "." ? 0.05 : -0.05);
    } else if ((key === "+" || key === "=" || key === "-") && stage.direction) {
      nudge("moves", stage.direction, (key === "-" ? -1 : 1) * 50);
    } else if (key === " " && !at.matches?.("button, input, summary")) {
      if (!event.repeat) actions.play();
      return event.preventDefault();
    } else if (key === "?") {
      actions.help();
    } else if (key === "0") {
      actions.reset();
    } else if (key === "PageUp" || key === "PageDown") {
      actions.step(key === "PageUp" ? -1 : 1);
    } else {
      const letter = key.toLowerCase();
      const named = Object.entries(controls().values).find(([, each]) => each.key === letter);
      if (letter === "n") actions.neutral();
      else if (letter === "v") { if (!event.repeat) actions.compare(true); }
      else if (letter === "r") { if (!event.repeat) actions.record(); }
      else if (named) nudge("values", named[0], event.shiftKey ? -NUDGE : NUDGE);
      else return;
      if (!named) return event.preventDefault();
    }
    later();
    event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "v") actions.compare(false);
  });
  addEventListener("blur", () => actions.compare(false));
}
