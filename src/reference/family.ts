import type { Network, Node } from '../network/ops.ts';
import type { Shape } from '../network/tensor.ts';
import type { InputSize } from './size.ts';

/** Form of a network, by the name that the deploy forms have (`fused/forms.ts`). */
export type Form = 'train' | 'deploy' | 'deploy-official';

/** A state dict as far as recognising goes: weights, or anything else with shapes by key. */
export type Shapes = ReadonlyMap<string, { readonly shape: Shape }>;

/** Whose names the keys of a state dict are. */
export interface Naming {
  readonly scheme: string;
  readonly form: Form;
  /** From a key of the state dict to the network's. */
  readonly rename: (key: string) => string;
  /** From a key of the network, or of its deploy forms, to that of the same project's state dict. */
  readonly restore: (key: string) => string;
}

/** Something that keys and shapes do not say. */
export interface Open<Config> {
  readonly fields: readonly string[];
  /** Whether a config's fields are among what is possible. */
  readonly fits: (config: Config) => boolean;
  /** For a message, with the values that fit: `legacy (true or false)`. */
  readonly says: string;
}

/** What keys and shapes say of a network. */
export interface Reading<Config> {
  /** In what they leave open, the most usual. */
  readonly config: Config;
  readonly open: readonly Open<Config>[];
}

/** A network of the same make as another, but small: of few stages, blocks, channels, pixels and classes. */
export interface Miniature<Config> {
  readonly config: Config;
  readonly size: InputSize;
}

/** A published network. */
export interface Variant<Config> {
  /** timm's name where timm has it. */
  readonly name: string;
  readonly config: Config;
  /** Height and width that it was published at. */
  readonly resolution: number;
  readonly description: string;
}

/** A train form that a published figure may describe. */
export interface TrainForm<Config> {
  readonly config: Config;
  /** Classification heads. */
  readonly heads: 1 | 2;
  /** Which of the family's kinds of block, in a word; null where it has only one. */
  readonly flavour: string | null;
  /** What a sentence calls the form. */
  readonly title: string;
}

/** A module of its own (`nn.ReLU`), a function (`F.relu`), or a method of the tensor (`x.mean`). */
export type Call = 'module' | 'function' | 'method';

/** What is used of a family's JSON Schema beside the validation itself. */
export interface ConfigSchema {
  readonly required: readonly string[];
  readonly properties: Readonly<Record<string, object>>;
}

/** Filters by which an image is resized, in Pillow's names. */
export type Interpolation = 'bicubic' | 'bilinear';

/** How an image becomes an input; timm's terms. */
export interface Preprocessing {
  /** The input's share of the resized image's shorter side: more than 0, at most 1. */
  readonly cropPct: number;
  readonly interpolation: Interpolation;
  /** One for each channel, of levels from 0 to 1. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** What ImageNet's images are normalised with. */
export const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/** All that the rest of fuseproof needs to know of a family of networks. */
export interface Family<Config> {
  /** Of a config: all that can be said of one field at a time. Loaded when it is first needed. */
  readonly schema: () => Promise<ConfigSchema>;
  /** Fields as other libraries call them, where the spelling alone does not lead to ours. */
  readonly synonyms: Readonly<Record<string, string>>;
  /** Fills in the original's defaults. The fields given fit the schema. */
  readonly complete: (given: Partial<Config>) => Config;
  /**
   * Limits between fields, which no schema can say.
   * @throws InputError that begins with the subject and names the fields, their values and the limit
   */
  readonly check: (config: Config, subject: string) => void;
  /** Height and width that a config of a user's own is taken at, in pixels. */
  readonly resolution: (config: Config) => number;
  /**
   * The train-form network on an input [batch, channels, height, width]; its input node is `input`.
   * @throws InputError where the batch or the size does not fit the network
   */
  readonly build: (config: Config, size: InputSize, name?: string) => Network;
  /**
   * The smallest network on which fusing does all that it does on the config's: every kind of block that this has, with
   * its flags and kernel sizes.
   */
  readonly miniature: (config: Config) => Miniature<Config>;
  /** Whose names the keys are; undefined where they are not of this family. */
  readonly naming: (state: Shapes) => Naming | undefined;
  /**
   * The config of a state dict under the network's keys. Where they are of no network, it is one that does not fit them.
   */
  readonly read: (state: Shapes, form: Form) => Reading<Config>;
  /** What tells the networks of the family apart, title and value: the columns of a table. */
  readonly traits: (config: Config) => Readonly<Record<string, string>>;
  /** The train forms of the network itself: as configured, then simpler ones that were published beside it. */
  readonly ownForms: (config: Config) => readonly [TrainForm<Config>, ...TrainForm<Config>[]];
  /** Train forms of other flavours, which figures that are published for the network may describe. */
  readonly otherForms: (config: Config) => readonly TrainForm<Config>[];
  /** How the original's code calls a ReLU, a GELU or a pooling: the same to the network, not to tools that count by hooks. */
  readonly callOf: (node: Node) => Call;
  /** As the published accuracies were measured. */
  readonly preprocessing: Preprocessing;
  /** Every published network of the family. */
  readonly variants: readonly Variant<Config>[];
}

/** Resolution of a network that names none: timm's default `img_size`. */
export const DEFAULT_RESOLUTION = 224;
