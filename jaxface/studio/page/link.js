// The websocket: edits go out, the newest only; pictures come in, and each is answered once it is
// drawn. A connection that is lost is tried again for as long as the page is open.

const APART = 8; // ms between two edits
const PAUSES = [250, 500, 1000, 2000]; // ms between tries

export class Link extends EventTarget {
  #socket = null;
  #tries = 0;
  #number = 0;
  #waiting = null;
  #sent = -Infinity;
  ready = false;

  constructor() {
    super();
    this.#connect();
  }

  // The number of the newest edit that was asked for.
  get number() { return this.#number + (this.#waiting === null ? 0 : 1); }

  send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  // Asks for a picture, at once; of several within `APART` the last is sent.
  ask(portrait, edit, moving) {
    const now = performance.now();
    const waits = this.#waiting !== null;
    this.#waiting = { portrait, edit: structuredClone(edit), moving, at: this.#waiting?.at ?? now };
    if (waits) return;
    const send = () => {
      const wanted = this.#waiting;
      this.#waiting = null;
      this.#sent = performance.now();
      if (this.ready) this.send({ do: "edit", number: ++this.#number, ...wanted });
    };
    const wait = this.#sent + APART - now;
    if (wait > 0) setTimeout(send, wait); else send();
  }

  #connect() {
    const address = new URL("socket", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.#tries = 0; };
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) return void this.#picture(socket, data);
      const message = JSON.parse(data);
      if (message.is === "hello") this.ready = true;
      this.#tell(message.is, message);
    };
    socket.onclose = () => {
      this.ready = false;
      this.#tell("lost", {});
      setTimeout(() => this.#connect(), PAUSES[Math.min(this.#tries++, PAUSES.length - 1)]);
    };
  }

  async #picture(socket, data) {
    const length = new DataView(data).getUint32(0, true);
    const told = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const image = new Blob([new Uint8Array(data, 4 + length)], { type: told.kind });
    const bitmap = await createImageBitmap(image);
    this.#tell("picture", { ...told, bitmap, image });
    if (socket.readyState === WebSocket.OPEN) socket.send('{"do":"drawn"}');
  }

  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}
