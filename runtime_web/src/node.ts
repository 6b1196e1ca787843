// What Node gets: the same, and bundles in folders of this machine.

import { constants } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BundleFolder, tooLarge } from "./bundle_files.js";
import { Classifier, load as loadAnywhere, type LoadOptions } from "./classifier.js";
import { BundleIntegrityError } from "./errors.js";
import { SIZE_LIMITS } from "./manifest.js";

export * from "./index.js";

/** As in the browser; a `file:` address or a path is a folder of this machine. */
export async function load(source: string | URL | readonly File[], options: LoadOptions = {}): Promise<Classifier> {
  if (Array.isArray(source)) return loadAnywhere(source, options);
  const address = source as string | URL;
  const protocol = URL.canParse(String(address)) ? new URL(address).protocol : "path:";
  if (protocol === "http:" || protocol === "https:") return loadAnywhere(address, options);
  return Classifier.open(await folderOnDisk(protocol === "file:" ? fileURLToPath(address) : String(address)), options);
}

async function folderOnDisk(path: string): Promise<BundleFolder> {
  const status = await stat(path).catch(() => undefined);
  if (!status?.isDirectory()) {
    const what = status === undefined ? "nothing" : "a file";
    throw new BundleIntegrityError(`${path}: found ${what}, expected a bundle folder. Build one with crosstune-export build.`);
  }
  const found = new Set(await readdir(path));
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
      const where = join(path, name);
      const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
      const file = await open(where, flags).catch((error: NodeJS.ErrnoException) => {
        throw new BundleIntegrityError(`${where}: cannot be opened (${error.code}), expected a regular file. Copy or build the bundle again.`, {
          cause: error,
        });
      });
      try {
        const status = await file.stat();
        if (!status.isFile()) throw new BundleIntegrityError(`${where}: not a regular file. Copy or build the bundle again.`);
        if (status.size > limit) throw tooLarge(where, `${status.size} bytes`, limit);
        const bytes = new Uint8Array(await file.readFile());
        received(bytes.length);
        return bytes;
      } finally {
        await file.close();
      }
    },
  };
}
