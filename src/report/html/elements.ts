/** The few pieces of HTML that the page is made of: text in, text out. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text that can stand anywhere in HTML, in an attribute too. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** A column of a table. */
export interface Column {
  readonly title: string;
  /** Numbers are right-aligned, in figures of one width. */
  readonly isNumber?: boolean;
}

/** A cell: its text, and a class that colours it beside what it says. */
export type Cell = string | { readonly text: string; readonly className: string };

function cellHtml(cell: Cell, column: Column | undefined, isHeading: boolean): string {
  const { text, className } = typeof cell === 'string' ? { text: cell, className: '' } : cell;
  const classes = [column?.isNumber ? 'number' : '', className].filter((name) => name !== '').join(' ');
  const attributes = classes === '' ? '' : ` class="${classes}"`;
  return isHeading
    ? `<th scope="row"${attributes}>${escapeHtml(text)}</th>`
    : `<td${attributes}>${escapeHtml(text)}</td>`;
}

/** A table whose first column heads its rows, in a box that scrolls sideways by itself. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  const head = columns
    .map(({ title, isNumber }) => `<th scope="col"${isNumber ? ' class="number"' : ''}>${escapeHtml(title)}</th>`)
    .join('');
  const body = rows
    .map((row) => `<tr>${row.map((cell, index) => cellHtml(cell, columns[index], index === 0)).join('')}</tr>`)
    .join('\n');
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escapeHtml(caption)}">
<table><caption>${escapeHtml(caption)}</caption><thead><tr>${head}</tr></thead><tbody>
${body}
</tbody></table></div>`;
}

/** A part of the page that opens when it is asked to, and always in print. */
export function details(summary: string, content: string): string {
  return `<details><summary>${escapeHtml(summary)}</summary>\n${content}\n</details>`;
}

/** Heads what belongs to one network or one machine. */
export function subheading(text: string): string {
  return `<h3>${escapeHtml(text)}</h3>`;
}

export function paragraph(text: string): string {
  return `<p>${escapeHtml(text)}</p>`;
}

/** What a series' colour means. */
export interface Key {
  readonly label: string;
  /** A CSS colour. */
  readonly colour: string;
  /** A line as a bound is drawn, or a band; a dot by default. */
  readonly mark?: 'line' | 'band' | 'ring';
}

export function legend(keys: readonly Key[]): string {
  const items = keys.map(
    ({ label, colour, mark = 'dot' }) =>
      `<li><span class="key ${mark}" style="--key:${colour}" aria-hidden="true"></span>${escapeHtml(label)}</li>`,
  );
  return `<ul class="legend">${items.join('')}</ul>`;
}

/** A chart in two widths, of which one is shown. The summary says in words what it shows; a shorter caption may stand below. */
export function figure(
  summary: string,
  chart: { readonly wide: string; readonly narrow: string },
  keys: readonly Key[],
  caption: string = summary,
): string {
  const label = escapeHtml(summary);
  const svg = (name: 'wide' | 'narrow') =>
    `<div class="chart ${name}" role="img" aria-label="${label}">${chart[name]}</div>`;
  return `<figure>${keys.length === 0 ? '' : legend(keys)}${svg('wide')}${svg('narrow')}${caption === '' ? '' : `<figcaption>${escapeHtml(caption)}</figcaption>`}</figure>`;
}

/** A section of the page. */
export interface Section {
  /** Where links lead. */
  readonly id: string;
  readonly title: string;
  readonly html: string;
}
