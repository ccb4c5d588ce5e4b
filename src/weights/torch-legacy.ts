/**
 * PyTorch's checkpoints before 1.6, or with `_use_new_zipfile_serialization=False`: five pickles (magic number, protocol,
 * the writer's machine, the object, keys of storages), then each storage: 8 bytes with its count of elements, its bytes.
 */
import { InputError } from '../network/errors.ts';
import { unpickle } from './pickle.ts';
import { torchPickles } from './torch-tensors.ts';
import type { TorchFile } from './torch-zip.ts';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const COUNT_BYTES = 8;

/** @throws InputError where the file is malformed, or not PyTorch's */
export function readTorchLegacy(bytes: Uint8Array, subject: string): TorchFile {
  const reader = torchPickles(subject);
  let position = 0;
  const next = (): unknown => {
    const { value, end } = unpickle(bytes, position, reader);
    position = end;
    return value;
  };
  if (next() !== MAGIC) {
    throw new InputError(
      `${subject}: is a pickle, but not one of torch.save; save the weights with it, or as safetensors`,
    );
  }
  const protocol = next();
  if (protocol !== PROTOCOL) {
    throw new InputError(`${subject}: is of PyTorch's protocol ${String(protocol)}; ${PROTOCOL} is read`);
  }
  const machine = next();
  if (machine instanceof Map && machine.get('little_endian') === false) {
    throw new InputError(`${subject}: its numbers are big-endian; save it on a little-endian machine`);
  }
  const value = next();
  const keys = next();
  const storages = new Map<string, Uint8Array>();
  if (!Array.isArray(keys)) throw new InputError(`${subject}: has no list of storages; the file is damaged`);
  for (const key of keys as unknown[]) {
    const expected = typeof key === 'string' ? reader.storages.get(key) : undefined;
    if (typeof key !== 'string' || expected === undefined || storages.has(key)) {
      throw new InputError(`${subject}: lists a storage that no tensor has, or one twice; the file is damaged`);
    }
    const rest = bytes.length - position - COUNT_BYTES;
    if (expected > rest) {
      throw new InputError(
        `${subject}: storage ${JSON.stringify(key)} has ${expected} bytes, but only ${Math.max(0, rest)} follow; the file is truncated, so copy it again`,
      );
    }
    // The count of elements before it repeats what the pickle says; the elements' size is the pickle's alone.
    const count = new DataView(bytes.buffer, bytes.byteOffset + position).getBigInt64(0, true);
    if (count < 0n || count > BigInt(expected) || (count === 0n) !== (expected === 0)) {
      throw new InputError(
        `${subject}: storage ${JSON.stringify(key)} has ${count} elements, but ${expected} bytes by its pickle; the file is damaged`,
      );
    }
    position += COUNT_BYTES;
    storages.set(key, bytes.subarray(position, position + expected));
    position += expected;
  }
  if (position < bytes.length) {
    throw new InputError(`${subject}: ${bytes.length - position} bytes behind the last storage; the file is damaged`);
  }
  const bytesOf = (key: string): Uint8Array => {
    const storage = storages.get(key);
    if (storage === undefined)
      throw new InputError(`${subject}: storage ${JSON.stringify(key)} is missing; the file is damaged`);
    return storage;
  };
  return { value, bytesOf };
}
