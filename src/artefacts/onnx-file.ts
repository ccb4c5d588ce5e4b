/**
 * An ONNX file as its graph: nodes, and constants as tensors. Of the protobuf only what a network of convolutions needs is
 * decoded; external data is read from the file's own folder alone.
 */
import { open, stat } from 'node:fs/promises';
import protobuf from 'protobufjs/light.js';
import { InputError } from '../network/errors.ts';
import { elements, type FloatArray, type Shape } from '../network/tensor.ts';
import { decodeFloats } from '../weights/floats.ts';
import { insideFolder } from '../weights/inside-folder.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import { elementType, onnxMessages } from './onnx-messages.ts';

/** Nodes of a graph: the largest network that is known here has 1,500 as PyTorch exports it. */
export const MAX_NODES = 2 ** 14;

/** Axes of a tensor: reshaped windows have seven. */
export const MAX_RANK = 16;

/**
 * Values of a model beside the floats of its tensors: fields, dimensions, whole numbers. PyTorch writes 11,000 of RepViT-M0.9;
 * protobufjs takes up to 1 KB of memory for one.
 */
export const MAX_VALUES = 2 ** 18;

/** Floats of weights, or whole numbers of shapes. */
export type ConstantData = FloatArray | BigInt64Array;

export interface OnnxConstant {
  readonly shape: Shape;
  readonly data: ConstantData;
}

export type AttributeValue = number | string | readonly number[] | OnnxConstant;

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  /** '' stands for an input that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, AttributeValue>;
}

export interface OnnxFile {
  readonly opset: number;
  /** What wrote it: `pytorch`, `fuseproof`, ... */
  readonly producer: string;
  /** Name, number of its element type, and shape; a free dimension is a name, or undefined. */
  readonly input: {
    readonly name: string;
    readonly type: number;
    readonly shape: readonly (number | string | undefined)[];
  };
  readonly output: string;
  readonly nodes: readonly OnnxNode[];
  readonly constants: ReadonlyMap<string, OnnxConstant>;
  /** Names of the files beside it that hold weights. */
  readonly external: readonly string[];
}

/** What protobufjs makes of a file, as far as it is used. */
interface RawTensor {
  readonly dims: readonly number[];
  readonly data_type?: number;
  readonly name?: string;
  readonly raw_data?: Uint8Array;
  readonly float_data: readonly number[];
  readonly int32_data: readonly number[];
  readonly int64_data: readonly number[];
  readonly double_data: readonly number[];
  readonly external_data: readonly { readonly key?: string; readonly value?: string }[];
  readonly data_location?: number;
}

interface RawAttribute {
  readonly name?: string;
  readonly f?: number;
  readonly i?: number;
  readonly s?: Uint8Array;
  readonly t?: RawTensor;
  readonly floats: readonly number[];
  readonly ints: readonly number[];
  readonly type?: number;
}

interface RawValue {
  readonly name?: string;
  readonly type?: {
    readonly tensor_type?: {
      readonly elem_type?: number;
      readonly shape?: { readonly dim: readonly { readonly dim_value?: number; readonly dim_param?: string }[] };
    };
  };
}

interface RawModel {
  readonly producer_name?: string;
  readonly opset_import: readonly { readonly domain?: string; readonly version?: number }[];
  readonly graph?: {
    readonly node: readonly {
      readonly input: readonly string[];
      readonly output: readonly string[];
      readonly name?: string;
      readonly op_type?: string;
      readonly domain?: string;
      readonly attribute: readonly RawAttribute[];
    }[];
    readonly initializer: readonly RawTensor[];
    readonly input: readonly RawValue[];
    readonly output: readonly RawValue[];
  };
}

/** Tags of what may follow the IR version: producer, domain, model version, doc string, graph, opsets, metadata. */
const SECOND_TAGS: readonly number[] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72];

