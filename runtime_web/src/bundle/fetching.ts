// Fetches the files of a bundle from a server.

import { BundleFetchError, BundleIntegrityError } from "../errors.js";
import type { Bytes } from "./sha256.js";

/** Called with the size of each part that arrives and the total size; 0 when the server does not tell the total. */
export type OnPart = (bytes: number, totalBytes: number) => void;

export interface FetchOptions {
  /** Ends the error message "…, expected"; says what the file should be and what to check. */
  readonly expected: string;
  readonly maxBytes: number;
  /** Whether to ignore the browser's cache. */
  readonly bypassCache: boolean;
  readonly onPart: OnPart;
}

/** Fetches a whole file. Throws BundleError, also when it has more than `maxBytes` bytes. */
export async function fetchFile(url: string, { expected, maxBytes, bypassCache, onPart }: FetchOptions): Promise<Bytes> {
  const unreachable = (error: unknown): BundleFetchError =>
    new BundleFetchError(`${url}: cannot be fetched (${String(error)}). Check the address and the network.`, { cause: error });
  const response = await fetch(url, bypassCache ? { cache: "reload" } : {}).catch((error: unknown) => {
    throw unreachable(error);
  });
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw new BundleFetchError(`${url}: the server answers ${response.status}, expected ${expected}`);
  }
  if ((response.headers.get("Content-Type") ?? "").startsWith("text/html")) {
    await response.body.cancel();
    throw new BundleFetchError(`${url}: the server sends an HTML page, expected ${expected}`);
  }
  // Content-Length of a compressed response is the compressed size.
  const total = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0) || 0;
  const parts: Bytes[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const part = await reader.read().catch((error: unknown) => {
      throw unreachable(error);
    });
    if (part.done) return concatenated(parts, size);
    size += part.value.length;
    if (size > maxBytes) {
      await reader.cancel();
      throw tooLargeError(url, `more than ${maxBytes} bytes`, maxBytes);
    }
    parts.push(part.value);
    onPart(part.value.length, total);
  }
}

/** The error that a file is too large. */
export function tooLargeError(where: string, size: string, maxBytes: number): BundleIntegrityError {
  return new BundleIntegrityError(`${where}: ${size}, expected at most ${maxBytes}. Build the bundle again.`);
}

function concatenated(parts: readonly Bytes[], size: number): Bytes {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
