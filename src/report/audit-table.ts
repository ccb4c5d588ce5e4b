import type { AuditedFigure, AuditReport, AuditRow, Fit } from '../audit/audit.ts';
import type { ListedModel } from '../audit/models.ts';
import { grouped, wrap } from './text.ts';

const INDENT = '  ';

const COLUMNS = [15, 7, 13, 16, 14, 8] as const;

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

/** +38,112 */
function difference(from: number, to: number): string {
  return `${to < from ? '-' : '+'}${grouped(Math.abs(to - from))}`;
}

/** What each deploy form differs in from the train form with one head. */
function changes(oneHead: AuditRow, deploys: readonly AuditRow[]): readonly string[] {
  return deploys.map(({ form, parameters, macs, activations }) => {
    const counts = `MACs ${change(oneHead.macs, macs)}, activations ${change(oneHead.activations, activations)}`;
    return `From train to ${form}: parameters ${difference(oneHead.parameters, parameters)}, ${counts}.`;
  });
}

/** What fusing takes away, and how much of it is the second head. */
function savings(rows: readonly AuditRow[]): readonly string[] {
  const trained = rows.find(({ form }) => form === 'train');
  const oneHead = rows.find(({ form, heads }) => form === 'train' && heads === 1);
  const deploys = rows.filter(({ form }) => form !== 'train');
  const deploy = deploys.at(-1);
  if (trained === undefined || oneHead === undefined || deploy === undefined) return [];
  if (deploys.length > 1) return changes(oneHead, deploys);
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

/** What is said of a count that is not the plain one. */
const COUNTINGS: Readonly<Partial<Record<Fit['counting'], string>>> = {
  fvcore: ', BN counted too as fvcore does',
  macsWithNorms: ', BN counted too',
};

function fitName({ title, counting, count }: Fit): string {
  const how = COUNTINGS[counting] ?? '';
  return `${title}${how} (${grouped(count)})`;
}

/** One sentence about a figure that is not what a reader takes it for, or undefined where it is. */
function remark(figure: AuditedFigure, own: Fit['flavour']): string | undefined {
  const { assumed, assumedTitle, assumedCount, fits, kind, nearest, printed, source, unit } = figure;
  const asAssumed = fits.some(
    ({ form, heads, flavour, count }) =>
      form === assumed.form && heads === assumed.heads && flavour === own && count === assumedCount,
  );
  if (asAssumed) return undefined;
  const said = `${source}: ${unit === '' ? grouped(Number(printed)) : `${printed} ${unit}`} ${NOUNS[kind]}`;
  const taken = `${assumedTitle} has ${grouped(assumedCount)}`;
  if (fits.length === 0) {
    return `${said} fits no form; nearest is ${fitName(nearest)}.`;
  }
  const ours = fits.filter(({ flavour }) => flavour === own);
  const named = (ours.length > 0 ? ours : fits).map(fitName);
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

/** One line each, every column as wide as its widest cell; the last two are numbers. */
function alignedLines(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return column < row.length - 2 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join(' '),
  );
}

/** Networks that are told apart by the same traits, under one head line. */
function familyLines(models: readonly ListedModel[]): readonly string[] {
  const titles = Object.keys(models[0]?.traits ?? {});
  return alignedLines([
    ['model', ...titles, 'size', 'deploy'],
    ...models.map(({ name, traits, resolution, deployParameters }) => [
      name,
      ...Object.values(traits),
      String(resolution),
      grouped(deployParameters),
    ]),
  ]);
}

/** The published networks, a table of 80 columns for each family. */
export function modelsTable(models: readonly ListedModel[]): string {
  const families = [...new Set(models.map(({ config }) => config.family))];
  return [
    ...families.flatMap((family) => [...familyLines(models.filter(({ config }) => config.family === family)), '']),
    'heads: classification heads x classes, as trained; windows: their side in each',
    'stage; size: input height and width; deploy: parameters of the deploy form.',
  ].join('\n');
}
