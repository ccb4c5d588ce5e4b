/** How counting tools count: for each, which quantities of a network it adds up, and how often. */
import { cost } from '../interpreters/cost.ts';
import { nodesByName } from '../network/graph.ts';
import type { Network, Node, OpRules } from '../network/ops.ts';
import { applyRule } from '../network/ops.ts';
import { elements } from '../network/tensor.ts';
import type { Model } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import type { Call } from '../reference/family.ts';
import { buildForms } from './forms.ts';
import type { Form } from './published.ts';

/** What a tool may count of one node, or of all. */
interface Quantities {
  /** Multiply-accumulates of convolutions and linear layers. */
  readonly products: number;
  /** Outputs of convolutions and linear layers that have a bias. */
  readonly biased: number;
  /** Elements that batch norms put out. */
  readonly normalised: number;
  /** Weights and biases of batch norms, once for each row of their input's first axis. */
  readonly normRows: number;
  /** Elements that ReLU and GELU put out, called as functions. */
  readonly functions: number;
  /** The same, called as modules. */
  readonly modules: number;
  /** Elements that global average poolings take in, where they are adaptive_avg_pool2d and not a mean. */
  readonly pooled: number;
  /** Elements of the initialisers of an ONNX export. */
  readonly initialisers: number;
}

/** A quantity that a tool counts, and how often. */
interface Counted {
  readonly quantity: keyof Quantities;
  readonly times: number;
  /** What a sentence calls it. */
  readonly what: string;
}

export type ConventionName = 'fvcore' | 'ptflops' | 'ptflops-aten' | 'thop' | 'torchinfo' | 'onnx';

/** The way in which one tool counts. */
export interface Convention {
  readonly name: ConventionName;
  /** The tool, in the version that it was held against. */
  readonly tool: string;
  /** What the tool calls its total. */
  readonly unit: string;
  /** Why its total is not the plain count of multiply-accumulates, in one sentence. */
  readonly why: string;
  /** The exact count that its total is held against. */
  readonly beside: 'macs' | 'parameters';
  readonly counts: readonly Counted[];
}

const PRODUCTS: Counted = { quantity: 'products', times: 1, what: 'MACs' };
const BIASES: Counted = { quantity: 'biased', times: 1, what: 'biases, 1 an output' };
const POOLS: Counted = { quantity: 'pooled', times: 1, what: 'pooling, 1 an input' };

/** Every tool's way, as `golden/oracle/make_conventions.py` finds it. */
export const conventions: readonly Convention[] = [
  {
    name: 'fvcore',
    tool: 'fvcore 0.1.5',
    unit: 'flops (one is one MAC)',
    beside: 'macs',
    why: 'A flop is one MAC there. Batch norms count 2 for each element and adaptive_avg_pool2d 1 for each input; biases, activations, sums, gates and means count 0.',
    counts: [PRODUCTS, { quantity: 'normalised', times: 2, what: 'batch norms, 2 an element' }, POOLS],
  },
  {
    name: 'ptflops',
    tool: "ptflops 0.7.5, backend 'pytorch' (its default)",
    unit: 'MACs',
    beside: 'macs',
    why: 'Biases count 1 for each output, batch norms 2 for each element, adaptive_avg_pool2d 1 for each input. ReLU and GELU count 1, and where they are modules 2: a hook on the module counts once, the patched function that it calls once more.',
    counts: [
      PRODUCTS,
      BIASES,
      { quantity: 'normalised', times: 2, what: 'batch norms, 2 an element' },
      { quantity: 'modules', times: 2, what: 'ReLU and GELU modules, 2 an element' },
      { quantity: 'functions', times: 1, what: 'ReLU functions, 1 an element' },
      POOLS,
    ],
  },
  {
    name: 'ptflops-aten',
    tool: "ptflops 0.7.5, backend 'aten'",
    unit: 'MACs',
    beside: 'macs',
    why: 'Biases count 1 for each output, batch norms and all else 0: the fused form, whose convolutions all have a bias, costs more there.',
    counts: [PRODUCTS, BIASES],
  },
  {
    name: 'thop',
    tool: 'thop 0.1.1',
    unit: 'MACs',
    beside: 'macs',
    why: 'Batch norms count 4 for each element (2, doubled where they have weights); biases and activations count 0.',
    counts: [PRODUCTS, { quantity: 'normalised', times: 4, what: 'batch norms, 4 an element' }],
  },
  {
    name: 'torchinfo',
    tool: 'torchinfo 1.8.0',
    unit: 'mult-adds',
    beside: 'macs',
    why: "Parameters are multiplied by the pixels that they are used at: biases count 1 for each output, a batch norm's weights once for each image, and not for each pixel. The fused form costs more there.",
    counts: [PRODUCTS, BIASES, { quantity: 'normRows', times: 1, what: 'batch norms, their weights once an image' }],
  },
  {
    name: 'onnx',
    tool: 'torch.onnx.export, opset 11, TorchScript exporter of PyTorch 2.15',
    unit: 'initialiser elements',
    beside: 'parameters',
    why: 'These are stored values, not operations: the export folds a batch norm right behind a convolution, and keeps four vectors of any other. It has parameters and running statistics under one name.',
    counts: [{ quantity: 'initialisers', times: 1, what: 'elements of the initialisers' }],
  },
];

export const conventionNames: readonly ConventionName[] = conventions.map(({ name }) => name);

