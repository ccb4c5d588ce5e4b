import { describe, expect, test } from 'vitest';
import { judge, type MutationReport, toMarkdown } from '../scripts/mutation.js';

const FILE = 'src/fused/rules/sum.ts';
const SOURCE = [
  'export function sum(values) {',
  '  for (let i = 0; i < values.length; i++) total += values[i];',
  '}',
].join('\n');

const LESS = { start: { line: 2, column: 19 }, end: { line: 2, column: 36 } };
const BODY = { start: { line: 1, column: 29 }, end: { line: 3, column: 2 } };

const mutant = (status: string, replacement: string, location = LESS) => ({ status, replacement, location });

const report = (...mutants: MutationReport['files'][string]['mutants']): MutationReport => ({
  files: { [FILE]: { source: SOURCE, mutants } },
});

const line = 'for (let i = 0; i < values.length; i++) total += values[i];';
const explanation = { file: FILE, line, mutant: 'i < values.length => i <= values.length', why: 'adds nothing' };

describe('judge', () => {
  test('counts each mutant once, whatever became of it', () => {
    const { files, survivors, problems } = judge(
      report(
        mutant('Killed', 'i >= values.length'),
        mutant('Killed', '{}', BODY),
        mutant('Timeout', 'true'),
        mutant('RuntimeError', 'false'),
        mutant('Survived', 'i <= values.length'),
        mutant('NoCoverage', 'i > values.length'),
      ),
      [],
    );
    expect(files).toEqual([{ file: FILE, killed: 3, timedOut: 1, survived: 2 }]);
    expect(survivors.map((survivor) => survivor.mutant)).toEqual([
      'i < values.length => i <= values.length',
      'i < values.length => i > values.length',
    ]);
    expect(problems).toEqual([
      `${FILE}:2:19 survives unexplained: i < values.length => i <= values.length\n    in ${line}`,
      `${FILE}:2:19 survives unexplained: i < values.length => i > values.length\n    in ${line}`,
    ]);
  });

  test('takes an explained survivor', () => {
    const judgement = judge(report(mutant('Survived', 'i <= values.length')), [explanation]);
    expect(judgement.problems).toEqual([]);
    expect(judgement.survivors).toMatchObject([explanation]);
  });

  test('takes one explanation of several mutants of a line, and knows each of them', () => {
    const both = { ...explanation, mutant: [explanation.mutant, 'i < values.length => true'] };
    const survived = [mutant('Survived', 'i <= values.length'), mutant('Survived', 'true')];
    const { problems, survivors } = judge(report(...survived), [both]);
    expect(problems).toEqual([]);
    expect(survivors.map(({ why }) => why)).toEqual([explanation.why, explanation.why]);
    expect(judge(report(survived[0]!, mutant('Killed', 'true')), [both]).problems).toEqual([
      `scripts/mutation-explained.json: i < values.length => true of ${FILE} is killed by now: take it out\n    in ${line}`,
    ]);
  });

  test('lists survivors from top to bottom', () => {
    const late = mutant('Survived', 'true');
    const { survivors } = judge(report(late, mutant('Survived', '{}', BODY), mutant('Survived', 'false')), []);
    expect(survivors.map((each) => each.mutant)).toEqual([
      '{ for (let i = 0; i < values.length; i++) total += values[i]; } => {}',
      'i < values.length => false',
      'i < values.length => true',
    ]);
  });

  test('finds it on another line, too', () => {
    const { start, end } = LESS;
    const below = { start: { ...start, line: 3 }, end: { ...end, line: 3 } };
    const moved = report(mutant('Survived', 'i <= values.length', below));
    const files = { [FILE]: { ...moved.files[FILE]!, source: `// a comment\n${SOURCE}` } };
    expect(judge({ files }, [explanation]).problems).toEqual([]);
  });

  test('knows a mutant of several lines by its first one', () => {
    const [survivor] = judge(report(mutant('Survived', '{}', BODY)), []).survivors;
    expect(survivor).toMatchObject({
      line: 'export function sum(values) {',
      mutant: '{ for (let i = 0; i < values.length; i++) total += values[i]; } => {}',
    });
  });

  test('refuses the explanation of a mutant that is killed, or that is not there', () => {
    const gone = { ...explanation, mutant: 'a => b' };
    expect(judge(report(mutant('Killed', 'i <= values.length')), [explanation, gone]).problems).toEqual([
      `scripts/mutation-explained.json: ${explanation.mutant} of ${FILE} is killed by now: take it out\n    in ${line}`,
      `scripts/mutation-explained.json: a => b of ${FILE} is no mutant: take it out\n    in ${line}`,
    ]);
  });
});

describe('the report', () => {
  const text = toMarkdown(
    judge(report(mutant('Killed', 'false'), mutant('Timeout', 'true'), mutant('Survived', 'i <= values.length || i')), [
      { ...explanation, mutant: 'i < values.length => i <= values.length || i' },
    ]),
    2.6,
  );

  test('says how many are detected', () => {
    expect(text).toContain(`3 mutants of the fusion rules and of the verification in 3 minutes;\n66.7 % are detected`);
    expect(text).toContain(`| ${FILE} | 1 | 1 | 1 | 66.7 % |\n| all | 1 | 1 | 1 | 66.7 % |`);
  });

  test('explains each survivor in a table that its code does not break', () => {
    expect(text).toContain(`| \`${line}\` | \`i < values.length => i <= values.length \\|\\| i\` | adds nothing |`);
  });

  test('has one row for the mutants of a line that one reason explains', () => {
    const survived = [
      mutant('Survived', 'i <= values.length'),
      mutant('Survived', 'true'),
      mutant('Survived', 'false'),
    ];
    const why = { ...explanation, mutant: ['i < values.length => i <= values.length', 'i < values.length => true'] };
    const rows = toMarkdown(judge(report(...survived), [why]), 1).split('\n');
    expect(rows.filter((row) => row.includes(line))).toEqual([
      `| ${FILE} | \`${line}\` | \`i < values.length => false\` | **unexplained** |`,
      `| ${FILE} | \`${line}\` | \`i < values.length => i <= values.length\`<br>\`i < values.length => true\` | adds nothing |`,
    ]);
  });
});
