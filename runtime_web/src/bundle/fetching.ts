// Files of bundles from a server.

import { BundleFetchError, BundleIntegrityError } from "../errors.js";
import type { Bytes } from "./sha256.js";

/** Is told how many bytes came with a part, and how many there will be; 0 where the server does not say. */
export type OnPart = (bytes: number, totalBytes: number) => void;

/**
 * The whole of a file. `fresh` asks for bytes that no cache kept. `what` says in messages what is expected there, and ends with
 * what to look at. Throws BundleError, also where there are more than `limit` bytes.
 */
export async function fetched(where: string, what: string, limit: number, fresh: boolean, received: OnPart): Promise<Bytes> {
  const unreachable = (error: unknown): BundleFetchError =>
    new BundleFetchError(`${where}: cannot be fetched (${String(error)}). Check the address and the network.`, { cause: error });
  let response: Response;
  try {
    response = await fetch(where, fresh ? { cache: "reload" } : {});
  } catch (error) {
    throw unreachable(error);
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw new BundleFetchError(`${where}: the server answers ${response.status}, expected ${what}`);
  }
  if ((response.headers.get("Content-Type") ?? "").startsWith("text/html")) {
    await response.body.cancel();
    throw new BundleFetchError(`${where}: the server sends an HTML page, expected ${what}`);
  }
  // Of a compressed answer it is the compressed size.
  const total = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0) || 0;
  const parts: Bytes[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const part = await reader.read().catch((error: unknown) => {
      throw unreachable(error);
    });
    if (part.done) break;
    size += part.value.length;
    if (size > limit) {
      await reader.cancel();
      throw tooLarge(where, `more than ${limit} bytes`, limit);
    }
    parts.push(part.value);
    received(part.value.length, total);
  }
  return joined(parts, size);
}

/** A refusal of a file that is too large. */
export function tooLarge(where: string, size: string, limit: number): BundleIntegrityError {
  return new BundleIntegrityError(`${where}: ${size}, expected at most ${limit}. Build the bundle again.`);
}

function joined(parts: readonly Bytes[], size: number): Bytes {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
