// The portrait: what is drawn, and the hand on it. A drag is a trackball that rolls under the
// finger: by one radius of the head it turns by one radian.

export const RADIUS = 0.3; // of the head, in sides of an aligned portrait
const DEGREES = 180 / Math.PI;
const EYES = { x: 0.11, y: 0.47, reach: 0.055 }; // of an aligned portrait, from its middle
const LOOK = 0.12; // sides of the picture that an eye is dragged by for a unit of looking
// As far as eyes look beside where they did, in ARKit's units: people in photographs hardly look up or down.
export const GAZE = { across: 0.5, down: 0.3 };
const WHEEL = 0.002; // of a direction's reach, for a pixel of the wheel

export class Stage {
  #canvas = document.getElementById("canvas");
  #context = this.#canvas.getContext("2d", { willReadFrequently: true });
  #hint = document.getElementById("hint");
  #latencies = [];
  #times = [];
  #held = null;
  last = null; // the picture that is shown, as the server told of it
  shown = {}; // what was read of it last
  before = {}; // and of the portrait as it was
  direction = null; // what the wheel moves

  constructor(state, controls, sensitivity) {
    this.state = state;
    this.controls = controls;
    this.sensitivity = sensitivity;
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#up(event));
    }
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#fit()).observe(canvas);
  }

  get held() { return this.#held !== null; }

  draw(picture) {
    this.last?.bitmap.close();
    this.last = picture;
    if (picture.read) this.shown = picture.read;
    if (picture.before) this.before = picture.before;
    this.#fit();
    this.#paint();
    const now = performance.now();
    this.#latencies.push(now - picture.at);
    this.#times.push(now);
    if (this.#latencies.length > 2000) this.#latencies.shift();
    while (this.#times[0] < now - 1000) this.#times.shift();
    const data = this.#canvas.dataset;
    data.frames = Number(data.frames) + 1;
    data.latency = (now - picture.at).toFixed(1);
    data.number = picture.number;
    data.moving = picture.moving;
  }

  // Milliseconds from the hand to the canvas of the newest pictures; for the page and for tests.
  latencies() { return [...this.#latencies]; }
  forget() { this.#latencies = []; this.#times = []; }
  get rate() { return this.#times.length; }

  // What to do first, until something was done.
  hint(wanted) { this.#hint.hidden = !wanted || !Object.keys(this.controls().head).length; }

  #paint() {
    const { width, height } = this.#canvas;
    this.#context.imageSmoothingQuality = "high";
    this.#context.drawImage(this.last.bitmap, 0, 0, width, height);
  }

  // The canvas has the display's pixels, or four times the picture's, which a browser enlarges
  // evenly from there: to fill more of them takes longer than to draw the portrait.
  #fit() {
    const most = Math.max(256, 4 * (this.last?.size ?? 64));
    const side = Math.min(Math.round(this.#canvas.clientWidth * devicePixelRatio), most);
    if (!side || side === this.#canvas.width) return;
    this.#canvas.width = this.#canvas.height = side;
    if (this.last) this.#paint();
  }

  // The number that an angle of the head is asked for by, and as which it is shown.
  angle(name) {
    const [kind, key] = split(this.controls().head[name]);
    const asked = this.state.edit[kind][key];
    return asked ?? (kind === "values" ? this.shown[name] ?? this.before[name] ?? 0 : 0);
  }
  turn(edit, name, degrees) {
    const place = this.controls().head[name];
    if (!place) return;
    const [kind, key] = split(place);
    const { low, high, step } = this.controls()[kind][key];
    edit[kind][key] = rounded(Math.min(Math.max(degrees, low), high), step);
  }

  #down(event) {
    if (event.button !== 0 || this.#held) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#canvas.classList.add("held");
    this.#hint.hidden = true;
    const angles = {};
    for (const name of Object.keys(this.controls().head)) angles[name] = this.angle(name);
    const { x, y } = this.#place(event);
    const eyes = this.controls().gaze && Math.abs(Math.abs(x - 0.5) - EYES.x) < EYES.reach
      && Math.abs(y - EYES.y) < EYES.reach;
    this.#held = { id: event.pointerId, x, y, angles, eyes: eyes && this.gaze() };
  }

  #move(event) {
    if (event.pointerId !== this.#held?.id) return;
    const { x, y } = this.#place(event);
    const { x: fromX, y: fromY, angles, eyes } = this.#held;
    if (eyes) {
      const [across, down] = eyes;
      return this.state.change((edit) => this.look(edit, across + (x - fromX) / LOOK, down + (y - fromY) / LOOK));
    }
    this.state.change((edit) => {
      if (event.shiftKey) { // about the axis to the camera, anticlockwise
        const turned = Math.atan2(fromY - 0.5, fromX - 0.5) - Math.atan2(y - 0.5, x - 0.5);
        return this.turn(edit, "roll", angles.roll + Math.atan2(Math.sin(turned), Math.cos(turned)) * DEGREES);
      }
      const degrees = (DEGREES / RADIUS) * this.sensitivity();
      this.turn(edit, "yaw", angles.yaw + (x - fromX) * degrees);
      this.turn(edit, "pitch", angles.pitch + (y - fromY) * degrees);
    });
  }

  #up(event) {
    if (event.pointerId !== this.#held?.id) return;
    this.#held = null;
    this.#canvas.classList.remove("held");
    this.state.settle();
  }

  // Where the eyes look beside where they did: to the image's right, and down, in ARKit's units, whose
  // left and right are the person's own, who faces us. Opposite units share it: the least change of a face.
  gaze() {
    const told = (name) => this.state.edit.moves[`${this.controls().gaze}.eyeLook${name}`] ?? 0;
    return [told("InRight") - told("OutRight"), told("DownRight") - told("UpRight")];
  }
  look(edit, across, down) {
    const set = this.controls().gaze;
    const within = (value, most) => Math.min(Math.max(value, -most), most) / 2;
    const put = (amount, ...names) => {
      for (const name of names) {
        const key = `${set}.eyeLook${name}`, { step } = this.controls().moves[key];
        edit.moves[key] = rounded(amount, step);
        if (!edit.moves[key]) delete edit.moves[key];
      }
    };
    const [right, below] = [within(across, GAZE.across), within(down, GAZE.down)];
    put(right, "InRight", "OutLeft");
    put(-right, "OutRight", "InLeft");
    put(below, "DownRight", "DownLeft");
    put(-below, "UpRight", "UpLeft");
  }

  #wheel(event) {
    const name = this.direction;
    if (!name) return;
    event.preventDefault();
    const { low, high, step } = this.controls().moves[name];
    this.state.change((edit) => {
      const value = (edit.moves[name] ?? 0) - event.deltaY * WHEEL * high;
      edit.moves[name] = rounded(Math.min(Math.max(value, low), high), step);
    });
    clearTimeout(this.#rests);
    this.#rests = setTimeout(() => this.state.settle(), 180);
  }
  #rests = 0;

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }
}

export function rounded(value, step) {
  return Number((Math.round(value / step) * step).toFixed(3)) + 0;
}

// "moves.pose.yaw" is "pose.yaw" among the moves.
function split(place) {
  const dot = place.indexOf(".");
  return [place.slice(0, dot), place.slice(dot + 1)];
}
