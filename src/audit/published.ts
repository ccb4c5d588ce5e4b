import { variants } from '../reference/variants.ts';

/**
 * Which form of a network: trained, fused by the original's own code where that leaves batch norms, or fused completely;
 * and how many classification heads it has.
 */
export interface Form {
  readonly form: 'train' | 'deploy-official' | 'deploy';
  readonly heads: 1 | 2;
}

/** What a figure counts. `initialisers`: elements of the initialisers of an ONNX export. */
export type FigureKind = 'parameters' | 'macs' | 'activations' | 'initialisers';

/** A figure that somebody published for a network. */
export interface Figure {
  readonly model: string;
  readonly source: string;
  readonly kind: FigureKind;
  /** As printed, so that its decimals are kept. */
  readonly printed: string;
  /** What the printed number is in: single ones, millions or thousand millions. */
  readonly unit: '' | 'M' | 'G';
  /** Height and width that it was counted at, in pixels. */
  readonly resolution: number;
  /** The form that a reader takes it for: that of the checkpoint, or of the code, beside which it stands. */
  readonly assumed: Form;
}

type Column = readonly [kind: FigureKind, unit: Figure['unit']];

interface Source {
  readonly name: string;
  readonly assumed: Form;
  readonly columns: readonly Column[];
  /** From model to the figures printed, one for each column. */
  readonly rows: Readonly<Record<string, readonly string[]>>;
}

const TWO_HEADS: Form = { form: 'train', heads: 2 };
const TRAIN: Form = { form: 'train', heads: 1 };
const DEPLOY: Form = { form: 'deploy', heads: 1 };

const README_COLUMNS: readonly Column[] = [
  ['parameters', 'M'],
  ['macs', 'G'],
];
/** timm prints two decimals; pandas dropped their trailing zeros, which are put back here. */
const TIMM_COLUMNS: readonly Column[] = [...README_COLUMNS, ['activations', 'M']];
const LOG_COLUMNS: readonly Column[] = [['parameters', '']];

/**
 * Each published table that prints counts. RepViT's README.md prints none for M0.6, and the CIFAR-100 reproduction prints
 * accuracies only.
 */
const sources: readonly Source[] = [
  {
    name: 'THU-MIG/RepViT README.md',
    assumed: TWO_HEADS,
    columns: README_COLUMNS,
    rows: {
      repvit_m0_9: ['5.1', '0.8'],
      repvit_m1_0: ['6.8', '1.1'],
      repvit_m1_1: ['8.2', '1.3'],
      repvit_m1_5: ['14.0', '2.3'],
      repvit_m2_3: ['22.9', '4.5'],
    },
  },
  {
    name: 'first RepViT README.md (8df4270, 19 July 2023)',
    assumed: TWO_HEADS,
    columns: README_COLUMNS,
    rows: {
      repvit_m1: ['5.1', '0.8'],
      repvit_m2: ['8.8', '1.4'],
      repvit_m3: ['10.1', '1.9'],
    },
  },
  {
    name: 'corrected RepViT README.md (2d85a4c, 19 July 2023)',
    assumed: TWO_HEADS,
    columns: README_COLUMNS,
    rows: { repvit_m2: ['8.2', '1.3'] },
  },
  {
    name: 'RepViT training logs, 300 epochs',
    assumed: TWO_HEADS,
    columns: LOG_COLUMNS,
    rows: {
      repvit_m0_9: ['5489328'],
      repvit_m1_0: ['7298036'],
      repvit_m1_1: ['8797984'],
      repvit_m1_5: ['14635024'],
      repvit_m2_3: ['23674632'],
      repvit_m1: ['5484240'],
      repvit_m2: ['8797984'],
      repvit_m3: ['10681488'],
    },
  },
  {
    name: 'RepViT training logs, 450 epochs',
    assumed: TWO_HEADS,
    columns: LOG_COLUMNS,
    rows: {
      repvit_m0_9: ['5489328'],
      repvit_m1_0: ['7298036'],
      repvit_m1_1: ['8802912'],
      repvit_m1_5: ['14644432'],
      repvit_m2_3: ['23674632'],
    },
  },
  {
    name: 'timm benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv',
    assumed: TWO_HEADS,
    columns: TIMM_COLUMNS,
    rows: {
      repvit_m0_9: ['5.49', '0.83', '7.45'],
      repvit_m1_0: ['7.30', '1.13', '8.69'],
      repvit_m1_1: ['8.80', '1.36', '9.43'],
      repvit_m1_5: ['14.64', '2.31', '15.70'],
      repvit_m2_3: ['23.69', '4.57', '26.21'],
      repvit_m1: ['5.49', '0.83', '7.45'],
      repvit_m2: ['8.80', '1.36', '9.43'],
      repvit_m3: ['10.68', '1.89', '13.94'],
    },
  },
  {
    name: 'timm benchmark-infer-amp-nchw-pt291-cu128-4090.csv',
    assumed: DEPLOY,
    columns: TIMM_COLUMNS,
    rows: {
      repvit_m0_9: ['5.07', '0.82', '6.17'],
      repvit_m1_0: ['6.81', '1.11', '7.19'],
      repvit_m1_1: ['8.24', '1.34', '7.82'],
      repvit_m1_5: ['14.05', '2.27', '12.84'],
      repvit_m2_3: ['22.93', '4.52', '21.32'],
      repvit_m1: ['5.07', '0.82', '6.17'],
      repvit_m2: ['8.24', '1.34', '7.82'],
      repvit_m3: ['10.12', '1.86', '11.43'],
    },
  },
  {
    // Its script counts the initialisers of what torch.onnx.export and onnxsim make of timm's unfused model.
    name: 'D-Robotics RDK X5 model zoo, RepViT',
    assumed: TWO_HEADS,
    columns: [['initialisers', 'M']],
    rows: { repvit_m0_9: ['5.1'], repvit_m1_0: ['6.8'], repvit_m1_1: ['8.2'] },
  },
  {
    name: 'DingXiaoH/RepMLP README.md',
    assumed: TRAIN,
    columns: README_COLUMNS,
    rows: {
      repmlpnet_t224: ['38.3', '2.8'],
      repmlpnet_t256: ['58.7', '4.2'],
      repmlpnet_b224: ['68.2', '6.7'],
      repmlpnet_b256: ['96.5', '9.6'],
      repmlpnet_d256: ['86.9', '8.6'],
      repmlpnet_l256: ['117.7', '11.5'],
    },
  },
  {
    name: 'mmpretrain RepMLP README.md',
    assumed: TRAIN,
    columns: README_COLUMNS,
    rows: { repmlpnet_b224: ['68.24', '6.71'], repmlpnet_b256: ['96.45', '9.69'] },
  },
];