const NOTHING: Quantities = {
  products: 0,
  biased: 0,
  normalised: 0,
  normRows: 0,
  functions: 0,
  modules: 0,
  pooled: 0,
  initialisers: 0,
};
const QUANTITIES = Object.keys(NOTHING) as readonly (keyof Quantities)[];

interface Context {
  /** Elements of the node's first input. */
  readonly inputs: number;
  readonly call: Call;
}

const nothing = () => ({});

/** What a node adds beside its products and initialisers; null where no tool can be asked. */
const rules: OpRules<[context: Context], Partial<Quantities> | null> = {
  input: nothing,
  conv2d: ({ op, shape }) => (op.bias ? { biased: elements(shape) } : {}),
  linear: ({ op, shape }) => (op.bias ? { biased: elements(shape) } : {}),
  setLinear: ({ op, shape }) => (op.bias ? { biased: elements(shape) } : {}),
  batchNorm: ({ shape }) => ({ normalised: elements(shape), normRows: shape[0]! * 2 * shape[1]! }),
  relu: ({ shape }, { call }) => ({ [call === 'module' ? 'modules' : 'functions']: elements(shape) }),
  gelu: ({ shape }, { call }) => ({ [call === 'module' ? 'modules' : 'functions']: elements(shape) }),
  globalAvgPool: (_, { inputs, call }) => ({ pooled: call === 'method' ? 0 : inputs }),
  add: nothing,
  mul: nothing,
  scale: nothing,
  sigmoid: nothing,
  partition: nothing,
  departition: nothing,
  // A batched product of fuseproof's own: PyTorch code of it does not exist.
  windowLinear: () => null,
};

/** What a tool counts under one heading. */
export interface Term {
  readonly what: string;
  readonly count: number;
}

/** One tool's count of one network, for the whole batch. */
export interface ConventionCount {
  readonly convention: ConventionName;
  /** The sum of the terms; null where no PyTorch code of the network exists that the tool could be asked about. */
  readonly total: number | null;
  /** Those that are not 0, MACs first. */
  readonly terms: readonly Term[];
}

/** How the original's code calls a node; see `Family`. */
export type CallOf = (node: Node) => Call;

/** The quantities of each node but the inputs, in the network's order. */
function quantitiesOf(network: Network, callOf: CallOf) {
  const nodes = nodesByName(network);
  const layers = new Map(cost(network).layers.map((layer) => [layer.name, layer.cost]));
  return network.nodes.flatMap((node) => {
    const counted = layers.get(node.name);
    if (counted === undefined) return [];
    const inputs = elements(nodes.get(node.inputs[0] ?? '')?.shape ?? []);
    const own = applyRule(rules, node, { inputs, call: callOf(node) });
    const { macs: products, initialisers } = counted;
    return [{ name: node.name, known: own !== null, quantities: { ...NOTHING, ...own, products, initialisers } }];
  });
}

/** Whether the tool needs PyTorch code: an ONNX file stores what it stores, whoever writes it. */
function needsCode({ counts }: Convention): boolean {
  return counts.some(({ quantity }) => quantity !== 'initialisers');
}

/**
 * Counts a network as each tool does, from the network as data.
 * @param callOf how the original's code calls a node, which tools tell apart
 */
export function countBy(chosen: readonly Convention[], network: Network, callOf: CallOf): readonly ConventionCount[] {
  const layers = quantitiesOf(network, callOf);
  const total = { ...NOTHING };
  for (const { quantities } of layers) for (const key of QUANTITIES) total[key] += quantities[key];
  const known = layers.every((layer) => layer.known);
  return chosen.map((convention): ConventionCount => {
    if (!known && needsCode(convention)) return { convention: convention.name, total: null, terms: [] };
    const terms = convention.counts
      .map(({ quantity, times, what }) => ({ what, count: times * total[quantity] }))
      .filter(({ count }) => count !== 0);
    return { convention: convention.name, total: terms.reduce((sum, { count }) => sum + count, 0), terms };
  });
}

/** What one tool counts of each node, by its name; null where it cannot be asked. */
export function countLayersBy(
  convention: Convention,
  network: Network,
  callOf: CallOf,
): ReadonlyMap<string, number | null> {
  const layers = quantitiesOf(network, callOf).map(({ name, known, quantities }) => {
    const count = convention.counts.reduce((sum, { quantity, times }) => sum + times * quantities[quantity], 0);
    return [name, known || !needsCode(convention) ? count : null] as const;
  });
  return new Map(layers);
}

/** The convention of that name. */
export function conventionOf(name: ConventionName): Convention {
  const found = conventions.find((convention) => convention.name === name);
  if (found === undefined) throw new Error(`no convention is called ${name}`);
  return found;
}

/** One form of one network as each tool counts it, for one image. */
export interface ConventionRow extends Form {
  readonly model: string;
  /** Height and width of the input, in pixels. */
  readonly resolution: number;
  /** Multiply-accumulates of convolutions and linear layers, and nothing else. */
  readonly macs: number;
  readonly parameters: number;
  readonly counts: readonly ConventionCount[];
}

/**
 * Counts every form of each model as each of the tools does.
 * @throws InputError where a model's resolution does not fit it
 */
export function auditConventions(models: readonly Model[], chosen: readonly Convention[]): readonly ConventionRow[] {
  return models.flatMap((model) =>
    buildForms(model).map(({ form, heads, network }): ConventionRow => {
      const { macs, parameters } = cost(network).total;
      const counts = countBy(chosen, network, familyOf(model.config).callOf);
      return { model: model.name, form, heads, resolution: model.resolution, macs, parameters, counts };
    }),
  );
}
