import { type FileHandle, open, stat } from 'node:fs/promises';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from './system-error.ts';

/** The largest buffer of every Node that is supported. The largest network's weights with Adam's moments take 1.4 GB. */
export const MAX_FILE_BYTES = 2 ** 32 - 1;

/** Bytes asked for at once: a single read may not exceed 2 GiB. */
const CHUNK_BYTES = 2 ** 28;

/**
 * A whole file.
 * @param needed what to give instead, for messages: `a safetensors file`
 * @throws InputError where it cannot be read, is no regular file (which might never end), or is larger than
 * {@link MAX_FILE_BYTES}
 */
export async function readWholeFile(path: string, needed: string): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new InputError(`${path}: cannot read it: it is a folder; give ${needed}`);
    if (!found.isFile()) throw new InputError(`${path}: is no regular file; give ${needed}`);
    if (found.size > MAX_FILE_BYTES) {
      throw new InputError(
        `${path}: ${found.size} bytes; at most ${MAX_FILE_BYTES} can be read, so leave out what is not weights`,
      );
    }
    handle = await open(path, 'r');
    return await readAll(handle, found.size);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path}: ${messageOfSystemError(error, 'read')}; give ${needed}`);
  } finally {
    await handle?.close();
  }
}

/** As many bytes as the file had, or fewer where it shrinks meanwhile. */
async function readAll(handle: FileHandle, size: number): Promise<Buffer> {
  // Of its own, not of Node's pool, so that tensors aligned in the file are aligned in memory.
  const bytes = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await handle.read(bytes, filled, Math.min(CHUNK_BYTES, size - filled), filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
