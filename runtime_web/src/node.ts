// What Node gets: the same, and bundles of this machine.

import { constants, type Stats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LARGEST_ARCHIVE } from "./bundle/archive.js";
import type { BundleFolder } from "./bundle/bundle_files.js";
import { Classifier, load as loadAnywhere, type LoadOptions, type Source } from "./run/classifier.js";
import { BundleIntegrityError } from "./errors.js";
import { tooLarge } from "./bundle/fetching.js";
import { MANIFEST_NAME, SIZE_LIMITS } from "./bundle/manifest.js";
import type { PackedBundle } from "./bundle/packed_bundle.js";
import type { Bytes } from "./bundle/sha256.js";

export * from "./index.js";

/** As in the browser; a `file:` address or a path is a folder or a packed bundle of this machine. */
export async function load(source: Source, options: LoadOptions = {}): Promise<Classifier> {
  if (typeof source !== "string" && !(source instanceof URL)) return loadAnywhere(source, options);
  const protocol = URL.canParse(String(source)) ? new URL(source).protocol : "path:";
  if (protocol === "http:" || protocol === "https:") return loadAnywhere(source, options);
  const path = protocol === "file:" ? fileURLToPath(source) : String(source);
  const status = await stat(path).catch(() => undefined);
  return Classifier.open(status?.isFile() ? packedOnDisk(path) : await folderOnDisk(path, status), options);
}

// A link to the file is followed: field updates switch one, and what it leads to is checked as ever.
function packedOnDisk(path: string): PackedBundle {
  return {
    place: path,
    async whole(_fresh, received) {
      const bytes = await readRegular(path, 0, LARGEST_ARCHIVE);
      received(bytes.length, bytes.length);
      return bytes;
    },
  };
}

async function folderOnDisk(path: string, status: Stats | undefined): Promise<BundleFolder> {
  if (!status?.isDirectory()) {
    const what = status === undefined ? "nothing" : "a file";
    throw new BundleIntegrityError(`${path}: found ${what}, expected a bundle folder. Build one with crosstune-export build.`);
  }
  const names = await readdir(path).catch((error: NodeJS.ErrnoException) => {
    throw new BundleIntegrityError(`${path}: cannot be listed (${error.code}), expected a bundle folder. Check its permissions.`, {
      cause: error,
    });
  });
  const found = new Set(names);
  if (!found.has(MANIFEST_NAME)) {
    throw new BundleIntegrityError(`${path}: no manifest.json, expected a bundle folder. Build one with crosstune-export build.`);
  }
  const expected = [...SIZE_LIMITS.keys()].sort();
  for (const name of expected) {
    if (found.delete(name)) continue;
    throw new BundleIntegrityError(`${join(path, name)}: missing, expected in every bundle. Copy or build the bundle again.`);
  }
  const [foreign] = [...found].sort();
  if (foreign !== undefined) {
    throw new BundleIntegrityError(
      `${join(path, foreign)}: a foreign file, expected only ${expected.join(", ")}. Remove it or build the bundle again.`,
    );
  }
  return {
    where: (name) => join(path, name),
    async read(name, limit, _fresh, received) {
      const bytes = await readRegular(join(path, name), constants.O_NOFOLLOW ?? 0, limit);
      received(bytes.length);
      return bytes;
    },
  };
}

// The whole of a regular file, without waiting for a pipe.
async function readRegular(where: string, flags: number, limit: number): Promise<Bytes> {
  const file = await open(where, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | flags).catch((error: NodeJS.ErrnoException) => {
    throw new BundleIntegrityError(`${where}: cannot be opened (${error.code}), expected a regular file. Copy or build the bundle again.`, {
      cause: error,
    });
  });
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new BundleIntegrityError(`${where}: not a regular file. Copy or build the bundle again.`);
    if (status.size > limit) throw tooLarge(where, `${status.size} bytes`, limit);
    return new Uint8Array(await file.readFile());
  } catch (error) {
    if (error instanceof BundleIntegrityError) throw error;
    const { code } = error as NodeJS.ErrnoException; // Node has no room for more than 2 GiB
    throw new BundleIntegrityError(`${where}: cannot be read (${code}). Copy or build the bundle again.`, { cause: error });
  } finally {
    await file.close();
  }
}
