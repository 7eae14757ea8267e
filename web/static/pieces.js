// Sends a file in pieces by the tus protocol (1.0.0), going on from where the server says it is.

import { Sha256 } from "./sha256.js";

export const PIECE = 8388608;
const READ = 4194304;
const PAUSES = [0.5, 1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8];
/** Statuses after which the same piece may be taken. */
const BUSY = [0, 409, 423, 429, 502, 503, 504];

/** The server does not take the file; the message says why. */
export class Refused extends Error {}

/** The connection does not come back; what arrived is kept. */
export class Interrupted extends Error {}

/** SHA-256 of a file as hex; `report` gets bytes read, `reader` the bytes themselves, one part after another. */
export async function digestOf(file, report, reader = null) {
  const sha = new Sha256();
  for (let at = 0; at < file.size; at += READ) {
    const bytes = new Uint8Array(await file.slice(at, at + READ).arrayBuffer());
    sha.update(bytes);
    reader?.update(bytes);
    report(Math.min(at + READ, file.size));
  }
  return sha.hex();
}

function request(method, address, headers, body, onProgress) {
  return new Promise((resolve) => {
    const sent = new XMLHttpRequest();
    sent.open(method, address);
    for (const [name, value] of Object.entries({ "Tus-Resumable": "1.0.0", ...headers })) sent.setRequestHeader(name, value);
    if (onProgress) sent.upload.addEventListener("progress", (step) => onProgress(step.loaded));
    sent.addEventListener("loadend", () => resolve(sent)); // status 0: there was no answer
    sent.send(body);
  });
}

function reasonOf(answer) {
  try {
    return JSON.parse(answer.responseText).problems.map((problem) => problem.message).join("; ");
  } catch {
    return answer.status === 410 ? "this upload has ended; hand the file in again" : `the server answered ${answer.status}`;
  }
}

/**
 * Send a file until all of it is there. `report.sent(bytes)` says how far it is, `report.waiting(seconds)` that the
 * server is waited for. Throws `Refused` or `Interrupted`.
 */
export async function sendPieces(address, file, token, report) {
  const ours = { "X-CSRF-Token": token };
  let offset = null;
  let best = -1;
  let failures = 0;
  while (offset !== file.size) {
    let answer;
    if (offset === null) {
      answer = await request("HEAD", address, ours);
    } else {
      const headers = { ...ours, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      const start = offset;
      answer = await request("PATCH", address, headers, file.slice(start, start + PIECE), (loaded) =>
        report.sent(Math.min(start + loaded, file.size)),
      );
    }
    const reached = Number(answer.getResponseHeader("Upload-Offset") ?? NaN);
    if (answer.status >= 200 && answer.status < 300 && !(offset !== null && reached <= offset) && reached <= file.size) {
      offset = reached;
      report.sent(offset);
      if (offset > best) [best, failures] = [offset, 0];
    } else if (BUSY.includes(answer.status) || answer.status < 300) {
      if (failures === PAUSES.length) throw new Interrupted();
      const pause = Math.max(PAUSES[failures], Math.min(Number(answer.getResponseHeader("Retry-After")) || 0, 60));
      failures += 1;
      offset = null;
      report.waiting(pause);
      await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    } else {
      throw new Refused(reasonOf(answer));
    }
  }
}
