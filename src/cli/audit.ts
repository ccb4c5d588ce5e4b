import { Command, InvalidArgumentError, Option } from 'commander';
import type { ConventionName } from '../audit/conventions.ts';
import type { Form } from '../audit/published.ts';
import { collect, parseSize } from './options.ts';

interface AuditOptions {
  readonly model?: readonly string[];
  readonly size?: number;
  readonly convention?: readonly string[];
  readonly layers?: boolean;
  readonly form?: Form['form'];
  readonly json?: boolean;
}

function parseSquare(text: string): number {
  const { height, width } = parseSize(text);
  if (height !== width) throw new InvalidArgumentError('The audit counts square inputs; give one number.');
  return height;
}

const EXAMPLES = `
Examples:
  fuseproof audit --model repvit_m0_9 repvit_m1_1
  fuseproof audit --model my-network.json --size 192 --json
  fuseproof audit --model repvit_m0_9 --convention fvcore,thop
  fuseproof audit --model repvit_m0_9 --layers --form deploy
  fuseproof audit exported.onnx`;

/** The conventions of these names, in the order given. */
async function chosenConventions(names: readonly string[]) {
  const [{ conventionNames, conventionOf, conventions }, { InputError }] = await Promise.all([
    import('../audit/conventions.ts'),
    import('../network/errors.ts'),
  ]);
  if (names.includes('all')) return conventions;
  const isName = (name: string): name is ConventionName => conventionNames.some((known) => known === name);
  return [...new Set(names)].map((name) => {
    if (isName(name)) return conventionOf(name);
    throw new InputError(`--convention ${name}: no tool of that name; give ${conventionNames.join(', ')} or all`);
  });
}

async function printOnnx(files: readonly string[], { json, ...others }: AuditOptions): Promise<void> {
  const [{ auditOnnx }, { onnxTable }, { print, printJson }, { InputError }] = await Promise.all([
    import('../audit/onnx-file.ts'),
    import('../report/onnx-table.ts'),
    import('./output.ts'),
    import('../network/errors.ts'),
  ]);
  const [option] = Object.keys(others);
  if (option !== undefined)
    throw new InputError(`--${option} is of networks, not of ONNX files; give one or the other`);
  const audits = [];
  for (const file of files) audits.push(await auditOnnx(file));
  if (json) printJson(audits);
  else print(onnxTable(audits));
}

async function runAudit(files: readonly string[], options: AuditOptions): Promise<void> {
  if (files.length > 0) return printOnnx(files, options);
  const { model, size, convention, layers, form, json } = options;
  const [{ resolveModels }, { print, printJson }, { withoutOptimiser }, { InputError }] = await Promise.all([
    import('../reference/config.ts'),
    import('./output.ts'),
    import('./without-optimiser.ts'),
    import('../network/errors.ts'),
  ]);
  if (form !== undefined && !layers) throw new InputError('--form chooses among the tables of --layers; give both');
  const resolved = await resolveModels(model);
  const models = size === undefined ? resolved : resolved.map((one) => ({ ...one, resolution: size }));
  const conventions = await chosenConventions(convention ?? []);
  if (layers) {
    const { auditLayers } = await import('../audit/layers.ts');
    const reports = withoutOptimiser(() => auditLayers(models, form, conventions));
    if (reports.length === 0) {
      throw new InputError(`--form ${form}: none of ${models.map(({ name }) => name).join(', ')} has it`);
    }
    if (json) printJson(reports);
    else print((await import('../report/layer-table.ts')).layerTable(reports));
  } else if (conventions.length > 0) {
    const { auditConventions } = await import('../audit/conventions.ts');
    const rows = withoutOptimiser(() => auditConventions(models, conventions));
    if (json) printJson(rows);
    else print((await import('../report/convention-table.ts')).conventionTable(conventions, rows));
  } else {
    const { audit } = await import('../audit/audit.ts');
    const report = withoutOptimiser(() => audit(models));
    if (json) printJson(report);
    else print((await import('../report/audit-table.ts')).auditTable(report));
  }
}

/** `fuseproof audit` */
export function auditCommand(): Command {
  return new Command('audit')
    .description('count parameters, MACs and activations of every form, and hold published figures against them')
    .argument('[files...]', 'ONNX files: count what they store')
    .option('-m, --model <names...>', 'published names, config files (.json), or all (default: all)', collect)
    .option(
      '--size <pixels>',
      'height and width of the input (default: the size it was published at, or one that fits from 224 on)',
      parseSquare,
    )
    .option(
      '--convention <tools...>',
      'count as fvcore, ptflops, ptflops-aten, thop, torchinfo or onnx does, or as all of them, and say why that differs',
      collect,
    )
    .option('--layers', 'every layer by itself')
    .addOption(
      new Option('--form <form>', 'with --layers, this form only').choices([
        'train',
        'deploy-official',
        'deploy',
      ] satisfies Form['form'][]),
    )
    .option('--json', 'print the counts as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runAudit);
}
