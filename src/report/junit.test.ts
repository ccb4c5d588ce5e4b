import { parseHTML } from 'linkedom';
import { expect, test } from 'vitest';
import { sampleReport } from '../../properties/sample-report.ts';
import { baselineOf, judge } from './gate.ts';
import { junitXml } from './junit.ts';

function parsed(xml: string) {
  return parseHTML(`<body>${xml.replace(/<\?xml.*?\?>/, '')}</body>`).document;
}

test('has a case for each verdict, ratio, failure and judgement, and counts them', () => {
  const report = sampleReport();
  const gate = judge(report, baselineOf(report, undefined));
  const document = parsed(junitXml(report, gate));
  const root = document.querySelector('testsuites');
  const cases = document.querySelectorAll('testcase');
  expect(cases.length).toBe(3 + 2 + 1 + 2);
  expect(root?.getAttribute('tests')).toBe(String(cases.length));
  expect(root?.getAttribute('failures')).toBe('2');
  expect(document.querySelectorAll('failure').length).toBe(2);
  expect([...document.querySelectorAll('testsuite')].map((suite) => suite.getAttribute('name'))).toEqual([
    'verification of repvit_m0_9',
    'timing of repvit_m0_9',
    'baseline, ratios',
  ]);
});

test('an inconclusive verification is an error, and no pass', () => {
  const report = sampleReport();
  const [first, ...rest] = report.verification;
  const xml = junitXml({ ...report, verification: [{ ...first!, verdict: 'inconclusive' }, ...rest] });
  expect(parsed(xml).querySelectorAll('error').length).toBe(1);
});

test('text cannot break the XML', () => {
  const report = sampleReport();
  const [failure] = report.failures;
  const message = `a "quote" & <tag> 'x'\u0000\u001b[31m\nline`;
  const xml = junitXml({ ...report, failures: [{ ...failure!, message }] });
  expect(xml).toContain('message="a &quot;quote&quot; &amp; &lt;tag&gt; &apos;x&apos;[31m&#10;line"');
});
