import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseHTML } from 'linkedom';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { sampleReport, setting } from '../../../properties/sample-report.ts';
import { accuraciesOf, audit } from '../../audit/audit.ts';
import { figureValue } from '../../audit/published.ts';
import { resolveModel } from '../../reference/config.ts';
import type { FaultReportRow, Profile, Report, Throughput } from '../types.ts';
import { validateReport } from '../validate.ts';
import { htmlReport } from './page.ts';

/** A report with something for every section. */
async function fullReport(): Promise<Report> {
  const model = await resolveModel('repvit_m0_9');
  const { rows, figures } = audit([model]);
  const base = sampleReport();
  const regions = ['stem.conv1', 'stem.act1', 'stages.0.blocks.0.token_mixer'].map((region, place) => ({
    region,
    place,
    error: place === 1 ? 0 : 1e-7,
    bound: 1e-6,
  }));
  const throughput = [1, 2, 4, 8].map(
    (streams): Throughput => ({
      ...setting,
      engine: 'onnxruntime',
      arm: 'deploy',
      streams,
      seconds: 2,
      inferences: 100 * streams,
      imagesPerSecond: 50 * streams,
      latencyMs: 20,
      p95Ms: 25,
      checkedOutputs: streams,
    }),
  );
  const profile: Profile = {
    ...setting,
    engine: 'onnxruntime',
    arm: 'deploy',
    inferences: 20,
    totalMs: 3,
    peakGflops: 90,
    nodes: [
      { name: 'stem.conv1', op: 'Conv', milliseconds: 2, share: 2 / 3, macs: 8_128_512, gflops: 8.1, peakShare: 0.09 },
      { name: 'stem.act1', op: 'Gelu', milliseconds: 1, share: 1 / 3, macs: null, gflops: null, peakShare: null },
    ],
  };
  const kill = { tier: 'basis', calledFor: true, draws: 2, killed: 2, margin: 3.25 };
  const fault: FaultReportRow = {
    id: 'bn-eps-tf',
    title: 'a title with <b>markup</b> & "quotes"',
    group: 'batch norm',
    killed: true,
    hidden: 'all',
    kills: [kill],
  };
  const survivor: FaultReportRow = {
    ...fault,
    id: 'other',
    killed: false,
    kills: [{ ...kill, killed: 0, margin: null }],
  };
  return {
    ...base,
    audit: rows.map((row) => ({ ...row, published: [...row.published] })),
    figures: figures.map((figure) => {
      const count = ({ title, counting, count: n }: (typeof figure)['nearest']) => ({
        form: title,
        counting,
        count: n,
      });
      const { model: name, source, kind, printed, unit, assumedTitle, assumedCount, fits, nearest } = figure;
      const value = figureValue(figure);
      const said = { model: name, source, kind, printed, unit, value, assumed: assumedTitle, assumedCount };
      return { ...said, fits: fits.map(count), nearest: count(nearest) };
    }),
    accuracies: [...accuraciesOf([model])],
    throughput,
    profiles: [profile],
    verification: base.verification.map((row) => ({
      ...row,
      tiers: [row.tiers[0]!, ...row.tiers.slice(1).map((tier) => ({ ...tier, regions }))],
    })),
    killMatrix: { seed: 1, draws: 2, killed: 1, tiers: ['basis', 'runtime'], faults: [fault, survivor] },
  };
}

let report: Report;
let html: string;
beforeAll(async () => {
  report = await validateReport(await fullReport());
  html = await htmlReport([{ label: 'Some CPU', report }]);
});

const SECTIONS = [
  'speed',
  'throughput',
  'pareto',
  'profile',
  'counts',
  'figures',
  'verification',
  'errors',
  'faults',
  'environment',
];

