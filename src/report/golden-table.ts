import type { GoldenReport, Row } from '../golden/check.ts';
import type { FolderReport } from '../golden/check-all.ts';
import type { ComparedTensor, GoldenDifference, Picture, TensorDifference } from '../golden/diff.ts';
import { formatShape, position } from '../network/tensor.ts';
import { grouped, wrap } from './text.ts';

/** Columns of the check's table: the longest name has 30 characters, and `inconclusive` ends at the 80th. */
const NAME = 31;
const SIZE = 8;
const COMPARED = 12;
const FIGURE = 8;

function row(name: string, size: string, [compared = '', ...figures]: readonly string[], verdict: string): string {
  const columns = [compared.padStart(COMPARED), ...figures.map((text) => text.padStart(FIGURE))].join('');
  return `${name.padEnd(NAME)}${size.padEnd(SIZE)}${columns} ${verdict}`;
}

/** The head of the table that {@link goldenLine} adds lines to. */
export function goldenHead(): string {
  return row('golden', 'input', ['compared', 'float64', 'engines'], 'verdict');
}

function worst(rows: readonly Row[], figure: (row: Row) => number | undefined): number | undefined {
  const figures = rows.flatMap((row) => figure(row) ?? []);
  return figures.length === 0 ? undefined : Math.max(...figures);
}

/** One golden: elements compared, the oracle's largest relative error, the engines' largest error over a region's bound. */
export function goldenLine({ name, input, verdict, rows }: GoldenReport): string {
  // Of a network that cannot be built, or a file that cannot be read, it is not known.
  const size = input.length === 0 ? '-' : `${input[2]}x${input[3]}`;
  const compared = rows.reduce((sum, row) => sum + row.compared, 0);
  const oracle = worst(rows, ({ by, relative }) => (by === 'float64' ? relative : undefined));
  const engines = worst(rows, ({ what, worstRatio }) => (what === 'regions' ? worstRatio : undefined));
  const figures = [
    grouped(compared),
    oracle === undefined ? '-' : oracle.toExponential(1),
    engines === undefined ? '-' : `${(100 * engines).toPrecision(2)} %`,
  ];
  return row(name, size, figures, verdict);
}

/** Problems of one golden that are shown; the first says where to look. */
const SHOWN = 4;

export function problemLines(problems: readonly string[]): string {
  const lines = problems.slice(0, SHOWN).map((problem) => wrap(problem, '  ', '    '));
  if (problems.length > SHOWN) lines.push(`  and ${problems.length - SHOWN} more; --json lists all`);
  return lines.join('\n');
}

/** What the whole check came to. */
export function folderLines(
  { verdict, files, asListed, problems, pending, goldens }: FolderReport,
  seconds: number,
): string {
  const lines: string[] = [];
  if (problems.length > 0) lines.push('files:', ...problems.map((problem) => wrap(problem, '  ', '    ')));
  const passed = goldens.filter((golden) => golden.verdict === 'pass').length;
  lines.push(
    `${passed} of ${goldens.length} goldens pass; ${asListed} of ${files} files are as listed: ${verdict}, in ${seconds.toFixed(0)} s`,
  );
  if (pending.length > 0) {
    lines.push(
      wrap(
        `${pending.length} pending: ${pending.slice(0, SHOWN).join(', ')}${pending.length > SHOWN ? ', ...' : ''}. "fuseproof golden diff" shows what changes; then golden accept or golden reject`,
      ),
    );
  }
  return lines.join('\n');
}

/** Tensors of a file in the table of its differences. */
const TENSORS_SHOWN = 40;

