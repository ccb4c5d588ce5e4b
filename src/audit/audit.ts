import { isDeepStrictEqual } from 'node:util';
import { fuse } from '../fused/fuse.ts';
import { type Cost, cost } from '../interpreters/cost.ts';
import type { Network } from '../network/ops.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import { type ModelConfig, variants } from '../reference/variants.ts';
import { type Figure, type FigureKind, type Form, figureValue, fits, publishedFigures } from './published.ts';

/** RepVGGDW with an outer BN (current), or with two ConvNorms (legacy). */
export type Flavour = 'current' | 'legacy';

/** A way to count a form of the network under which a figure is right. */
export interface Fit extends Form {
  readonly flavour: Flavour;
  /** The count of {@link Cost} that fits: MACs are counted in two ways. */
  readonly counting: keyof Cost;
  /** The exact count. */
  readonly count: number;
}

/** A published figure that is right for a row. */
export interface PublishedFit {
  readonly source: string;
  readonly kind: FigureKind;
  readonly printed: string;
  readonly unit: Figure['unit'];
  readonly counting: keyof Cost;
}

/** One form of one network, counted for one image. */
export interface AuditRow extends Form, Cost {
  readonly model: string;
  readonly flavour: Flavour;
  /** Height and width of the input, in pixels. */
  readonly resolution: number;
  /** Operations: nodes of the network without its input. */
  readonly nodes: number;
  readonly published: readonly PublishedFit[];
}

/** A published figure, and every form that it is right for. */
export interface AuditedFigure extends Figure {
  /** What the assumed form really counts, under the kind's own counting. */
  readonly assumedCount: number;
  /** Empty where the figure is right for no form. */
  readonly fits: readonly Fit[];
  /** The count nearest to the figure, whether it fits or not. */
  readonly nearest: Fit;
}

export interface AuditReport {
  /** For each model: train form with two heads where it has them, train form with one, deploy form. */
  readonly rows: readonly AuditRow[];
  /** For each model, its published figures. Figures that depend on the resolution only where it is theirs. */
  readonly figures: readonly AuditedFigure[];
}

/** The counts that a figure of each kind may mean; the first is what its name says. */
const countings: Readonly<Record<FigureKind, readonly [keyof Cost, ...(keyof Cost)[]]>> = {
  parameters: ['parameters'],
  macs: ['macs', 'fvcore'],
  activations: ['activations'],
  initialisers: ['initialisers'],
};

/** A form of a model as a network. */
interface Built extends Form {
  readonly flavour: Flavour;
  readonly network: Network;
}

/** A form of a model with its counts. */
interface Counted extends Form {
  readonly flavour: Flavour;
  readonly nodes: number;
  readonly cost: Cost;
}

function flavourOf(config: ModelConfig): Flavour {
  return config.legacy ? 'legacy' : 'current';
}

/** The train form of a config with so many heads, at the model's resolution, for one image. */
function trainForm(config: ModelConfig, heads: Form['heads'], { name, resolution }: Model): Built {
  const size = { batch: 1, height: resolution, width: resolution };
  const network = buildNetwork({ ...config, distillation: heads === 2 }, size, name);
  return { form: 'train', heads, flavour: flavourOf(config), network };
}

/** The train forms of a config: as it is, then with one head where it has two. */
function trainForms(config: ModelConfig, model: Model): readonly [Built, ...Built[]] {
  return config.distillation
    ? [trainForm(config, 2, model), trainForm(config, 1, model)]
    : [trainForm(config, 1, model)];
}

/** What a train form fuses to: one head, whether it has one or two. */
function deployForm({ flavour, network }: Built): Built {
  return { form: 'deploy', heads: 1, flavour, network: fuse(network).network };
}

function count({ form, heads, flavour, network }: Built): Counted {
  const { layers, total } = cost(network);
  return { form, heads, flavour, nodes: layers.length, cost: total };
}

/** The figures published for this config, under whatever name it is audited, as far as the resolution lets them. */
function figuresOf({ config, resolution }: Model): readonly Figure[] {
  const variant = variants.find((published) => isDeepStrictEqual(published.config, config));
  if (variant === undefined) return [];
  return publishedFigures(variant.name).filter(
    (figure) => figure.resolution === resolution || figure.kind === 'parameters' || figure.kind === 'initialisers',
  );
}

/** Holds one figure against every form, in every way of counting. */
function auditFigure(figure: Figure, own: Flavour, forms: readonly Counted[]): AuditedFigure {
  const [usual, ...others] = countings[figure.kind];
  const counts = forms.flatMap(({ form, heads, flavour, cost: counts }) =>
    // A counting that gives the usual one's number says nothing more.
    [usual, ...others.filter((counting) => counts[counting] !== counts[usual])].map(
      (counting): Fit => ({ form, heads, flavour, counting, count: counts[counting] }),
    ),
  );
  const { assumed } = figure;
  const taken = counts.find(
    ({ form, heads, flavour, counting }) =>
      form === assumed.form && heads === assumed.heads && flavour === own && counting === usual,
  );
  if (taken === undefined) throw new Error(`${figure.model} has no ${assumed.form} form with ${assumed.heads} heads`);
  const distance = (fit: Fit) => Math.abs(fit.count - figureValue(figure));
  return {
    ...figure,
    assumedCount: taken.count,
    fits: counts.filter((fit) => fits(figure, fit.count)),
    nearest: counts.reduce((best, next) => (distance(next) < distance(best) ? next : best)),
  };
}

function auditModel(model: Model): AuditReport {
  const { config, name, resolution } = model;
  const trained = trainForms(config, model);
  const own = [...trained, deployForm(trained[0])].map(count);
  const published = figuresOf(model);
  // Some official training logs count the other RepVGGDW. It fuses to the same deploy form.
  const other = published.length === 0 ? [] : trainForms({ ...config, legacy: !config.legacy }, model).map(count);
  const figures = published.map((figure) =>
    auditFigure({ ...figure, model: name }, flavourOf(config), [...own, ...other]),
  );
  const rows = own.map(({ form, heads, flavour, nodes, cost: counts }): AuditRow => {
    const right = figures.flatMap(({ source, kind, printed, unit, fits: fitting }) =>
      fitting
        .filter((fit) => fit.form === form && fit.heads === heads && fit.flavour === flavour)
        .map(({ counting }): PublishedFit => ({ source, kind, printed, unit, counting })),
    );
    return { model: name, form, heads, flavour, resolution, ...counts, nodes, published: right };
  });
  return { rows, figures };
}

/**
 * Counts every form of each model for one image, and says which forms each published figure is right for. Builds no
 * weights.
 * @throws InputError where a model's resolution is too small for it
 */
export function audit(models: readonly Model[]): AuditReport {
  const reports = models.map(auditModel);
  return {
    rows: reports.flatMap(({ rows }) => rows),
    figures: reports.flatMap(({ figures }) => figures),
  };
}
