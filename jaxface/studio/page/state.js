// What is asked for of each portrait, with its past and its future. Kept by the page, so that it
// outlives a server that is restarted, and a reload.

const KEPT = "jaxface studio";
const MOST = 200; // steps of undo

export const nothing = () => ({ values: {}, light: null, moves: {} });
const copy = (edit) => structuredClone(edit);
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

export class State extends EventTarget {
  portrait = null; // as the server tells of it
  clipboard = null;
  #faces = {}; // by a portrait's group: {edit, past, future}

  constructor() {
    super();
    try {
      const told = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
      this.#faces = told.faces ?? {};
      this.clipboard = told.clipboard ?? null;
      this.wanted = told.portrait ?? null;
    } catch { /* of another version: begin anew */ }
  }

  get #face() {
    const group = this.portrait?.group ?? "";
    return (this.#faces[group] ??= { edit: nothing(), past: [], future: [] });
  }
  get edit() { return this.#face.edit; }
  get canUndo() { return this.#face.past.length > 0; }
  get canRedo() { return this.#face.future.length > 0; }

  show(portrait) {
    this.portrait = portrait;
    this.#settled = copy(this.edit);
    this.#told(false);
  }

  // A step of a gesture: it is drawn at once, and `settle` makes one entry of undo of all of them.
  change(alter) {
    alter(this.edit);
    this.#told(true);
  }

  // The hand rests.
  settle() {
    const face = this.#face;
    if (!same(face.edit, this.#settled)) {
      face.past.push(this.#settled);
      face.past.splice(0, face.past.length - MOST);
      face.future = [];
      this.#settled = copy(face.edit);
    }
    this.#told(false);
  }

  set(edit) {
    this.#face.edit = copy(edit);
    this.settle();
  }
  undo() { this.#step("past", "future"); }
  redo() { this.#step("future", "past"); }

  #settled = nothing();
  #step(from, to) {
    const face = this.#face;
    this.settle();
    if (!face[from].length) return;
    face[to].push(face.edit);
    face.edit = face[from].pop();
    this.#settled = copy(face.edit);
    this.#told(false);
  }

  #told(moving) {
    if (!moving) this.#keep();
    this.dispatchEvent(new CustomEvent("edit", { detail: { moving } }));
  }
  #keep() {
    const told = { faces: this.#faces, clipboard: this.clipboard, portrait: this.portrait?.key };
    try { sessionStorage.setItem(KEPT, JSON.stringify(told)); } catch { /* full: not kept */ }
  }
}
