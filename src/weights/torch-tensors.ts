/**
 * What PyTorch's pickles are made of: tensors as views on storages that lie outside of the pickle, in dicts. See
 * `torch/_utils.py` and `torch/serialization.py`.
 */
import { InputError } from '../network/errors.ts';
import { elements, type FloatArray, formatShape, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import {
  byteCountOf,
  checkFinite,
  decodedBytes,
  decodeFloats,
  FLOAT_BYTES,
  type FloatType,
  isStepCounter,
} from './floats.ts';
import { Global, type Known, Opaque, type PickleReader } from './pickle.ts';

/** Bytes of one element of PyTorch's dtypes; of those that are no {@link FloatType} nothing else is needed. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  ...FLOAT_BYTES,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  complex128: 16,
  complex64: 8,
  complex32: 4,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  float8_e4m3fnuz: 1,
  float8_e5m2fnuz: 1,
};

/** Classes of storages, by the dtype of their elements. */
const STORAGES: Readonly<Record<string, string>> = {
  DoubleStorage: 'float64',
  FloatStorage: 'float32',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexDoubleStorage: 'complex128',
  ComplexFloatStorage: 'complex64',
};

/** A storage as a pickle refers to it. */
class Storage {
  readonly key: string;
  /** Undefined where it has only bytes: the tensor says what they are. */
  readonly dtype: string | undefined;
  /** Elements, or bytes where it has no dtype; of the whole storage, whatever part is meant. */
  readonly count: number;
  /** Elements before the part that is meant. */
  readonly offset: number;

  constructor(key: string, dtype: string | undefined, count: number, offset: number) {
    this.key = key;
    this.dtype = dtype;
    this.count = count;
    this.offset = offset;
  }

  get bytes(): number {
    return this.count * elementBytesOf(this.dtype);
  }
}

function elementBytesOf(dtype: string | undefined): number {
  return dtype === undefined ? 1 : ELEMENT_BYTES[dtype]!;
}

/** A tensor that is a view on a storage: where each dimension begins and how far its elements lie apart. */
class StoredTensor {
  readonly storage: Storage;
  readonly dtype: string;
  /** Elements of the storage before the first. */
  readonly offset: number;
  readonly shape: Shape;
  readonly strides: Shape;

  constructor(storage: Storage, dtype: string, offset: number, shape: Shape, strides: Shape) {
    this.storage = storage;
    this.dtype = dtype;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** Stands for one of PyTorch's classes or dtypes; nothing of it is called. */
interface Marker extends Known {
  readonly storageOf?: string;
  readonly hasBytes?: boolean;
  readonly dtype?: string;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount);
}

/** What a state dict and the dictionary around it need. Whatever else a pickle names is refused. */
function tableOfGlobals(subject: string): ReadonlyMap<string, Known> {
  const fail = (what: string): never => {
    throw new InputError(`${subject}: ${what}; the file is damaged`);
  };

  const tensorOf = (storage: unknown, offset: unknown, shape: unknown, strides: unknown, given?: string) => {
    if (!(storage instanceof Storage)) return fail('a tensor has no storage');
    const dtype = given ?? storage.dtype;
    if (dtype === undefined) return fail('a tensor has no dtype');
    if (!isCount(offset) || !isCounts(shape) || !isCounts(strides) || shape.length !== strides.length) {
      return fail('a tensor has no valid offset, shape and strides');
    }
    return new StoredTensor(storage, dtype, offset, shape, strides);
  };
  /** PyTorch's bits of a lazy sign. */
  const checkBits = (metadata: unknown) => {
    if (!(metadata instanceof Map) || (metadata.get('neg') !== true && metadata.get('conj') !== true)) return;
    throw new InputError(
      `${subject}: a tensor is the negative or the conjugate of what is stored; save it as .resolve_conj().resolve_neg()`,
    );
  };
  const rebuild = ([storage, offset, shape, strides, , , metadata]: readonly unknown[]) => {
    checkBits(metadata);
    return tensorOf(storage, offset, shape, strides);
  };
  const rebuildOfBytes = (args: readonly unknown[]) => {
    const [storage, offset, shape, strides, , , dtype, metadata] = args;
    checkBits(metadata);
    const name = dtype instanceof Global ? (dtype.known as Marker).dtype : undefined;
    return tensorOf(storage, offset, shape, strides, name ?? fail('a tensor has no dtype'));
  };
  const parameter = ([data]: readonly unknown[]) =>
    data instanceof StoredTensor ? data : fail('a parameter holds no tensor');
  const fromType = ([rebuilder, , args]: readonly unknown[]) => {
    if (!(rebuilder instanceof Global) || rebuilder.known.call === undefined || !Array.isArray(args)) {
      return fail('a tensor of a subclass is rebuilt by nothing');
    }
    return rebuilder.known.call(args);
  };
  const dict = ([pairs]: readonly unknown[]) => {
    if (pairs === undefined) return new Map();
    const isPair = (pair: unknown): pair is [unknown, unknown] => Array.isArray(pair) && pair.length === 2;
    if (!Array.isArray(pairs) || !pairs.every(isPair))
      return fail('an OrderedDict is made of something else than pairs');
    return new Map(pairs);
  };
  const outOfSight = (name: string): [string, Known] => [name, { call: () => new Opaque(name) }];

  return new Map<string, Known | Marker>([
    ['collections.OrderedDict', { call: dict }],
    ['torch._utils._rebuild_tensor', { call: rebuild }],
    ['torch._utils._rebuild_tensor_v2', { call: rebuild }],
    ['torch._utils._rebuild_tensor_v3', { call: rebuildOfBytes }],
    ['torch._utils._rebuild_parameter', { call: parameter }],
    ['torch._utils._rebuild_parameter_with_state', { call: parameter }],
    ['torch._tensor._rebuild_from_type_v2', { call: fromType }],
    ['torch.Tensor', {}],
    ['torch.nn.parameter.Parameter', {}],
    ['torch.nn.parameter.Buffer', {}],
    ['torch.Size', { call: ([sizes]: readonly unknown[]) => (Array.isArray(sizes) ? sizes : []) }],
    ['torch.storage.UntypedStorage', { hasBytes: true }],
    ['torch.UntypedStorage', { hasBytes: true }],
    ...Object.entries(STORAGES).map(([name, storageOf]): [string, Marker] => [`torch.${name}`, { storageOf }]),
    ...Object.keys(ELEMENT_BYTES).map((dtype): [string, Marker] => [`torch.${dtype}`, { dtype }]),
    // What trainers put beside the state dict, as data only: their arguments, counts, and metrics as NumPy's scalars.
    outOfSight('argparse.Namespace'),
    outOfSight('collections.Counter'),
    outOfSight('collections.defaultdict'),
    outOfSight('pathlib.PosixPath'),
    outOfSight('pathlib._local.PosixPath'),
    outOfSight('torch.device'),
    outOfSight('numpy.dtype'),
    outOfSight('numpy.core.multiarray.scalar'),
    outOfSight('numpy._core.multiarray.scalar'),
    outOfSight('_codecs.encode'),
    ['builtins.int', {}],
    ['builtins.float', {}],
    ['__builtin__.int', {}],
    ['__builtin__.float', {}],
  ]);
}

/** Every storage that a pickle names, by key: how many bytes it has. */
export type StorageSizes = ReadonlyMap<string, number>;

/** A reader of PyTorch's pickles that also collects the storages they name. */
export function torchPickles(subject: string): PickleReader & { readonly storages: StorageSizes } {
  const storages = new Map<string, number>();
  const persistent = (id: unknown): Storage => {
    const fields: readonly unknown[] = Array.isArray(id) ? id : [];
    const [kind, type, key, , count, view] = fields;
    if (kind !== 'storage') {
      throw new InputError(
        `${subject}: refers to ${typeof kind === 'string' ? JSON.stringify(kind) : 'something'} outside of its pickle; only storages of tensors are read, so save model.state_dict()`,
      );
    }
    const marker: Marker = type instanceof Global ? type.known : {};
    const isStorage = marker.storageOf !== undefined || marker.hasBytes === true;
    const offset = Array.isArray(view) ? (view as unknown[])[1] : 0;
    if (!isStorage || typeof key !== 'string' || !isCount(count) || !isCount(offset)) {
      throw new InputError(`${subject}: a storage has no valid type, key and size; the file is damaged`);
    }
    const storage = new Storage(key, marker.storageOf, count, offset);
    const known = storages.get(key);
    if (known !== undefined && known !== storage.bytes) {
      throw new InputError(
        `${subject}: storage ${JSON.stringify(key)} has ${known} bytes in one place and ${storage.bytes} in another; the file is damaged`,
      );
    }
    storages.set(key, storage.bytes);
    return storage;
  };
  return { subject, globals: tableOfGlobals(subject), persistent, storages };
}

/** A state dict in a file, its tensors not yet read. */
export type StoredStateDict = ReadonlyMap<string, StoredTensor>;

/** How deep state dicts may lie in dictionaries around them. */
const WRAPPED = 2;

/**
 * The state dicts of a checkpoint, by their path in it; the empty path where the checkpoint is one itself. A state dict is a
 * dict of tensors under text keys; other values in it, such as a module's extra state, hold no weights.
 */
export function stateDictsOf(value: unknown): ReadonlyMap<string, StoredStateDict> {
  const found = new Map<string, StoredStateDict>();
  // A dict may hold itself, or another many times: each is looked into once, where it lies the least deep.
  const known = new Map<unknown, boolean>();
  const open: { readonly dict: unknown; readonly path: readonly string[] }[] = [{ dict: value, path: [] }];
  for (const { dict, path } of open) {
    if (!(dict instanceof Map)) continue;
    const isNew = !known.has(dict);
    if (isNew) known.set(dict, isStateDict(dict));
    if (known.get(dict)) found.set(path.join('.'), dict);
    else if (isNew && path.length < WRAPPED) {
      for (const [key, inner] of dict) {
        if (typeof key === 'string' && inner instanceof Map) open.push({ dict: inner, path: [...path, key] });
      }
    }
  }
  return found;
}

function isStateDict(dict: ReadonlyMap<unknown, unknown>): dict is StoredStateDict {
  for (const [key, tensor] of dict) if (typeof key !== 'string' || !(tensor instanceof StoredTensor)) return false;
  return dict.size > 0;
}

/**
 * Views on one storage that are not its elements in their order must be copied. All such copies may take this many bytes
 * more than the file: PyTorch's own repeat an element only where somebody saved what expand() returns.
 */
export const MAX_COPIED_BYTES = 2 ** 26;

/** Every element of every view is looked at: all of them together are at most so many files, and {@link MAX_COPIED_BYTES}. */
export const MAX_VIEWS = 4;

/**
 * Reads the tensors of a state dict. float32 and float64 tensors that are contiguous are views on the file.
 * @param bytesOf a storage's bytes; as many as it is said to have
 * @throws InputError where a tensor reaches beyond its storage, is of integers or is not finite
 */
export function readTensors(
  tensors: StoredStateDict,
  bytesOf: (key: string) => Uint8Array,
  fileBytes: number,
  subject: string,
): { readonly weights: Weights; readonly types: ReadonlySet<FloatType> } {
  const storages = new Map<string, { readonly type: FloatType; readonly values: FloatArray }>();
  const weights = new Map<string, Tensor>();
  const types = new Set<FloatType>();
  let copied = 0;
  let viewed = 0;
  for (const [name, tensor] of tensors) {
    const where = `${subject}: tensor ${JSON.stringify(name)}`;
    const { storage, dtype, shape } = tensor;
    if (isStepCounter(name)) continue;
    if (!isFloatType(dtype)) {
      throw new InputError(`${where}: dtype ${dtype}; float64, float32, float16 or bfloat16 is needed, so convert it`);
    }
    checkExtent(tensor, where);
    let read = storages.get(storage.key);
    if (read === undefined) {
      read = { type: dtype, values: decodeFloats(bytesOf(storage.key), dtype) };
      storages.set(storage.key, read);
    }
    if (read.type !== dtype) {
      throw new InputError(`${where}: is ${dtype} on a storage that is ${read.type} elsewhere; the file is damaged`);
    }
    if (!isContiguous(tensor)) {
      copied += decodedBytes(elements(shape), dtype);
      if (copied > fileBytes + MAX_COPIED_BYTES) {
        throw new InputError(
          `${where}: with it, tensors that repeat or reorder elements take ${copied} bytes, of a file of ${fileBytes}; save them with .contiguous()`,
        );
      }
    }
    viewed += elements(shape) * elementBytesOf(dtype);
    if (viewed > MAX_VIEWS * fileBytes + MAX_COPIED_BYTES) {
      throw new InputError(
        `${where}: with it, tensors that share storages take ${viewed} bytes, of a file of ${fileBytes}; save each only once`,
      );
    }
    const data = valuesOf(tensor, read.values);
    checkFinite(data, name, subject);
    weights.set(name, { shape, data });
    types.add(dtype);
  }
  return { weights, types };
}

function isFloatType(dtype: string): dtype is FloatType {
  return Object.hasOwn(FLOAT_BYTES, dtype);
}

/** @throws InputError where an element lies outside of the storage */
function checkExtent({ storage, dtype, offset, shape, strides }: StoredTensor, where: string): void {
  const elementBytes = elementBytesOf(dtype);
  byteCountOf(shape, elementBytes, where);
  if (shape.includes(0)) return;
  const last = shape.reduce((sum, dimension, axis) => sum + (dimension - 1) * strides[axis]!, storage.offset + offset);
  const count = storage.bytes / elementBytes;
  if (!(last < count)) {
    throw new InputError(
      `${where}: shape ${formatShape(shape)} with strides ${formatShape(strides)} from element ${storage.offset + offset} reaches beyond its storage of ${count} elements; the file is damaged`,
    );
  }
}

/** Whether the elements lie in the storage in their own order, without gaps. */
function isContiguous({ shape, strides }: StoredTensor): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const dimension = shape[axis]!;
    if (dimension === 0) return true;
    if (dimension !== 1 && strides[axis] !== expected) return false;
    expected *= dimension;
  }
  return true;
}

function valuesOf(tensor: StoredTensor, values: FloatArray): FloatArray {
  const { shape, strides } = tensor;
  const first = tensor.storage.offset + tensor.offset;
  const count = elements(shape);
  if (isContiguous(tensor)) return values.subarray(count === 0 ? 0 : first, count === 0 ? 0 : first + count);
  const copy = values instanceof Float64Array ? new Float64Array(count) : new Float32Array(count);
  const index = shape.map(() => 0);
  let from = first;
  for (let i = 0; i < count; i++) {
    copy[i] = values[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      index[axis]! += 1;
      if (index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return copy;
}
