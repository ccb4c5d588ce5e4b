/** The page's style: light and dark by what the reader's system asks for, on a desk, on a phone and on paper. */
const LIGHT = `
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --tint: #f6f8fa; --link: #0550ae;
  --good: #116329; --good-tint: #dafbe1; --bad: #a40e26; --bad-tint: #ffebe9; --unclear: #7d4e00; --unclear-tint: #fff8c5;
  --series-0: #0b62c4; --series-1: #c2410c; --series-2: #0f766e; --series-3: #7c3aed; --series-4: #a16207; --series-5: #be185d; --series-6: #3f6212; --series-7: #475569;`;
const DARK = `
  --paper: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --line: #30363d; --tint: #161b22; --link: #79b8ff;
  --good: #56d364; --good-tint: #12261e; --bad: #ff8a80; --bad-tint: #2d1517; --unclear: #e3b341; --unclear-tint: #272115;
  --series-0: #6cb6ff; --series-1: #ff9b5e; --series-2: #4fd1c5; --series-3: #c4a7ff; --series-4: #e5c454; --series-5: #ff8fc7; --series-6: #a3d65c; --series-7: #a8b3c2;`;

export const STYLE = `
:root { color-scheme: light dark;${LIGHT} }
@media (prefers-color-scheme: dark) { :root {${DARK} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 944px; margin: 0 auto; padding: 0 32px; }
header { padding-top: 32px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 22px; line-height: 1.3; margin: 56px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 17px; margin: 28px 0 4px; overflow-wrap: anywhere; }
p { max-width: 72ch; margin: 8px 0; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; margin: 16px 0; }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 6px; font-weight: 600; border: 1px solid currentColor; }
.good { color: var(--good); background: var(--good-tint); }
.bad { color: var(--bad); background: var(--bad-tint); }
.unclear { color: var(--unclear); background: var(--unclear-tint); }
.soft { color: var(--soft); }
.answers { padding-left: 20px; }
.answers li { margin: 4px 0; }
figure { margin: 12px 0; }
figcaption { color: var(--soft); font-size: 14px; max-width: 80ch; }
.chart { color: var(--ink); }
.chart svg { display: block; max-width: 100%; height: auto; overflow: visible; font-family: inherit; }
.chart svg text { white-space: pre; }
.narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; padding: 0; margin: 8px 0; font-size: 14px; }
.key { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 50%; background: var(--key); vertical-align: -1px; }
.key.ring { background: none; border: 2px solid var(--key); }
.key.band { border-radius: 2px; opacity: 0.35; width: 18px; }
.key.line { border-radius: 0; height: 3px; width: 18px; vertical-align: 4px; }
.scroll { overflow-x: auto; margin: 8px 0; }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-size: 14px; line-height: 1.35; }
caption { text-align: left; color: var(--soft); padding: 4px 0; }
th, td { padding: 4px 12px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.good, td.bad, td.unclear { padding-left: 6px; padding-right: 6px; }
.matrix td { text-align: center; padding: 3px 6px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.matrix th { padding-right: 8px; }
.matrix .title { display: block; min-width: 17em; }
.matrix .group th { padding-top: 14px; color: var(--soft); }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--link); }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { color: var(--soft); font-size: 14px; padding-top: 24px; padding-bottom: 48px; }
@media (max-width: 700px) {
  main, header, footer { padding-left: 22px; padding-right: 22px; }
  h1 { font-size: 24px; }
  h2 { margin-top: 40px; }
  .wide { display: none; }
  .narrow { display: block; }
  .matrix .title { display: none; }
}
@media print {
  :root {${LIGHT} }
  body { font-size: 11pt; }
  main, header, footer { max-width: none; padding: 0; }
  nav, summary { display: none; }
  .wide { display: block; }
  .narrow { display: none; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  .number { white-space: normal; }
  th, td { overflow-wrap: anywhere; padding-right: 6px; }
  .matrix .title { display: block; min-width: 0; }
  thead { display: table-header-group; }
  tr, figure, .answers li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}`;
