import { isDeepStrictEqual } from 'node:util';
import { type Cost, cost } from '../interpreters/cost.ts';
import type { Model } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import { variants } from '../reference/variants.ts';
import { type CallOf, conventionOf, countBy } from './conventions.ts';
import { type BuiltForm, buildForms, buildTrain, type Flavour } from './forms.ts';
import {
  type Accuracy,
  type Figure,
  type FigureKind,
  type Form,
  figureValue,
  fits,
  publishedAccuracies,
  publishedFigures,
} from './published.ts';

/** Exact counts of a network, and what is published as MACs beside them. */
export interface Counts extends Cost {
  /** What fvcore calls flops (`conventions.ts`); null where no PyTorch code of the form exists. */
  readonly fvcore: number | null;
}

/** A way to count a form of the network under which a figure is right. */
export interface Fit extends Form {
  readonly flavour: Flavour;
  /** What a sentence calls the form. */
  readonly title: string;
  /** The count of {@link Counts} that fits: MACs are counted in two ways. */
  readonly counting: keyof Counts;
  /** The exact count. */
  readonly count: number;
}

/** A published figure that is right for a row. */
export interface PublishedFit {
  readonly source: string;
  readonly kind: FigureKind;
  readonly printed: string;
  readonly unit: Figure['unit'];
  readonly counting: keyof Counts;
}

/** One form of one network, counted for one image. */
export interface AuditRow extends Form, Counts {
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
const countings: Readonly<Record<FigureKind, readonly [keyof Counts, ...(keyof Counts)[]]>> = {
  parameters: ['parameters'],
  macs: ['macs', 'fvcore', 'macsWithNorms'],
  activations: ['activations'],
  initialisers: ['initialisers'],
};

/** A form of a model with its counts. */
interface Counted extends Form {
  readonly flavour: Flavour;
  readonly title: string;
  readonly nodes: number;
  readonly counts: Counts;
}

/** @param callOf how the original's code calls a node */
function count({ network, ...form }: BuiltForm, callOf: CallOf): Counted {
  const { layers, total } = cost(network);
  const [fvcore] = countBy([conventionOf('fvcore')], network, callOf);
  return { ...form, nodes: layers.length, counts: { ...total, fvcore: fvcore?.total ?? null } };
}

/** The published name of a config, if it has one, whatever its file is called. */
function publishedNameOf(config: Model['config']): string | undefined {
  return variants.find((published) => isDeepStrictEqual(published.config, config))?.name;
}

/** The accuracies published for each model, under the name that it is audited by. */
export function accuraciesOf(models: readonly Model[]): readonly Accuracy[] {
  return models.flatMap(({ name, config }) =>
    publishedAccuracies(publishedNameOf(config) ?? '').map((accuracy) => ({ ...accuracy, model: name })),
  );
}

/** The figures published for this config, under whatever name it is audited, as far as the resolution lets them. */
function figuresOf({ config, resolution }: Model): readonly Figure[] {
  const name = publishedNameOf(config);
  if (name === undefined) return [];
  return publishedFigures(name).filter(
    (figure) => figure.resolution === resolution || figure.kind === 'parameters' || figure.kind === 'initialisers',
  );
}

/** Holds one figure against every form, in every way of counting. */
function auditFigure(figure: Figure, own: Flavour, forms: readonly Counted[]): AuditedFigure {
  const [usual, ...others] = countings[figure.kind];
  const candidates = forms.flatMap(({ form, heads, flavour, title, counts }) =>
    // A counting that gives an earlier one's number says nothing more.
    [usual, ...others]
      .filter((counting, index, all) => all.findIndex((other) => counts[other] === counts[counting]) === index)
      .flatMap((counting): Fit[] => {
        const count = counts[counting];
        return count === null ? [] : [{ form, heads, flavour, title, counting, count }];
      }),
  );
  const { assumed } = figure;
  const taken = candidates.find(
    ({ form, heads, flavour, counting }) =>
      form === assumed.form && heads === assumed.heads && flavour === own && counting === usual,
  );
  if (taken === undefined) throw new Error(`${figure.model} has no ${assumed.form} form with ${assumed.heads} heads`);
  const distance = (fit: Fit) => Math.abs(fit.count - figureValue(figure));
  return {
    ...figure,
    assumedTitle: taken.title,
    assumedCount: taken.count,
    fits: candidates.filter((fit) => fits(figure, fit.count)),
    nearest: candidates.reduce((best, next) => (distance(next) < distance(best) ? next : best)),
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
  const { otherForms, callOf } = familyOf(config);
  const built = buildForms(model);
  const own = built.map((form) => count(form, callOf));
  const published = figuresOf(model);
  const others = published.length === 0 ? [] : otherForms(config).map((form) => count(buildTrain(model, form), callOf));
  const candidates = [...publishable(own), ...others];
  const figures = published.map((figure) => auditFigure({ ...figure, model: name }, built[0].flavour, candidates));
  const rows = own.map(({ form, heads, flavour, nodes, counts }): AuditRow => {
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
