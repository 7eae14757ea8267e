// Whether the ids of a subset file are sorted, told while the file is read, before any of it is sent. The server and the
// worker check it again.

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // "\x93NUMPY"
const ROW = 16; // two little-endian 64-bit numbers: the high half, then the low one

/** Length of an npy file's header; 0 for a bare array; -1 for what is neither. */
export function headerOf(bytes, size) {
  if (MAGIC.every((byte, place) => bytes[place] === byte)) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, 12);
    return bytes[6] === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  }
  return size % ROW === 0 ? 0 : -1;
}

/** Takes a file's bytes one part after another, and counts rows that are smaller than the row before them. */
export class Order {
  #skip;
  #kept = new Uint8Array(0);
  #last = [0, 0, 0, 0];
  #row = 0;
  wrong = 0;
  /** The first such row, from 0. */
  first = null;

  constructor(skip) {
    this.#skip = skip;
  }

  update(bytes) {
    const cut = Math.min(this.#skip, bytes.length);
    this.#skip -= cut;
    const all = new Uint8Array(this.#kept.length + bytes.length - cut); // of its own, so that numbers are aligned
    all.set(this.#kept);
    all.set(bytes.subarray(cut), this.#kept.length);
    const rows = Math.floor(all.length / ROW);
    this.#kept = all.slice(rows * ROW);
    const words = new Uint32Array(all.buffer, 0, rows * 4);
    let [b0, b1, b2, b3] = this.#last;
    for (let at = 0; at < words.length; at += 4, this.#row += 1) {
      // From the highest word down: of each half the second word is the higher one.
      const a0 = words[at + 1], a1 = words[at], a2 = words[at + 3], a3 = words[at + 2];
      if (a0 < b0 || (a0 === b0 && (a1 < b1 || (a1 === b1 && (a2 < b2 || (a2 === b2 && a3 < b3)))))) {
        this.wrong += 1;
        this.first ??= this.#row;
      }
      b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    }
    this.#last = [b0, b1, b2, b3];
  }

  /** What is wrong, in words; empty when nothing is. */
  get problem() {
    if (!this.wrong) return "";
    const rows = this.wrong === 1 ? "1 row is smaller than the row before it" : `${this.wrong.toLocaleString("en")} rows are smaller than the row before them`;
    return `${rows}, the first is row ${this.first}. Sort the ids: numpy.sort(uids)`;
  }
}