/** What a pending golden changes, as text for a terminal of 80 columns. */
export function differenceText({ name, kind, file, facts, tensors, lines }: GoldenDifference): string {
  const out = [wrap(`${name}: ${kind} (${file})`)];
  for (const { field, before, after } of facts) out.push(wrap(`${field}: ${before} -> ${after}`, '  ', '    '));
  out.push(...lines.slice(0, TENSORS_SHOWN).map((line) => wrap(line, '  ', '    ')));
  if (lines.length > TENSORS_SHOWN) out.push(`  and ${lines.length - TENSORS_SHOWN} more lines`);
  const different = tensors.filter((tensor) => tensor.kind !== 'same');
  const same = tensors.length - different.length;
  if (different.some(isChanged)) {
    out.push(`  ${'tensor'.padEnd(TENSOR)}${'differ'.padStart(20)}${'largest'.padStart(12)}${'relative'.padStart(12)}`);
  }
  out.push(...different.slice(0, TENSORS_SHOWN).map(tensorLine));
  if (different.length > TENSORS_SHOWN) out.push(`  and ${different.length - TENSORS_SHOWN} more tensors`);
  if (same > 0) out.push(`  ${same} ${same === 1 ? 'tensor is' : 'tensors are'} the same`);
  const first = different.find(isChanged);
  if (first !== undefined) out.push(...worstLines(first));
  const pictured = different.filter(isChanged).find(({ picture }) => picture !== undefined);
  if (pictured?.picture !== undefined) out.push(...pictureLines(pictured.key, pictured.picture));
  return out.join('\n');
}

function isChanged(tensor: TensorDifference): tensor is ComparedTensor {
  return tensor.kind === 'changed';
}

/** The table's first column; a name that is longer has a line of its own. */
const TENSOR = 30;

function tensorName(key: string): string {
  return key.length <= TENSOR ? `  ${key.padEnd(TENSOR)}` : `  ${key}\n${' '.repeat(TENSOR + 2)}`;
}

function tensorLine(tensor: TensorDifference): string {
  if (tensor.kind === 'reshaped') {
    return `${tensorName(tensor.key)} ${formatShape(tensor.before)} -> ${formatShape(tensor.shape)}`;
  }
  if (!('elements' in tensor)) return `${tensorName(tensor.key)} ${tensor.kind}, ${formatShape(tensor.shape)}`;
  const { key, differing, elements, maxAbsolute, relative } = tensor;
  const differ = `${grouped(differing)} of ${grouped(elements)}`;
  return `${tensorName(key)}${differ.padStart(20)}${maxAbsolute.toExponential(2).padStart(12)}${relative.toExponential(1).padStart(12)}`;
}

/** Of the first tensor that differs: what comes later may only follow from it. */
function worstLines({ key, worst: elements, shape }: ComparedTensor): string[] {
  return [
    wrap(`the worst elements of ${key}:`, '  ', '    '),
    ...elements.flatMap(({ index, accepted, pending }) => [`    ${position(index, shape)}: ${accepted} -> ${pending}`]),
  ];
}

/** Shades of a cell, the darkest for the largest difference; each is a decade. */
const SHADES = ['██', '▓▓', '▒▒', '░░'] as const;
const LITTLE = '..';
const NOTHING = '  ';

/** A difference as shades, row by row, framed. */
export function pictureLines(key: string, { image, rows, columns, values }: Picture): string[] {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, value);
  const shade = (value: number) => {
    if (value === 0) return NOTHING;
    return SHADES[Math.floor(Math.log10(largest / value))] ?? LITTLE;
  };
  const frame = `    +${'--'.repeat(columns)}+`;
  const lines = Array.from({ length: rows }, (_, y) => {
    const cells = Array.from({ length: columns }, (_, x) => shade(values[y * columns + x]!));
    return `    |${cells.join('')}|`;
  });
  return [
    wrap(`${key}, image ${image}, ${rows}x${columns}: the largest difference over all channels`, '  ', '    '),
    frame,
    ...lines,
    frame,
    wrap(
      `${SHADES[0]} up to ${largest.toExponential(1)}, ${SHADES[1]} a tenth of it, ${SHADES[2]} a hundredth, ${SHADES[3]} a thousandth, ${LITTLE} less; blank: equal`,
      '    ',
    ),
  ];
}
