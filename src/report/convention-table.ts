import type { Convention, ConventionCount, ConventionRow } from '../audit/conventions.ts';
import { grouped, wrap } from './text.ts';

const COLUMNS = [17, 7, 16, 18, 14] as const;

function line(cells: readonly string[]): string {
  const padded = cells.map((cell, column) => {
    const width = COLUMNS[column] ?? 0;
    return column === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
  return `    ${padded.join('')}`.trimEnd();
}

function percent(from: number, to: number): string {
  const change = (100 * (to - from)) / from;
  return `${change < 0 ? '' : '+'}${change.toFixed(2)} %`;
}

const NAMES: Readonly<Record<Convention['beside'], string>> = { macs: 'MACs', parameters: 'parameters' };

function rowLines({ beside }: Convention, row: ConventionRow, { total, terms }: ConventionCount): readonly string[] {
  const plain = row[beside];
  const cells = [row.form, String(row.heads), grouped(plain)];
  if (total === null) return [line([...cells, '-', ''])];
  const sum = terms.map(({ what, count }) => `${grouped(count)} (${what})`).join(' + ');
  return [
    line([...cells, grouped(total), percent(plain, total)]),
    ...(terms.length > 1 ? [wrap(`= ${sum}`, '      ', '        ')] : []),
  ];
}

function conventionBlock(convention: Convention, rows: readonly ConventionRow[]): readonly string[] {
  const { name, tool, unit, why, beside } = convention;
  const counted = rows.flatMap((row) => {
    const count = row.counts.find(({ convention: counting }) => counting === name);
    return count === undefined ? [] : [{ row, count }];
  });
  return [
    wrap(`${tool}: ${unit}`, '  ', '    '),
    line(['form', 'heads', NAMES[beside], name, 'difference']),
    ...counted.flatMap(({ row, count }) => rowLines(convention, row, count)),
    wrap(why, '    ', '    '),
    ...(counted.some(({ count }) => count.total === null)
      ? [wrap('-: only fuseproof makes this form, so there is no PyTorch code that the tool could count.', '    ')]
      : []),
    '',
  ];
}

/** Each tool's own total for every form, as text for a terminal of 80 columns, with what makes it differ from the MACs. */
export function conventionTable(conventions: readonly Convention[], rows: readonly ConventionRow[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  return models
    .flatMap((model) => {
      const own = rows.filter((row) => row.model === model);
      const resolution = own[0]?.resolution;
      return [
        `${model} at ${resolution}x${resolution}, one image`,
        ...conventions.flatMap((convention) => conventionBlock(convention, own)),
      ];
    })
    .join('\n');
}
