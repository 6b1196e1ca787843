import { PlatformError } from "../errors.js";

/** Bytes in memory that is not shared between threads. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** SHA-256 by WebCrypto, as 64 lowercase hex digits. Throws PlatformError when WebCrypto is not available. */
export async function sha256(bytes: Bytes): Promise<string> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new PlatformError(
      "WebCrypto: not available, expected for the hashes of the bundle. Browsers offer it only on https and on localhost. " +
        "Serve the page over https, or open it on the machine that serves it.",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