/** Whether bytes begin as an ONNX model does, with its IR version; a header of safetensors may be as long as that looks. */
export function looksLikeOnnx(bytes: Uint8Array): boolean {
  const [tag = 0, version = 0, second = 0, , , e = 0, f = 0, g = 0, header = 0] = bytes;
  const isSafetensors = e + f + g === 0 && header === 0x7b;
  return tag === 0x08 && version > 0 && version < 64 && SECOND_TAGS.includes(second) && !isSafetensors;
}

/**
 * Reads an ONNX file.
 * @throws InputError where it cannot be read or is malformed, or its external data lies outside of its folder
 */
export async function readOnnxFile(path: string): Promise<OnnxFile> {
  return parseOnnxFile(await readWholeFile(path, 'an ONNX file'), path);
}

/** The same of a file's content. External data is read from the folder of `path`. */
export async function parseOnnxFile(bytes: Uint8Array, path: string): Promise<OnnxFile> {
  const model = decode(bytes, path);
  const { graph } = model;
  if (graph === undefined) throw new InputError(`${path}: has no graph; this is no ONNX model, or it is damaged`);
  const opset = model.opset_import.find(({ domain = '' }) => domain === '' || domain === 'ai.onnx')?.version;
  if (opset === undefined) throw new InputError(`${path}: names no opset; this is no ONNX model, or it is damaged`);

  const external = new ExternalData(path);
  const constants = new Map<string, OnnxConstant>();
  for (const raw of graph.initializer) {
    const name = raw.name ?? '';
    if (constants.has(name)) {
      throw new InputError(`${path}: initializer ${JSON.stringify(name)} is there twice; export the network again`);
    }
    const constant = await constantOf(raw, `${path}: initializer ${JSON.stringify(name)}`, external);
    if (constant !== undefined) constants.set(name, constant);
  }
  const nodes: OnnxNode[] = [];
  for (const raw of graph.node) {
    const { op_type: op = '', input, output, domain = '' } = raw;
    const name = raw.name || output[0] || op;
    const where = `${path}: node ${JSON.stringify(name)} (${op})`;
    if (domain !== '' && domain !== 'ai.onnx') {
      throw new InputError(`${where}: of the domain ${JSON.stringify(domain)}; only ONNX's own operators are known`);
    }
    const attributes = new Map<string, AttributeValue>();
    for (const attribute of raw.attribute) {
      const value = await attributeValue(attribute, where, external);
      if (value !== undefined) attributes.set(attribute.name ?? '', value);
    }
    nodes.push({ name, op, inputs: input, outputs: output, attributes });
  }
  const inputs = graph.input.filter(({ name }) => !constants.has(name ?? ''));
  const [input] = inputs;
  const [output] = graph.output;
  if (inputs.length !== 1 || graph.output.length !== 1 || input?.name === undefined || output?.name === undefined) {
    throw new InputError(
      `${path}: a graph of ${inputs.length} inputs and ${graph.output.length} outputs; one of each is needed`,
    );
  }
  const { elem_type: type = 0, shape: { dim: dims = [] } = {} } = input.type?.tensor_type ?? {};
  return {
    opset,
    producer: model.producer_name ?? '',
    input: { name: input.name, type, shape: dims.map(({ dim_value, dim_param }) => dim_value ?? dim_param) },
    output: output.name,
    nodes,
    constants,
    external: external.names,
  };
}

const LENGTH_DELIMITED = 2;
const WIRE_TYPES: Readonly<Record<string, number>> = protobuf.types.basic;
const VARINTS: readonly string[] = ['int32', 'int64'];

/**
 * Counts what a message holds before anything is made of it.
 * @throws InputError where it is more than a network needs; Error where it is damaged
 */
