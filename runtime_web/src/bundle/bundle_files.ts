// Reads the files of a bundle once each, and hands out only bytes whose hashes are right.

import { ArchiveReader, MEMBERS } from "./archive.js";
import { BundleIntegrityError } from "../errors.js";
import { fetched, tooLarge } from "./fetching.js";
import { type Manifest, MANIFEST_NAME, MODEL_NAME, parseManifest, SELFTEST_NAME, SIZE_LIMITS, TOKENIZER_NAME } from "./manifest.js";
import { packedBlob, type PackedBundle } from "./packed_bundle.js";
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
export async function readBundle(source: BundleFolder | PackedBundle, onProgress: OnProgress = () => {}): Promise<BundleFiles> {
  return "place" in source ? again((fresh) => readPacked(source, fresh, onProgress)) : readFolder(source, onProgress);
}

async function readPacked(packed: PackedBundle, fresh: boolean, onProgress: OnProgress): Promise<BundleFiles> {
  let received = 0;
  const bytes = await packed.whole(fresh, (count, total) => {
    received += count;
    if (total > 0) onProgress(received, total);
  });
  const where = (name: string): string => `${packed.place}/${name}`;
  const archive = new ArchiveReader(bytes, packed.place);
  const manifest = await parseManifest(archive.read(MANIFEST_NAME), where(MANIFEST_NAME));
  const contents = new Map<string, Bytes>();
  for (const name of MEMBERS.slice(1)) {
    const data = archive.read(name);
    const expected = manifest.files.get(name)!;
    await check(data, expected.sizeBytes, expected.sha256, where(name));
    contents.set(name, name === MODEL_NAME ? data : data.slice()); // what is kept must not hold the whole archive
  }
  archive.finish();
  return filesOf(where, manifest, contents);
}

async function readFolder(folder: BundleFolder, onProgress: OnProgress): Promise<BundleFiles> {
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
  return filesOf((name) => folder.where(name), manifest, contents);
}

function filesOf(where: (name: string) => string, manifest: Manifest, contents: ReadonlyMap<string, Bytes>): BundleFiles {
  const [model, tokenizer, selftest] = [contents.get(MODEL_NAME)!, contents.get(TOKENIZER_NAME)!, contents.get(SELFTEST_NAME)!];
  return { where, manifest, model, tokenizer, selftest };
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

const EXPECTED = "the file of a bundle. Check the address, and that all five files are there.";

/** A bundle on a server, by the address of its folder. */
export function folderAt(address: URL): BundleFolder {
  const folder = new URL(address);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const urlOf = (name: string): string => new URL(name + folder.search, folder).href;
  return {
    where: urlOf,
    read: (name, limit, fresh, received) => fetched(urlOf(name), EXPECTED, limit, fresh, received),
  };
}

/**
 * A bundle of files that a person chose or dropped: its five files, or the packed one alone. Throws BundleIntegrityError for
 * anything else.
 */
export function bundleOf(files: readonly File[]): BundleFolder | PackedBundle {
  const [only] = files;
  if (files.length === 1 && !SIZE_LIMITS.has(only!.name)) return packedBlob(only!);
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
