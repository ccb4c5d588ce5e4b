import { isDeepStrictEqual } from 'node:util';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Cost, cost } from '../interpreters/cost.ts';
import type { Network } from '../network/ops.ts';
import type { Model } from '../reference/config.ts';
import { familyOf, type ModelConfig } from '../reference/families.ts';
import type { TrainForm } from '../reference/family.ts';
import { variants } from '../reference/variants.ts';
import { type Figure, type FigureKind, type Form, figureValue, fits, publishedFigures } from './published.ts';

/** The family's kind of block, where it has several: RepVGGDW with an outer BN (`current`), or with two ConvNorms (`legacy`). */
type Flavour = TrainForm<ModelConfig>['flavour'];

/** A way to count a form of the network under which a figure is right. */
export interface Fit extends Form {
  readonly flavour: Flavour;
  /** What a sentence calls the form. */
  readonly title: string;
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
  /** What a sentence calls the assumed form. */
  readonly assumedTitle: string;
  /** What the assumed form really counts, under the kind's own counting. */
  readonly assumedCount: number;
  /** Empty where the figure is right for no form. */
  readonly fits: readonly Fit[];
  /** The count nearest to the figure, whether it fits or not. */
  readonly nearest: Fit;
}

export interface AuditReport {
  /**
   * For each model: train form with two heads where it has them, train form with one, the original's deploy form where that
   * leaves batch norms, complete deploy form.
   */
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

/** A form of a model with its counts. */
interface Counted extends Form {
  readonly flavour: Flavour;
  readonly title: string;
  readonly nodes: number;
  readonly cost: Cost;
}

function build({ name, resolution }: Model, config: ModelConfig): Network {
  return familyOf(config).build(config, { batch: 1, height: resolution, width: resolution }, name);
}

function countTrain({ heads, flavour, title }: TrainForm<ModelConfig>, network: Network): Counted {
  const { layers, total } = cost(network);
  return { form: 'train', heads, flavour, title, nodes: layers.length, cost: total };
}

/** What a train form fuses to: one head, whether it has one or two. */
function countDeploy({ flavour }: TrainForm<ModelConfig>, network: Network): readonly Counted[] {
  return deployForms(network).map((form) => {
    const { layers, total } = cost(fuseTo(form, network).network);
    return { form: form.name, heads: 1, flavour, title: form.name, nodes: layers.length, cost: total };
  });
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
  const counts = forms.flatMap(({ form, heads, flavour, title, cost: counts }) =>
    // A counting that gives the usual one's number says nothing more.
    [usual, ...others.filter((counting) => counts[counting] !== counts[usual])].map(
      (counting): Fit => ({ form, heads, flavour, title, counting, count: counts[counting] }),
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
    assumedTitle: taken.title,
    assumedCount: taken.count,
    fits: counts.filter((fit) => fits(figure, fit.count)),
    nearest: counts.reduce((best, next) => (distance(next) < distance(best) ? next : best)),
  };
}

/**
 * The forms that a publisher can have counted. Where the original's deploy form leaves batch norms, the complete one is
 * fuseproof's own, and no figure describes it.
 */
function publishable(forms: readonly Counted[]): readonly Counted[] {
  const official = forms.some(({ form }) => form === 'deploy-official');
  return official ? forms.filter(({ form }) => form !== 'deploy') : forms;
}

function auditModel(model: Model): AuditReport {
  const { config, name, resolution } = model;
  const { ownForms, otherForms } = familyOf(config);
  const count = (form: TrainForm<ModelConfig>) => countTrain(form, build(model, form.config));
  const [first, ...simpler] = ownForms(config);
  const reference = build(model, first.config);
  const own = [countTrain(first, reference), ...simpler.map(count), ...countDeploy(first, reference)];
  const published = figuresOf(model);
  const others = published.length === 0 ? [] : otherForms(config).map(count);
  const candidates = [...publishable(own), ...others];
  const figures = published.map((figure) => auditFigure({ ...figure, model: name }, first.flavour, candidates));
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
 * @throws InputError where a model's resolution does not fit it
 */
export function audit(models: readonly Model[]): AuditReport {
  const reports = models.map(auditModel);
  return {
    rows: reports.flatMap(({ rows }) => rows),
    figures: reports.flatMap(({ figures }) => figures),
  };
}
