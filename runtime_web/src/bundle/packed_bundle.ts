// Where packed bundles come from: a server, memory, or a file that a person chose.

import { BundleIntegrityError } from "../errors.js";
import { MAX_ARCHIVE_BYTES } from "./archive.js";
import { fetchFile, type OnPart, tooLargeError } from "./fetching.js";
import type { Bytes } from "./sha256.js";

/** A bundle in one file, as `crosstune-export pack` writes it. */
export interface PackedBundle {
  /** The name of the file in messages. */
  readonly where: string;
  /** Reads the whole file. Throws BundleError. */
  readArchive(bypassCache: boolean, onPart: OnPart): Promise<Bytes>;
}

/** A packed bundle on a server. */
export function packedAt(address: URL): PackedBundle {
  const expected = "a packed bundle. Check the address.";
  return {
    where: address.href,
    readArchive: (bypassCache, onPart) => fetchFile(address.href, { expected, maxBytes: MAX_ARCHIVE_BYTES, bypassCache, onPart }),
  };
}

/** A packed bundle in memory. */
export function packedBytes(bytes: Bytes): PackedBundle {
  return {
    where: "bundle",
    async readArchive(_bypassCache, onPart) {
      onPart(bytes.length, bytes.length);
      return bytes;
    },
  };
}

/** A packed bundle in a blob, such as a file that a person chose or dropped. */
export function packedBlob(blob: Blob): PackedBundle {
  const where = "name" in blob && typeof blob.name === "string" ? blob.name : "bundle";
  return {
    where,
    async readArchive(_bypassCache, onPart) {
      if (blob.size > MAX_ARCHIVE_BYTES) throw tooLargeError(where, `${blob.size} bytes`, MAX_ARCHIVE_BYTES);
      const buffer = await blob.arrayBuffer().catch((error: unknown) => {
        throw new BundleIntegrityError(`${where}: cannot be read (${String(error)}). Choose the bundle again.`, { cause: error });
      });
      onPart(buffer.byteLength, buffer.byteLength);
      return new Uint8Array(buffer);
    },
  };
}