function survey(bytes: Uint8Array, type: protobuf.Type, path: string): void {
  const reader = protobuf.Reader.create(bytes);
  let nodes = 0;
  let values = 0;
  const count = (more: number) => {
    values += more;
    if (values > MAX_VALUES)
      throw new InputError(`${path}: more than ${MAX_VALUES} values beside its weights; no network here needs so many`);
  };
  const walk = (message: protobuf.Type, end: number) => {
    while (reader.pos < end) {
      const tag = reader.uint32();
      const field = message.fieldsById[tag >>> 3]?.resolve();
      const wire = tag & 7;
      if (field === undefined) {
        reader.skipType(wire);
        continue;
      }
      count(isFloats(field) ? 0 : 1);
      const isMessage = field.resolvedType instanceof protobuf.Type;
      if (isMessage && field.name === 'node' && ++nodes > MAX_NODES)
        throw new InputError(`${path}: a graph of more than ${MAX_NODES} nodes; no network here needs so many`);
      if (wire !== LENGTH_DELIMITED) {
        if (isMessage || wire !== WIRE_TYPES[field.type]) throw new Error(`wire type ${wire} of ${field.name}`);
        reader.skipType(wire);
        continue;
      }
      const stop = reader.uint32() + reader.pos;
      if (stop > end) throw new Error(`${field.name} reaches beyond its message`);
      if (field.resolvedType instanceof protobuf.Type) walk(field.resolvedType, stop);
      else if (VARINTS.includes(field.type)) count(stop - reader.pos);
      reader.pos = stop;
    }
  };
  walk(type, bytes.length);
}

function isFloats({ type, repeated }: protobuf.Field): boolean {
  return repeated && (type === 'float' || type === 'double');
}

let modelType: protobuf.Type | undefined;

function decode(bytes: Uint8Array, path: string): RawModel {
  modelType ??= protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
  try {
    survey(bytes, modelType, path);
    return modelType.toObject(modelType.decode(bytes), { longs: Number, arrays: true }) as RawModel;
  } catch (error) {
    if (error instanceof InputError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`${path}: not an ONNX model, or damaged (${reason}); export the network again`);
  }
}

async function attributeValue(
  { name, f, i, s, t, floats, ints }: RawAttribute,
  where: string,
  external: ExternalData,
): Promise<AttributeValue | undefined> {
  if (t !== undefined) return constantOf(t, `${where}: attribute ${name}`, external);
  if (s !== undefined) return new TextDecoder().decode(s);
  if (i !== undefined) return i;
  if (f !== undefined) return f;
  if (floats.length > 0) return floats;
  return ints;
}

const FLOAT_TYPES: ReadonlyMap<number, 'float32' | 'float64' | 'float16' | 'bfloat16'> = new Map([
  [elementType.float, 'float32'],
  [elementType.double, 'float64'],
  [elementType.float16, 'float16'],
  [elementType.bfloat16, 'bfloat16'],
]);

const ELEMENT_BYTES: Readonly<Record<number, number>> = {
  [elementType.float]: 4,
  [elementType.double]: 8,
  [elementType.float16]: 2,
  [elementType.bfloat16]: 2,
  [elementType.int32]: 4,
  [elementType.int64]: 8,
};

/** Undefined for elements of another kind: truth values, say, that no node here reads. */
async function constantOf(raw: RawTensor, where: string, external: ExternalData): Promise<OnnxConstant | undefined> {
  const { dims, data_type: type = 0 } = raw;
  const elementBytes = ELEMENT_BYTES[type];
  if (elementBytes === undefined) return undefined;
  const shape = dims;
  const count = elements(shape);
  if (shape.length > MAX_RANK || shape.some((size) => !Number.isSafeInteger(size) || size < 0)) {
    throw new InputError(`${where}: dimensions [${shape.slice(0, MAX_RANK + 1).join(', ')}]; they are damaged`);
  }
  if (!Number.isSafeInteger(count * elementBytes)) {
    throw new InputError(`${where}: dimensions [${shape.join(', ')}] have too many elements`);
  }
  const bytes = raw.data_location === 1 ? await external.read(raw, where, count * elementBytes) : raw.raw_data;
  const listed =
    bytes !== undefined && bytes.length > 0
      ? undefined
      : [raw.float_data, raw.double_data, raw.int64_data, raw.int32_data].find((values) => values.length > 0);
  const found = listed?.length ?? (bytes?.length ?? 0) / elementBytes;
  if (found !== count) {
    throw new InputError(`${where}: ${found} elements for dimensions [${shape.join(', ')}]; the file is damaged`);
  }
  const floats = FLOAT_TYPES.get(type);
  if (floats === undefined) {
    return { shape, data: listed === undefined ? wholes(bytes!, type) : BigInt64Array.from(listed, BigInt) };
  }
  const data = listed === undefined ? decodeFloats(bytes!, floats) : listedFloats(listed, floats, where);
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new InputError(`${where}: ${data[bad]} at index ${bad}; every value must be finite, so repair it`);
  return { shape, data };
}

