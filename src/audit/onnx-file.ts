/** Counts what an ONNX file stores, and says which form of which published network stores as much. */
import { onnxMessages } from '../artefacts/onnx-messages.ts';
import { cost } from '../interpreters/cost.ts';
import { InputError } from '../network/errors.ts';
import { resolveModels } from '../reference/config.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { buildForms } from './forms.ts';
import type { Form } from './published.ts';

/** TensorProto.DataType: name and bytes of one element; null where they differ from element to element. */
const ELEMENT_TYPES: Readonly<Record<number, readonly [name: string, bytes: number | null]>> = {
  1: ['float32', 4],
  2: ['uint8', 1],
  3: ['int8', 1],
  4: ['uint16', 2],
  5: ['int16', 2],
  6: ['int32', 4],
  7: ['int64', 8],
  8: ['string', null],
  9: ['bool', 1],
  10: ['float16', 2],
  11: ['float64', 8],
  12: ['uint32', 4],
  13: ['uint64', 8],
  14: ['complex64', 8],
  15: ['complex128', 16],
  16: ['bfloat16', 2],
};

/** How many values of how many tensors. */
export interface Stored {
  readonly tensors: number;
  readonly elements: number;
}

/** Values of one type. */
export interface StoredType extends Stored {
  readonly type: string;
  /** Null where the type has no fixed size. */
  readonly bytes: number | null;
}

/** A form of a published network, and which of its counts the file has. */
export interface OnnxMatch extends Form {
  readonly model: string;
  /** As torch.onnx.export folds it, or with every batch norm's four vectors. */
  readonly batchNorms: 'folded where a convolution precedes' | 'kept';
  readonly elements: number;
}

export interface OnnxAudit {
  readonly file: string;
  readonly producer: string;
  /** Versions of the operator sets by domain; the default domain is ai.onnx. */
  readonly opsets: Readonly<Record<string, number>>;
  /** Nodes of the main graph by operation, most frequent first. */
  readonly operations: Readonly<Record<string, number>>;
  /** All initialisers of the main graph: the count of the RDK X5 model zoo's script. */
  readonly initialisers: Stored;
  readonly types: readonly StoredType[];
  /** Values of Constant nodes, where some simplifiers put weights; no part of the initialisers. */
  readonly constants: Stored;
  /** Forms of published networks that store as many float values of rank 1 and more, Constant nodes included. */
  readonly matches: readonly OnnxMatch[];
}

interface TensorMessage {
  readonly dims: readonly number[];
  readonly data_type: number;
}

/** What is read of a ModelProto, defaults filled in. */
interface ModelMessage {
  readonly producer_name: string;
  readonly opset_import: readonly { readonly domain: string; readonly version: number }[];
  readonly graph: {
    readonly node: readonly {
      readonly op_type: string;
      readonly attribute: readonly { readonly t?: TensorMessage }[];
    }[];
    readonly initializer: readonly TensorMessage[];
  } | null;
}

async function readModel(file: string): Promise<ModelMessage> {
  const bytes = await readWholeFile(file, 'an ONNX file');
  const { default: protobuf } = await import('protobufjs/light.js');
  const type = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
  let model: ModelMessage;
  try {
    model = type.toObject(type.decode(bytes), { longs: Number, arrays: true, defaults: true }) as ModelMessage;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InputError(`${file}: not an ONNX model (${why}); give a file that torch.onnx.export or the like wrote`);
  }
  if (model.graph === null || model.opset_import.length === 0) {
    throw new InputError(`${file}: holds no graph or no operator set; give a whole ONNX model`);
  }
  const tensors = [
    ...model.graph.initializer,
    ...model.graph.node.flatMap(({ attribute }) => attribute.flatMap(({ t }) => t ?? [])),
  ];
  const broken = tensors.find((tensor) => {
    const size = elementsOf(tensor);
    return tensor.dims.some((dim) => dim < 0) || !Number.isSafeInteger(size);
  });
  if (broken !== undefined) {
    throw new InputError(
      `${file}: a tensor of the dimensions [${broken.dims}]; they must be counts, so the file is damaged`,
    );
  }
  return model;
}

function elementsOf({ dims }: TensorMessage): number {
  return dims.reduce((product, size) => product * size, 1);
}

function stored(tensors: readonly TensorMessage[]): Stored {
  return { tensors: tensors.length, elements: tensors.reduce((sum, tensor) => sum + elementsOf(tensor), 0) };
}

function byType(tensors: readonly TensorMessage[]): readonly StoredType[] {
  return [...new Set(tensors.map(({ data_type }) => data_type))].map((dataType) => {
    const own = stored(tensors.filter(({ data_type }) => data_type === dataType));
    const [type, size] = ELEMENT_TYPES[dataType] ?? [`type ${dataType} of TensorProto`, null];
    return { type, ...own, bytes: size === null ? null : size * own.elements };
  });
}

/** Types that weights are stored in. */
const WEIGHT_TYPES = new Set(['float32', 'float64', 'float16', 'bfloat16']);

/** Elements that can be weights: scalars and integers are constants of the graph. */
function weightElements(tensors: readonly TensorMessage[]): number {
  const weights = tensors.filter(
    ({ dims, data_type }) => dims.length > 0 && WEIGHT_TYPES.has(ELEMENT_TYPES[data_type]?.[0] ?? ''),
  );
  return stored(weights).elements;
}

async function matchesOf(elements: number): Promise<readonly OnnxMatch[]> {
  const models = await resolveModels(['all']);
  return models.flatMap((model) =>
    buildForms(model).flatMap(({ form, heads, network }): OnnxMatch[] => {
      const { initialisers, parameters, buffers } = cost(network).total;
      const match = { model: model.name, form, heads, elements };
      if (elements === initialisers) return [{ ...match, batchNorms: 'folded where a convolution precedes' }];
      return elements === parameters + buffers ? [{ ...match, batchNorms: 'kept' }] : [];
    }),
  );
}

/** How often each word occurs, most frequent first. */
function tally(words: readonly string[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}

/**
 * Counts the initialisers of an ONNX file, from their dimensions: external data is not read.
 * @throws InputError where the file cannot be read or is no ONNX model
 */
export async function auditOnnx(file: string): Promise<OnnxAudit> {
  const { graph, opset_import, producer_name } = await readModel(file);
  const { node: nodes, initializer } = graph!;
  const constants = nodes
    .filter(({ op_type }) => op_type === 'Constant')
    .flatMap(({ attribute }) => attribute.flatMap(({ t }) => t ?? []));
  return {
    file,
    producer: producer_name,
    opsets: Object.fromEntries(opset_import.map(({ domain, version }) => [domain || 'ai.onnx', version])),
    operations: tally(nodes.map(({ op_type }) => op_type)),
    initialisers: stored(initializer),
    types: byType(initializer),
    constants: stored(constants),
    matches: await matchesOf(weightElements([...initializer, ...constants])),
  };
}
