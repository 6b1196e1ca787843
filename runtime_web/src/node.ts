// The package as Node sees it: `load` also takes paths and `file:` addresses.

import { constants, type Stats } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MAX_ARCHIVE_BYTES } from "./bundle/archive.js";
import type { BundleFolder } from "./bundle/bundle_files.js";
import { tooLargeError } from "./bundle/fetching.js";
import { MANIFEST_NAME, SIZE_LIMITS } from "./bundle/manifest.js";
import type { PackedBundle } from "./bundle/packed_bundle.js";
import type { Bytes } from "./bundle/sha256.js";
import { BundleIntegrityError } from "./errors.js";
import { Classifier, load as loadAnywhere, type LoadOptions, type Source } from "./run/classifier.js";

export * from "./index.js";

/** Loads a bundle, as in the browser. A path or a `file:` address names a folder or a packed bundle on this machine. */
export async function load(source: Source, options: LoadOptions = {}): Promise<Classifier> {
  if (typeof source !== "string" && !(source instanceof URL)) return loadAnywhere(source, options);
  const protocol = URL.canParse(String(source)) ? new URL(source).protocol : "path:";
  if (protocol === "http:" || protocol === "https:") return loadAnywhere(source, options);
  const path = protocol === "file:" ? fileURLToPath(source) : String(source);
  const status = await stat(path).catch(() => undefined);
  return Classifier.open(status?.isFile() ? packedOnDisk(path) : await folderOnDisk(path, status), options);
}

// Follows a link, because deployments switch bundles with one; the file behind it is checked like any other.
function packedOnDisk(path: string): PackedBundle {
  return {
    where: path,
    async readArchive(_bypassCache, onPart) {
      const bytes = await readRegularFile(path, 0, MAX_ARCHIVE_BYTES);
      onPart(bytes.length, bytes.length);
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
  const remaining = new Set(names);
  if (!remaining.has(MANIFEST_NAME)) {
    throw new BundleIntegrityError(`${path}: no manifest.json, expected a bundle folder. Build one with crosstune-export build.`);
  }
  const expected = [...SIZE_LIMITS.keys()].sort();
  for (const name of expected) {
    if (remaining.delete(name)) continue;
    throw new BundleIntegrityError(`${join(path, name)}: missing, expected in every bundle. Copy or build the bundle again.`);
  }
  const [foreign] = [...remaining].sort();
  if (foreign !== undefined) {
    throw new BundleIntegrityError(
      `${join(path, foreign)}: a foreign file, expected only ${expected.join(", ")}. Remove it or build the bundle again.`,
    );
  }
  return {
    where: (name) => join(path, name),
    async readFile(name, { maxBytes, onPart }) {
      const bytes = await readRegularFile(join(path, name), constants.O_NOFOLLOW ?? 0, maxBytes);
      onPart(bytes.length);
      return bytes;
    },
  };
}

// Does not block on a pipe.
async function readRegularFile(path: string, flags: number, maxBytes: number): Promise<Bytes> {
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | flags).catch((error: NodeJS.ErrnoException) => {
    throw new BundleIntegrityError(`${path}: cannot be opened (${error.code}), expected a regular file. Copy or build the bundle again.`, {
      cause: error,
    });
  });
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new BundleIntegrityError(`${path}: not a regular file. Copy or build the bundle again.`);
    if (status.size > maxBytes) throw tooLargeError(path, `${status.size} bytes`, maxBytes);
    return new Uint8Array(await file.readFile());
  } catch (error) {
    if (error instanceof BundleIntegrityError) throw error;
    const { code } = error as NodeJS.ErrnoException; // for example ERR_FS_FILE_TOO_LARGE: Node reads at most 2 GiB
    throw new BundleIntegrityError(`${path}: cannot be read (${code}). Copy or build the bundle again.`, { cause: error });
  } finally {
    await file.close();
  }
}