/** Every published figure of the network of that name, in the order of the sources. */
export function publishedFigures(model: string): readonly Figure[] {
  const variant = variants.find(({ name }) => name === model);
  if (variant === undefined) return [];
  const { resolution } = variant;
  return sources.flatMap(({ name, assumed, columns, rows }) =>
    (rows[model] ?? []).map((printed, index): Figure => {
      const column = columns[index];
      if (column === undefined) throw new Error(`${name} has more figures than columns for ${model}`);
      const [kind, unit] = column;
      return { model, source: name, kind, printed, unit, resolution, assumed };
    }),
  );
}

/** Power of ten of each unit. */
const EXPONENTS = { '': 0, M: 6, G: 9 } as const;

type Printed = Pick<Figure, 'printed' | 'unit'>;

/** What one more in the last printed decimal is worth. */
function lastPlace({ printed, unit }: Printed): number {
  const fraction = printed.split('.')[1] ?? '';
  return 10 ** (EXPONENTS[unit] - fraction.length);
}

/** The figure as a plain number. In whole numbers, since 5.1 * 1e6 and its kind are not exact in binary. */
export function figureValue(figure: Printed): number {
  return Number(figure.printed.replace('.', '')) * lastPlace(figure);
}

/** Whether the exact count, rounded to the decimals that the figure prints, is the figure. A tie rounds either way. */
export function fits(figure: Printed, count: number): boolean {
  return 2 * Math.abs(count - figureValue(figure)) <= lastPlace(figure);
}

/** A published accuracy on ImageNet-1k's validation images. */
export interface Accuracy {
  readonly model: string;
  readonly source: string;
  /** Per cent. */
  readonly top1: number;
}

/** THU-MIG/RepViT's README.md, its first version for M1, M2 and M3; DingXiaoH/RepMLP's README.md. */
const accuracies: readonly { readonly source: string; readonly rows: Readonly<Record<string, number>> }[] = [
  {
    source: 'THU-MIG/RepViT README.md, 300 epochs',
    rows: {
      repvit_m0_6: 74.1,
      repvit_m0_9: 78.7,
      repvit_m1_0: 80.0,
      repvit_m1_1: 80.7,
      repvit_m1_5: 82.3,
      repvit_m2_3: 83.3,
    },
  },
  {
    source: 'THU-MIG/RepViT README.md, 450 epochs',
    rows: { repvit_m0_9: 79.1, repvit_m1_0: 80.3, repvit_m1_1: 81.2, repvit_m1_5: 82.5, repvit_m2_3: 83.7 },
  },
  {
    source: 'first RepViT README.md (8df4270, 19 July 2023)',
    rows: { repvit_m1: 78.5, repvit_m2: 80.6, repvit_m3: 81.4 },
  },
  {
    source: 'DingXiaoH/RepMLP README.md',
    rows: {
      repmlpnet_t224: 76.62,
      repmlpnet_t256: 77.44,
      repmlpnet_b224: 80.32,
      repmlpnet_b256: 81.03,
      repmlpnet_d256: 80.83,
      repmlpnet_l256: 81.68,
    },
  },
];

/** Every published accuracy of the network of that name, in the order of the sources. */
export function publishedAccuracies(model: string): readonly Accuracy[] {
  return accuracies.flatMap(({ source, rows }) => {
    const top1 = rows[model];
    return top1 === undefined ? [] : [{ model, source, top1 }];
  });
}