describe('htmlReport', () => {
  it('has every section, and a link to each', () => {
    const { document } = parseHTML(html);
    expect([...document.querySelectorAll('h2')].map(({ id }) => id)).toEqual(SECTIONS);
    expect([...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))).toEqual(
      SECTIONS.map((id) => `#${id}`),
    );
  });

  it('leaves out what there is nothing to show of', async () => {
    const page = await htmlReport([{ label: 'x', report: sampleReport() }]);
    const { document } = parseHTML(page);
    const ids = [...document.querySelectorAll('h2')].map(({ id }) => id);
    expect(ids).toEqual(['speed', 'counts', 'verification', 'faults', 'environment']);
    expect(document.querySelector('#faults')?.parentElement?.textContent).toContain('Not in this report');
  });

  it('says each chart in words, and has a table behind it', () => {
    const { document } = parseHTML(html);
    const figures = [...document.querySelectorAll('figure')];
    expect(figures.length).toBe(7);
    for (const figure of figures) {
      const charts = [...figure.querySelectorAll('[role=img]')];
      expect(charts.map((chart) => chart.querySelectorAll('svg').length)).toEqual([1, 1]);
      for (const chart of charts) expect(chart.getAttribute('aria-label')?.length).toBeGreaterThan(20);
      expect(figure.nextElementSibling?.tagName).toBe('DETAILS');
      expect(figure.nextElementSibling?.querySelectorAll('tbody tr').length).toBeGreaterThan(0);
    }
  });

  it('is the same to the byte each time', async () => {
    expect(await htmlReport([{ label: 'Some CPU', report }])).toBe(html);
  });

  it('has no script, and no address that a browser would fetch', () => {
    const { document } = parseHTML(html);
    expect(document.querySelectorAll('script, link, img, iframe, object, embed, base, form').length).toBe(0);
    expect(document.querySelector('meta[http-equiv=Content-Security-Policy]')?.getAttribute('content')).toBe(
      "default-src 'none'; style-src 'unsafe-inline'",
    );
    expect(html).not.toMatch(/(src|href|srcset|action|data)\s*=\s*["']?(https?:)?\/\//i);
    expect(html).not.toMatch(/url\(|@import/i);
  });

  it('shows text as text', () => {
    expect(html).toContain('a title with &lt;b&gt;markup&lt;/b&gt; &amp; &quot;quotes&quot;');
    expect(html).not.toContain('<b>markup');
  });

  it('shows names as text wherever they stand', async () => {
    const markup = '<meta http-equiv="refresh" content="0;url=https://example.org">';
    const renamed = JSON.stringify(report).replaceAll('repvit_m0_9', JSON.stringify(`m${markup}`).slice(1, -1));
    const evil = await validateReport(JSON.parse(renamed));
    const page = await htmlReport([
      { label: `a${markup}`, report: evil },
      { label: 'b', report },
    ]);
    expect(page).toContain('<h3>m&lt;meta http-equiv=&quot;refresh&quot;');
    expect(page).not.toContain('<meta http-equiv="refresh"');
  });

  it('does not put two sizes of a network in one row of machines', async () => {
    const speedups = report.speedups.map((row) => ({ ...row, resolution: 128 }));
    const page = await htmlReport([
      { label: 'First', report },
      { label: 'Second', report: { ...report, speedups } },
    ]);
    const rows = [...parseHTML(page).document.querySelectorAll('#speed ~ details tbody tr')];
    const cells = rows.map((row) => [...row.children].map((cell) => cell.textContent));
    expect(cells.length).toBe(2 * report.speedups.length);
    expect(cells[0]).toEqual(['onnxruntime at 224x224 / train form', '1.100 (1.089 to 1.127)', '-']);
  });

  it('has a column for each machine', async () => {
    const page = await htmlReport([
      { label: 'First', report },
      { label: 'Second', report },
    ]);
    const { document } = parseHTML(page);
    const heads = [...document.querySelectorAll('#environment ~ .scroll th[scope=col]')].map(
      (cell) => cell.textContent,
    );
    expect(heads).toEqual(['what', 'First', 'Second']);
    expect(document.querySelector('#speed')?.parentElement?.textContent).toContain('Second');
  });
});

/** A Chromium of the system: nothing is downloaded for a test. */
function findChromium(): string | undefined {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((path) => existsSync(path));
}

const chromium = findChromium();
if (chromium === undefined) {
  process.stderr.write('skipped: the page in a browser, for there is no Chromium on the PATH\n');
}

describe.skipIf(chromium === undefined)('the page in Chromium', () => {
  let browser: Browser;
  let folder: string;
  let address: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fuseproof-page-'));
    const file = join(folder, 'page.html');
    await writeFile(file, html);
    address = pathToFileURL(file).href;
    const { chromium: browsers } = await import('playwright-core');
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'];
    browser = await browsers.launch({ executablePath: chromium!, args });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** The page, and what it asked the network for beside itself and what the console complained of. */
  async function opened(options: Parameters<Browser['newPage']>[0]): Promise<{ page: Page; unwanted: string[] }> {
    const page = await browser.newPage(options);
    const unwanted: string[] = [];
    page.on('request', (request) => {
      if (request.url() !== address) unwanted.push(request.url());
    });
    page.on('console', (message) => unwanted.push(message.text()));
    page.on('pageerror', (error) => unwanted.push(error.message));
    await page.goto(address);
    return { page, unwanted };
  }

  test.each([
    ['a desk', 1280, 'light', 'wide'],
    ['a phone', 390, 'dark', 'narrow'],
  ] as const)(
    'on %s of %d pixels it fetches nothing, fits, and shows one width of each chart',
    async (_, width, colorScheme, shown) => {
      const { page, unwanted } = await opened({ viewport: { width, height: 844 }, colorScheme });
      expect(unwanted).toEqual([]);
      const found = await page.evaluate(
        `({
          overflow: document.documentElement.scrollWidth - window.innerWidth,
          visible: [...document.querySelectorAll('.chart')].filter((chart) => chart.offsetParent !== null).map((chart) => chart.className),
          background: getComputedStyle(document.body).backgroundColor,
          smallest: Math.min(...[...document.querySelectorAll('.chart svg')].filter((svg) => svg.getBoundingClientRect().width > 0).map((svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)),
          outside: [...document.querySelectorAll('.chart.${shown} text')].filter((text) => { const box = text.getBoundingClientRect(); return box.left < 0 || box.right > window.innerWidth + 1; }).map((text) => text.textContent),
        })`,
      );
      expect(found).toEqual({
        overflow: 0,
        visible: Array(7).fill(`chart ${shown}`),
        background: colorScheme === 'dark' ? 'rgb(13, 17, 23)' : 'rgb(255, 255, 255)',
        // The charts are shown at the size they were drawn for, so their text is legible.
        smallest: 1,
        outside: [],
      });
      await page.close();
    },
    60_000,
  );

  test('in print every table is there, light, and at the width of paper', async () => {
    const { page } = await opened({ viewport: { width: 700, height: 900 }, colorScheme: 'dark' });
    await page.emulateMedia({ media: 'print' });
    const found = await page.evaluate(`({
      background: getComputedStyle(document.body).backgroundColor,
      hidden: [...document.querySelectorAll('table')].filter((table) => table.getBoundingClientRect().height === 0).length,
      tables: document.querySelectorAll('table').length > 8,
      wide: [...document.querySelectorAll('.chart.wide')].every((chart) => chart.offsetParent !== null),
    })`);
    expect(found).toEqual({ background: 'rgb(255, 255, 255)', hidden: 0, tables: true, wide: true });
    await page.close();
  }, 60_000);

  test('a screen reader finds the charts by name and the tables by caption', async () => {
    const { page } = await opened({ viewport: { width: 1280, height: 900 } });
    expect(await page.getByRole('img').count()).toBe(7);
    await page.getByText('Table', { exact: true }).first().click();
    expect(await page.getByRole('table', { name: 'repvit_m0_9: what was timed' }).count()).toBe(1);
    await page.close();
  }, 60_000);
});