function listedFloats(values: readonly number[], type: string, where: string): FloatArray {
  if (type === 'float64') return Float64Array.from(values);
  if (type === 'float32') return Float32Array.from(values);
  throw new InputError(`${where}: ${type} in a list; only raw data of it is read: save the file again`);
}

function wholes(bytes: Uint8Array, type: number): BigInt64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = ELEMENT_BYTES[type]!;
  return BigInt64Array.from({ length: bytes.length / size }, (_, i) =>
    type === elementType.int64 ? view.getBigInt64(i * 8, true) : BigInt(view.getInt32(i * 4, true)),
  );
}

/** Files beside an ONNX file that hold its weights. */
class ExternalData {
  readonly #path: string;
  readonly #real = new Map<string, string>();
  /** Bytes that were read of each file. */
  readonly #read = new Map<string, number>();

  constructor(path: string) {
    this.#path = path;
  }

  get names(): readonly string[] {
    return [...this.#real.keys()];
  }

  /** The bytes of one tensor. */
  async read({ external_data: entries }: RawTensor, where: string, needed: number): Promise<Uint8Array> {
    const of = new Map(entries.map(({ key = '', value = '' }) => [key, value]));
    const location = of.get('location') ?? '';
    const offset = Number(of.get('offset') ?? 0);
    const length = Number(of.get('length') ?? needed);
    if (!Number.isSafeInteger(offset) || offset < 0 || length !== needed) {
      throw new InputError(
        `${where}: external data of ${of.get('length')} bytes from ${of.get('offset')}; ${needed} bytes are needed`,
      );
    }
    const path = await this.#inside(location, where);
    try {
      const found = await stat(path);
      if (!found.isFile()) throw new InputError(`${where}: external data ${location} is no regular file`);
      if (offset + needed > found.size) {
        throw new InputError(
          `${where}: external data to byte ${offset + needed}, but ${location} has ${found.size}; copy both files again`,
        );
      }
      const total = (this.#read.get(path) ?? 0) + needed;
      if (total > found.size) {
        throw new InputError(
          `${where}: with it, tensors take ${total} bytes of external data ${location}, which has ${found.size}; they overlap, so export the network again`,
        );
      }
      this.#read.set(path, total);
      const bytes = new Uint8Array(needed);
      const handle = await open(path, 'r');
      try {
        let filled = 0;
        while (filled < needed) {
          const { bytesRead } = await handle.read(
            bytes,
            filled,
            Math.min(needed - filled, READ_BYTES),
            offset + filled,
          );
          if (bytesRead === 0) break;
          filled += bytesRead;
        }
      } finally {
        await handle.close();
      }
      return bytes;
    } catch (error) {
      if (error instanceof InputError) throw error;
      throw new InputError(
        `${where}: external data ${location}: ${messageOfSystemError(error, 'read')}; put it beside the ONNX file`,
      );
    }
  }

  /** The path of a file in the ONNX file's own folder, links followed. */
  async #inside(location: string, where: string): Promise<string> {
    const known = this.#real.get(location);
    if (known !== undefined) return known;
    const real = await insideFolder(location, this.#path, `${where}: external data`);
    this.#real.set(location, real);
    return real;
  }
}

/** Bytes asked for at once. */
const READ_BYTES = 2 ** 28;
