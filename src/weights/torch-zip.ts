/** PyTorch's zip checkpoints, since 1.6: a pickle `data.pkl` and a stored file for each storage, in one folder. */
import { crc32 } from 'node:zlib';
import { InputError } from '../network/errors.ts';
import { unpickle } from './pickle.ts';
import { torchPickles } from './torch-tensors.ts';

/** Files in the archive: one for each tensor and a handful more. A checkpoint with an optimiser's state has some thousands. */
export const MAX_ZIP_ENTRIES = 2 ** 17;

/** The record of a pickle: 64 MiB of it describe a hundred thousand tensors. */
export const MAX_PICKLE_BYTES = 2 ** 26;

/** A checkpoint's object, its tensors not yet read. */
export interface TorchFile {
  readonly value: unknown;
  /** @throws InputError where the storage is missing, damaged, or of another size than the pickle says */
  readonly bytesOf: (key: string) => Uint8Array;
}

/** The compression method of files that have none. */
const STORED = 0;

interface ZippedFile {
  /** As it is, neither compressed nor encrypted. */
  readonly isStored: boolean;
  readonly crc32: number;
  readonly bytes: Uint8Array;
}

/** @throws InputError where the archive or its pickle is malformed, or not PyTorch's */
export async function readTorchZip(bytes: Uint8Array, subject: string): Promise<TorchFile> {
  const files = await filesOf(bytes, subject);
  const folder = folderOf([...files.keys()], subject);
  const file = (name: string): Uint8Array | undefined => {
    const found = files.get(`${folder}${name}`);
    if (found === undefined) return undefined;
    if (!found.isStored) {
      throw new InputError(
        `${subject}: ${folder}${name} is compressed or encrypted; PyTorch stores tensors as they are, so save it again with torch.save`,
      );
    }
    // PyTorch writes 0 where it is told to leave checksums out; early Node 20 has none.
    if (found.crc32 !== 0 && typeof crc32 === 'function' && crc32(found.bytes) !== found.crc32) {
      throw new InputError(
        `${subject}: ${folder}${name} does not have its checksum; the file is damaged, so copy it again`,
      );
    }
    return found.bytes;
  };
  const order = new TextDecoder().decode(file('byteorder') ?? new Uint8Array());
  if (order === 'big')
    throw new InputError(`${subject}: its numbers are big-endian; save it on a little-endian machine`);
  const pickle = file('data.pkl')!;
  if (pickle.length > MAX_PICKLE_BYTES) {
    throw new InputError(`${subject}: a data.pkl of ${pickle.length} bytes; at most ${MAX_PICKLE_BYTES} are read`);
  }
  const reader = torchPickles(subject);
  const { value } = unpickle(pickle, 0, reader);
  const bytesOf = (key: string): Uint8Array => {
    const storage = file(`data/${key}`);
    const expected = reader.storages.get(key);
    if (storage === undefined)
      throw new InputError(`${subject}: storage ${JSON.stringify(key)} is missing; the file is damaged`);
    if (storage.length !== expected) {
      throw new InputError(
        `${subject}: storage ${JSON.stringify(key)} has ${storage.length} bytes, but ${expected} by data.pkl; the file is damaged`,
      );
    }
    return storage;
  };
  return { value, bytesOf };
}

/** Every file of the archive, as a view. */
async function filesOf(bytes: Uint8Array, subject: string): Promise<ReadonlyMap<string, ZippedFile>> {
  const { fromBufferPromise } = await import('yauzl');
  const files = new Map<string, ZippedFile>();
  const extents: (readonly [begin: number, end: number, name: string])[] = [];
  try {
    const zip = await fromBufferPromise(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), {
      lazyEntries: true,
    });
    if (zip.entryCount > MAX_ZIP_ENTRIES) {
      throw new InputError(`${subject}: ${zip.entryCount} files in the archive; at most ${MAX_ZIP_ENTRIES} are read`);
    }
    for await (const entry of zip.eachEntry()) {
      const { fileName: name } = entry;
      if (files.has(name))
        throw new InputError(`${subject}: ${name} stands twice in the archive; write the file again`);
      const { fileDataStart: begin } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
      const end = begin + entry.compressedSize;
      extents.push([begin, end, name]);
      const isStored = entry.compressionMethod === STORED && !entry.isEncrypted();
      files.set(name, { isStored, crc32: entry.crc32, bytes: bytes.subarray(begin, end) });
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `${subject}: is a damaged zip archive (${error instanceof Error ? error.message : error}); copy it again`,
    );
  }
  extents.sort(([a], [b]) => a - b);
  const overlap = extents.findIndex(([begin], index) => index > 0 && begin < extents[index - 1]![1]);
  if (overlap > 0) {
    throw new InputError(
      `${subject}: ${extents[overlap]![2]} overlaps ${extents[overlap - 1]![2]} in the archive; write the file again`,
    );
  }
  return files;
}

/** The folder with everything in it, whose name is of no consequence; ends in a slash. */
function folderOf(names: readonly string[], subject: string): string {
  const pickles = names.filter((name) => /^[^/]*\/data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickle !== undefined && pickles.length === 1) {
    const folder = pickle.slice(0, -'data.pkl'.length);
    if (!names.includes(`${folder}constants.pkl`)) return folder;
    throw new InputError(
      `${subject}: is a TorchScript archive, which holds a program; save the weights of the model: torch.save(model.state_dict(), FILE)`,
    );
  }
  const what = names.some((name) => name.endsWith('.npy')) ? "NumPy's arrays" : `${pickles.length} files data.pkl`;
  throw new InputError(`${subject}: is a zip archive with ${what}; PyTorch's have one data.pkl in one folder`);
}
