// Bundles in one file, from wherever it is.

import { LARGEST_ARCHIVE } from "./archive.js";
import { BundleIntegrityError } from "../errors.js";
import { fetched, type OnPart, tooLarge } from "./fetching.js";
import type { Bytes } from "./sha256.js";

/** A bundle in one file, as `crosstune-export pack` writes it. */
export interface PackedBundle {
  /** What to call it in messages. */
  readonly place: string;
  /** The whole file. `fresh` asks for bytes that no cache kept. Throws BundleError. */
  whole(fresh: boolean, received: OnPart): Promise<Bytes>;
}

const EXPECTED = "a packed bundle. Check the address.";

/** A packed bundle on a server. */
export function packedAt(address: URL): PackedBundle {
  return {
    place: address.href,
    whole: (fresh, received) => fetched(address.href, EXPECTED, LARGEST_ARCHIVE, fresh, received),
  };
}

/** A packed bundle in memory. */
export function packedBytes(bytes: Bytes): PackedBundle {
  return {
    place: "bundle",
    async whole(_fresh, received) {
      received(bytes.length, bytes.length);
      return bytes;
    },
  };
}

/** A packed bundle that a person chose or dropped, or any other blob. */
export function packedBlob(blob: Blob): PackedBundle {
  const place = "name" in blob && typeof blob.name === "string" ? blob.name : "bundle";
  return {
    place,
    async whole(_fresh, received) {
      if (blob.size > LARGEST_ARCHIVE) throw tooLarge(place, `${blob.size} bytes`, LARGEST_ARCHIVE);
      const buffer = await blob.arrayBuffer().catch((error: unknown) => {
        throw new BundleIntegrityError(`${place}: cannot be read (${String(error)}). Choose the bundle again.`, { cause: error });
      });
      received(buffer.byteLength, buffer.byteLength);
      return new Uint8Array(buffer);
    },
  };
}
