// Reads the files of a bundle once each, and hands out only bytes whose hashes are right.

import { BundleFetchError, BundleIntegrityError } from "./errors.js";
import { type Manifest, MANIFEST_NAME, MODEL_NAME, parseManifest, SELFTEST_NAME, SIZE_LIMITS, TOKENIZER_NAME } from "./manifest.js";
import { type Bytes, sha256 } from "./sha256.js";

/** Where the files of a bundle are. */
export interface BundleFolder {
  /** What to call a file in messages. */
  where(name: string): string;
  /**
   * The whole of a file. `fresh` asks for bytes that no cache kept; `received` is told how many bytes came with each part.
   * Throws BundleError, also where there are more than `limit` bytes.
   */
  read(name: string, limit: number, fresh: boolean, received: (bytes: number) => void): Promise<Bytes>;
}

/** A bundle in memory, every byte checked against the manifest. */
export interface BundleFiles {
  readonly where: (name: string) => string;
  readonly manifest: Manifest;
  readonly model: Bytes;
  readonly tokenizer: Bytes;
  readonly selftest: Bytes;
}

/** Is told how many of all bytes have been read. */
export type OnProgress = (receivedBytes: number, totalBytes: number) => void;

/** Reads and checks a bundle. Throws BundleError. */
export async function readBundle(folder: BundleFolder, onProgress: OnProgress = () => {}): Promise<BundleFiles> {
  const readManifest = async (fresh: boolean): Promise<Manifest> => {
    const bytes = await folder.read(MANIFEST_NAME, SIZE_LIMITS.get(MANIFEST_NAME)!, fresh, () => {});
    return parseManifest(bytes, folder.where(MANIFEST_NAME));
  };
  const manifest = await again(readManifest);
  const entries = [...manifest.files];
  const total = entries.reduce((sum, [, entry]) => sum + entry.sizeBytes, 0);
  let received = 0;
  const contents = new Map(
    await Promise.all(
      entries.map(async ([name, expected]) => {
        let counted = 0;
        const read = async (fresh: boolean): Promise<Bytes> => {
          received -= counted;
          counted = 0;
          const bytes = await folder.read(name, SIZE_LIMITS.get(name)!, fresh, (count) => {
            counted += count;
            received += count;
            onProgress(received, total);
          });
          await check(bytes, expected.sizeBytes, expected.sha256, folder.where(name));
          return bytes;
        };
        return [name, await again(read)] as const;
      }),
    ),
  );
  return {
    where: (name) => folder.where(name),
    manifest,
    model: contents.get(MODEL_NAME)!,
    tokenizer: contents.get(TOKENIZER_NAME)!,
    selftest: contents.get(SELFTEST_NAME)!,
  };
}

// A cache may have kept a file of another build: what is not as built is read once more, past the cache.
async function again<T>(read: (fresh: boolean) => Promise<T>): Promise<T> {
  try {
    return await read(false);
  } catch (error) {
    if (!(error instanceof BundleIntegrityError)) throw error;
    return await read(true);
  }
}

async function check(bytes: Bytes, sizeBytes: number, hash: string, where: string): Promise<void> {
  if (bytes.length !== sizeBytes) {
    throw new BundleIntegrityError(`${where}: ${bytes.length} bytes, expected ${sizeBytes}. Copy or build the bundle again.`);
  }
  const found = await sha256(bytes);
  if (found !== hash) {
    throw new BundleIntegrityError(
      `${where}: sha256 ${found.slice(0, 12)}…, expected ${hash.slice(0, 12)}…. Copy or build the bundle again.`,
    );
  }
}

/** A refusal of a file that is too large. */
export function tooLarge(where: string, size: string, limit: number): BundleIntegrityError {
  return new BundleIntegrityError(`${where}: ${size}, expected at most ${limit}. Build the bundle again.`);
}

/** A bundle on a server, by the address of its folder. */
export function folderAt(address: URL): BundleFolder {
  const folder = new URL(address);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const urlOf = (name: string): string => new URL(name + folder.search, folder).href;
  return {
    where: urlOf,
    async read(name, limit, fresh, received) {
      const where = urlOf(name);
      const unreachable = (error: unknown): BundleFetchError =>
        new BundleFetchError(`${where}: cannot be fetched (${String(error)}). Check the address and the network.`, { cause: error });
      let response: Response;
      try {
        response = await fetch(where, fresh ? { cache: "reload" } : {});
      } catch (error) {
        throw unreachable(error);
      }
      if (!response.ok || response.body === null) {
        throw new BundleFetchError(
          `${where}: the server answers ${response.status}, expected the file of a bundle. Check the address, and that all five files are there.`,
        );
      }
      const type = response.headers.get("Content-Type") ?? "";
      if (type.startsWith("text/html")) {
        await response.body.cancel();
        throw new BundleFetchError(
          `${where}: the server sends an HTML page, expected the file of a bundle. Check the address, and that all five files are there.`,
        );
      }
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
        received(part.value.length);
      }
      return joined(parts, size);
    },
  };
}

/** A bundle of files that a person chose or dropped. Throws BundleIntegrityError unless they are the five of a bundle. */
export function folderOf(files: readonly File[]): BundleFolder {
  const byName = new Map(files.map((file) => [file.name, file]));
  const first = files[0]?.webkitRelativePath.split("/")[0];
  const where = (name: string): string => (first ? `${first}/${name}` : name);
  const expected = [...SIZE_LIMITS.keys()].sort();
  for (const name of expected) {
    if (byName.has(name)) continue;
    throw new BundleIntegrityError(`${where(name)}: missing, expected in every bundle. Choose the folder of a bundle, or its five files.`);
  }
  for (const name of [...byName.keys()].sort()) {
    if (SIZE_LIMITS.has(name)) continue;
    throw new BundleIntegrityError(`${where(name)}: a foreign file, expected only ${expected.join(", ")}. Choose the files of one bundle.`);
  }
  return {
    where,
    async read(name, limit, _fresh, received) {
      const file = byName.get(name)!;
      if (file.size > limit) throw tooLarge(where(name), `${file.size} bytes`, limit);
      try {
        const bytes = new Uint8Array(await file.arrayBuffer());
        received(bytes.length);
        return bytes;
      } catch (error) {
        throw new BundleIntegrityError(`${where(name)}: cannot be read (${String(error)}). Choose the bundle again.`, { cause: error });
      }
    },
  };
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
