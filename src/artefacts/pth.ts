/**
 * PyTorch's checkpoint: an uncompressed zip with a pickle of the state dict and one file for each storage, as `torch.save`
 * writes it (https://github.com/pytorch/pytorch/blob/main/torch/serialization.py). The pickle names nothing but what
 * `torch.load(weights_only=True)` allows.
 */
import { type ZipOptions, type Zippable, zipSync } from 'fflate';
import { InputError } from '../network/errors.ts';
import { type Shape, toFloat32, type Weights } from '../network/tensor.ts';

/** A zip without ZIP64 counts bytes in 32 bits. */
const ZIP_LIMIT = 2 ** 32 - 1;

/** Where storages begin, in multiples of bytes: so that PyTorch can map them into memory. */
const ALIGNMENT = 64;

/** Id of the extra field that PyTorch pads with. */
const PADDING_FIELD = 0x4246; // 'FB'

/** Bytes of a local header but for its name and extra field, and of an extra field but for its data. */
const LOCAL_HEADER = 30;
const EXTRA_HEADER = 4;

/** The same time on every run: the first that a zip can say. */
const TIME = { year: 1980, month: 0, day: 1 } as const;

/** Opcodes of the pickle protocol, version 2 (Python's `pickletools`). */
const op = {
  proto: [0x80, 2],
  global: [0x63],
  emptyTuple: [0x29],
  reduce: [0x52],
  mark: [0x28],
  text: [0x58],
  whole: [0x4a],
  long: [0x8a],
  tuple: [0x74],
  persistentId: [0x51],
  false: [0x89],
  setItems: [0x75],
  stop: [0x2e],
} as const;

/** Bytes of a pickle, piece by piece. */
class Pickle {
  readonly #bytes: number[] = [];

  add(...pieces: readonly (readonly number[])[]): this {
    for (const piece of pieces) this.#bytes.push(...piece);
    return this;
  }

  /** A name that the reader imports. */
  global(module: string, name: string): this {
    return this.add(op.global, [...Buffer.from(`${module}\n${name}\n`)]);
  }

  text(value: string): this {
    const bytes = Buffer.from(value);
    return this.add(op.text, [...littleEndian(bytes.length, 4)], [...bytes]);
  }

  whole(value: number): this {
    return value < 2 ** 31
      ? this.add(op.whole, littleEndian(value, 4))
      : this.add(op.long, [8], littleEndian(value, 8));
  }

  tuple(values: readonly number[]): this {
    this.add(op.mark);
    for (const value of values) this.whole(value);
    return this.add(op.tuple);
  }

  orderedDict(): this {
    return this.global('collections', 'OrderedDict').add(op.emptyTuple, op.reduce);
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}

/** Elements between neighbours along each axis of a row-major tensor. */
function strides(shape: Shape): number[] {
  let step = 1;
  return shape
    .map((_, i) => shape.length - 1 - i)
    .map((axis) => {
      const stride = step;
      step *= shape[axis]!;
      return stride;
    })
    .reverse();
}

/** An OrderedDict from key to tensor; the i-th tensor is all of the i-th storage. */
function stateDict(weights: Weights): Uint8Array {
  const pickle = new Pickle().add(op.proto).orderedDict().add(op.mark);
  let storage = 0;
  for (const [key, { shape, data }] of weights) {
    pickle.text(key).global('torch._utils', '_rebuild_tensor_v2').add(op.mark);
    pickle.add(op.mark).text('storage').global('torch', 'FloatStorage').text(String(storage)).text('cpu');
    pickle.whole(data.length).add(op.tuple, op.persistentId);
    pickle.whole(0).tuple(shape).tuple(strides(shape)).add(op.false).orderedDict().add(op.tuple, op.reduce);
    storage++;
  }
  return pickle.add(op.setItems, op.stop).bytes();
}

/**
 * The weights, rounded to float32, as a checkpoint that `torch.load` reads, `weights_only` or not.
 * @throws InputError where it is longer than a zip can be
 */
export function encodePth(weights: Weights): Uint8Array {
  const files: Zippable = {};
  let offset = 0;
  const add = (name: string, data: Uint8Array) => {
    const path = `archive/${name}`;
    const start = offset + LOCAL_HEADER + path.length + EXTRA_HEADER;
    const padding = (ALIGNMENT - (start % ALIGNMENT)) % ALIGNMENT;
    const options: ZipOptions = {
      level: 0,
      mtime: new Date(TIME.year, TIME.month, TIME.day),
      extra: { [PADDING_FIELD]: new Uint8Array(padding) },
    };
    files[path] = [data, options];
    offset = start + padding + data.length;
    if (offset > ZIP_LIMIT) {
      throw new InputError(
        `a checkpoint of more than ${ZIP_LIMIT} bytes does not fit a zip; write the weights as safetensors instead`,
      );
    }
  };
  const text = (value: string) => Uint8Array.from(Buffer.from(value));
  add('data.pkl', stateDict(weights));
  add('byteorder', text('little'));
  [...weights.values()].forEach((tensor, i) => {
    const { buffer, byteOffset, byteLength } = toFloat32(tensor).data;
    add(`data/${i}`, new Uint8Array(buffer, byteOffset, byteLength));
  });
  add('version', text('3\n'));
  return zipSync(files);
}
