// Reads the files of a bundle and checks every byte against the manifest.

import { BundleIntegrityError } from "../errors.js";
import { ArchiveReader, MEMBERS } from "./archive.js";
import { fetchFile, tooLargeError } from "./fetching.js";
import { type Manifest, MANIFEST_NAME, MODEL_NAME, parseManifest, SELFTEST_NAME, SIZE_LIMITS, TOKENIZER_NAME } from "./manifest.js";
import { packedBlob, type PackedBundle } from "./packed_bundle.js";
import { type Bytes, sha256 } from "./sha256.js";

export interface ReadOptions {
  readonly maxBytes: number;
  /** Whether to ignore the browser's cache. */
  readonly bypassCache: boolean;
  /** Called with the size of each part that arrives. */
  readonly onPart: (bytes: number) => void;
}

/** A bundle whose files are read one by one. */
export interface BundleFolder {
  /** The name of a file in messages. */
  where(name: string): string;
  /** Reads a whole file. Throws BundleError, also when it has more than `maxBytes` bytes. */
  readFile(name: string, options: ReadOptions): Promise<Bytes>;
}

/** A bundle in memory, every byte checked against the manifest. */
export interface BundleFiles {
  readonly where: (name: string) => string;
  readonly manifest: Manifest;
  readonly model: Bytes;
  readonly tokenizer: Bytes;
  readonly selftest: Bytes;
}

/** Called with the number of bytes read so far and the size of the bundle. */
export type OnProgress = (receivedBytes: number, totalBytes: number) => void;

/** Reads and checks a bundle. Throws BundleError. */
export async function readBundle(source: BundleFolder | PackedBundle, onProgress: OnProgress = () => {}): Promise<BundleFiles> {
  if ("readFile" in source) return readFolder(source, onProgress);
  return retryWithoutCache((bypassCache) => readPacked(source, bypassCache, onProgress));
}

async function readPacked(packed: PackedBundle, bypassCache: boolean, onProgress: OnProgress): Promise<BundleFiles> {
  let received = 0;
  const bytes = await packed.readArchive(bypassCache, (count, total) => {
    received += count;
    if (total > 0) onProgress(received, total);
  });
  const where = (name: string): string => `${packed.where}/${name}`;
  const archive = new ArchiveReader(bytes, packed.where);
  const manifest = await parseManifest(archive.read(MANIFEST_NAME), where(MANIFEST_NAME));
  const contents = new Map<string, Bytes>();
  for (const name of MEMBERS.slice(1)) {
    const data = archive.read(name);
    await checkFile(data, manifest, name, where(name));
    contents.set(name, name === MODEL_NAME ? data : data.slice()); // a view would keep the whole archive in memory
  }
  archive.finish();
  return bundleFiles(where, manifest, contents);
}

async function readFolder(folder: BundleFolder, onProgress: OnProgress): Promise<BundleFiles> {
  const manifest = await retryWithoutCache(async (bypassCache) => {
    const options = { maxBytes: SIZE_LIMITS.get(MANIFEST_NAME)!, bypassCache, onPart: () => {} };
    return parseManifest(await folder.readFile(MANIFEST_NAME, options), folder.where(MANIFEST_NAME));
  });
  const total = [...manifest.files.values()].reduce((sum, file) => sum + file.sizeBytes, 0);
  let received = 0;
  const readOne = async (name: string): Promise<readonly [string, Bytes]> => {
    let receivedOfFile = 0;
    const onPart = (count: number): void => {
      receivedOfFile += count;
      received += count;
      onProgress(received, total);
    };
    const bytes = await retryWithoutCache(async (bypassCache) => {
      received -= receivedOfFile; // of the first attempt
      receivedOfFile = 0;
      const bytes = await folder.readFile(name, { maxBytes: SIZE_LIMITS.get(name)!, bypassCache, onPart });
      await checkFile(bytes, manifest, name, folder.where(name));
      return bytes;
    });
    return [name, bytes];
  };
  const contents = new Map(await Promise.all([...manifest.files.keys()].map(readOne)));
  return bundleFiles((name) => folder.where(name), manifest, contents);
}

function bundleFiles(where: (name: string) => string, manifest: Manifest, contents: ReadonlyMap<string, Bytes>): BundleFiles {
  const [model, tokenizer, selftest] = [contents.get(MODEL_NAME)!, contents.get(TOKENIZER_NAME)!, contents.get(SELFTEST_NAME)!];
  return { where, manifest, model, tokenizer, selftest };
}

// The cache may still have a file of an older build, so a file that fails its check is fetched again without the cache.
async function retryWithoutCache<T>(read: (bypassCache: boolean) => Promise<T>): Promise<T> {
  try {
    return await read(false);
  } catch (error) {
    if (!(error instanceof BundleIntegrityError)) throw error;
    return await read(true);
  }
}

async function checkFile(bytes: Bytes, manifest: Manifest, name: string, where: string): Promise<void> {
  const expected = manifest.files.get(name)!;
  if (bytes.length !== expected.sizeBytes) {
    throw new BundleIntegrityError(`${where}: ${bytes.length} bytes, expected ${expected.sizeBytes}. Copy or build the bundle again.`);
  }
  const hash = await sha256(bytes);
  if (hash !== expected.sha256) {
    throw new BundleIntegrityError(
      `${where}: sha256 ${hash.slice(0, 12)}…, expected ${expected.sha256.slice(0, 12)}…. Copy or build the bundle again.`,
    );
  }
}

/** A bundle folder on a server. */
export function folderAt(address: URL): BundleFolder {
  const folder = new URL(address);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const where = (name: string): string => new URL(name + folder.search, folder).href;
  const expected = "the file of a bundle. Check the address, and that all five files are there.";
  return { where, readFile: (name, options) => fetchFile(where(name), { expected, ...options }) };
}

/**
 * A bundle from files that a person chose or dropped: its five files, or the packed file alone. Throws BundleIntegrityError
 * for any other files.
 */
export function bundleOf(files: readonly File[]): BundleFolder | PackedBundle {
  const [first] = files;
  if (files.length === 1 && !SIZE_LIMITS.has(first!.name)) return packedBlob(first!);
  const byName = new Map(files.map((file) => [file.name, file]));
  const folder = first?.webkitRelativePath.split("/")[0];
  const where = (name: string): string => (folder ? `${folder}/${name}` : name);
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
    async readFile(name, { maxBytes, onPart }) {
      const file = byName.get(name)!;
      if (file.size > maxBytes) throw tooLargeError(where(name), `${file.size} bytes`, maxBytes);
      try {
        const bytes = new Uint8Array(await file.arrayBuffer());
        onPart(bytes.length);
        return bytes;
      } catch (error) {
        throw new BundleIntegrityError(`${where(name)}: cannot be read (${String(error)}). Choose the bundle again.`, { cause: error });
      }
    },
  };
}
