import type { AuditedFigure, AuditReport, AuditRow, Fit } from '../audit/audit.ts';
import type { ListedModel } from '../audit/models.ts';
import { grouped, wrap } from './text.ts';

const INDENT = '  ';

const COLUMNS = [8, 7, 13, 16, 14, 8] as const;

function tableLine(cells: readonly string[]): string {
  const padded = cells.map((cell, column) =>
    column === 0 ? cell.padEnd(COLUMNS[column] ?? 0) : cell.padStart(COLUMNS[column] ?? 0),
  );
  return `${INDENT}${padded.join('')}`;
}

function rowLine({ form, heads, parameters, macs, activations, nodes }: AuditRow): string {
  return tableLine([form, String(heads), grouped(parameters), grouped(macs), grouped(activations), grouped(nodes)]);
}

/** Change in per cent, from the first to the second. */
function change(from: number, to: number): string {
  const percent = (100 * (to - from)) / from;
  return `${percent > 0 ? '+' : ''}${percent.toFixed(2)} %`;
}

/** What fusing takes away, and how much of it is the second head. */
function savings(rows: readonly AuditRow[]): readonly string[] {
  const trained = rows.find(({ form }) => form === 'train');
  const oneHead = rows.find(({ form, heads }) => form === 'train' && heads === 1);
  const deploy = rows.find(({ form }) => form === 'deploy');
  if (trained === undefined || oneHead === undefined || deploy === undefined) return [];
  const branches = grouped(oneHead.parameters - deploy.parameters);
  const parts =
    trained.heads === 2
      ? `: ${grouped(trained.parameters - oneHead.parameters)} of the second head, ${branches} of branches and BN`
      : ' of branches and BN';
  return [
    `Fusing removes ${grouped(trained.parameters - deploy.parameters)} parameters${parts}.`,
    `From one head to deploy: MACs ${change(oneHead.macs, deploy.macs)}, activations ${change(oneHead.activations, deploy.activations)}.`,
  ];
}

const NOUNS: Readonly<Record<AuditedFigure['kind'], string>> = {
  parameters: 'parameters',
  macs: 'MACs',
  activations: 'activations',
  initialisers: 'ONNX initialisers',
};

function formName({ form, heads }: Pick<Fit, 'form' | 'heads'>): string {
  if (form === 'deploy') return 'deploy';
  return heads === 2 ? 'train with two heads' : 'train with one head';
}

function fitName(fit: Fit, own: Fit['flavour']): string {
  const flavour = fit.flavour === own ? '' : `, ${fit.flavour} RepVGGDW`;
  const counting = fit.counting === 'fvcore' ? ', BN counted too as fvcore does' : '';
  return `${formName(fit)}${flavour}${counting} (${grouped(fit.count)})`;
}

/** One sentence about a figure that is not what a reader takes it for, or undefined where it is. */
function remark(figure: AuditedFigure, own: Fit['flavour']): string | undefined {
  const { assumed, assumedCount, fits, kind, nearest, printed, source, unit } = figure;
  const asAssumed = fits.some(
    ({ form, heads, flavour, count }) =>
      form === assumed.form && heads === assumed.heads && flavour === own && count === assumedCount,
  );
  if (asAssumed) return undefined;
  const said = `${source}: ${unit === '' ? grouped(Number(printed)) : `${printed} ${unit}`} ${NOUNS[kind]}`;
  const taken = `${formName(assumed)} has ${grouped(assumedCount)}`;
  if (fits.length === 0) {
    return `${said} fits no form; nearest is ${fitName(nearest, own)}.`;
  }
  const ours = fits.filter(({ flavour }) => flavour === own);
  const named = (ours.length > 0 ? ours : fits).map((fit) => fitName(fit, own));
  return `${said}: that is ${named.join(', or ')}; ${taken}.`;
}

function modelBlock(model: string, report: AuditReport): string {
  const rows = report.rows.filter((row) => row.model === model);
  const figures = report.figures.filter((figure) => figure.model === model);
  const resolution = rows[0]?.resolution;
  const own = rows[0]?.flavour;
  const remarks = own === undefined ? [] : figures.flatMap((figure) => remark(figure, own) ?? []);
  const agreed = figures.length - remarks.length;
  const verdict =
    figures.length === 0
      ? 'No published counts to compare with.'
      : `${agreed} of ${figures.length} published figures are what they seem${remarks.length > 0 ? '; the others:' : '.'}`;
  return [
    `${model} at ${resolution}x${resolution}`,
    tableLine(['form', 'heads', 'parameters', 'MACs', 'activations', 'nodes']),
    ...rows.map(rowLine),
    ...[...savings(rows), verdict, ...remarks.map((text) => `- ${text}`)].map((text) =>
      wrap(text, INDENT, INDENT + INDENT),
    ),
  ].join('\n');
}

/**
 * The audit as text for a terminal of 80 columns: for each model its forms with their exact counts, what fusing removes,
 * and a sentence for each published figure that is not what a reader would take it for.
 */
export function auditTable(report: AuditReport): string {
  const models = [...new Set(report.rows.map(({ model }) => model))];
  return [
    ...models.map((model) => `${modelBlock(model, report)}\n`),
    wrap('MACs: multiply-accumulates of convolutions and linear layers for one image; all else counts 0.', '', INDENT),
    'Activations: elements that convolutions and linear layers put out.',
  ].join('\n');
}

const MODEL_COLUMNS = [21, 16, 10, 9, 8, 5, 11] as const;

/** The published networks as a table of 80 columns. */
export function modelsTable(models: readonly ListedModel[]): string {
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column < 4 ? cell.padEnd(MODEL_COLUMNS[column] ?? 0) : cell.padStart(MODEL_COLUMNS[column] ?? 0),
      )
      .join('');
  return [
    line(['model', 'widths', 'depths', 'RepVGGDW', 'heads', 'size', 'deploy']),
    ...models.map(({ name, config, resolution, deployParameters }) =>
      line([
        name,
        config.embed_dim.join(','),
        config.depth.join(','),
        config.legacy ? 'legacy' : 'current',
        `${config.distillation ? 2 : 1}x${config.num_classes}`,
        String(resolution),
        grouped(deployParameters),
      ]),
    ),
    '',
    'heads: classification heads x classes, as trained; size: input height and width;',
    'deploy: parameters of the deploy form.',
  ].join('\n');
}
