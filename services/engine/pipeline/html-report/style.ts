/** The style of the page: light and dark, a phone, paper. */
import { Markup } from './markup.js';

export const style = new Markup(`
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5c6878; --paper: #f6f7f9; --card: #ffffff; --line: #dde2e8;
  --before: #98a4b3; --after: #2266d3; --shade: #2266d31f; --good: #137a43; --bad: #b3261e; --warn: #8a5300; --warn-paper: #fff4dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --paper: #12161c; --card: #1b212a; --line: #313a46;
  --before: #8693a5; --after: #6aa2ff; --shade: #6aa2ff2e; --good: #5fd08f; --bad: #ff8a80; --warn: #ffc463; --warn-paper: #2e2614; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .1rem 0 .5rem; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; } h3 { font-size: .9rem; margin: 0 0 .25rem; color: var(--soft); font-weight: 600; }
p { margin: .25rem 0; } ul { margin: 0; padding-left: 1.2rem; } .note { color: var(--soft); font-size: .87rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; margin: 1rem 0; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 99px; padding: 0 .7rem; font-weight: 600; font-size: .87rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.warnings { background: var(--warn-paper); border-color: var(--warn); } .warnings h2 { color: var(--warn); } li, td, th, dd { overflow-wrap: anywhere; } data, .good, .bad { white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; background: none; border: 0; padding: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; }
.card h2 { font-size: .82rem; font-weight: 600; color: var(--soft); margin: 0; } .card p { font-size: .87rem; margin: 0; color: var(--soft); }
.card .main { font-size: 1.65rem; font-weight: 650; color: var(--ink); line-height: 1.3; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: 0; } dt { color: var(--soft); } dd { margin: 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem 2rem; margin-bottom: .8rem; }
.row { display: grid; grid-template-columns: minmax(5rem, 15rem) 1fr minmax(7.5rem, max-content); gap: .7rem; align-items: center; font-size: .85rem; }
.columns .row { grid-template-columns: 4rem 1fr 4.5rem; } .chart .row:nth-child(even):not(.axis) { background: color-mix(in srgb, var(--line) 25%, transparent); }
.name, figcaption { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate; } .figures { text-align: right; white-space: nowrap; }
svg { display: block; width: 100%; } svg text { font-size: 11px; fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; } .span { stroke: var(--before); stroke-width: 2; }
rect.before, path.before { fill: var(--before); } rect.after, path.after { fill: var(--after); } .shade { fill: var(--shade); }
.dot { stroke-width: 2; } .dot.before { fill: var(--card); stroke: var(--before); } .dot.after { fill: var(--after); stroke: var(--after); }
.legend { font-size: .85rem; color: var(--soft); } .key { display: inline-block; width: .75rem; height: .75rem; border-radius: 50%; margin: 0 .2rem 0 .6rem; }
.key.before { background: var(--before); margin-left: 0; } .key.after { background: var(--after); }
.multiples { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem 1.5rem; margin-top: .8rem; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; font-size: .85rem; } .plot { margin-top: .3rem; font-size: .75rem; color: var(--soft); }
.plot svg { height: 3rem; border-bottom: 1px solid var(--line); } .ends { display: flex; justify-content: space-between; }
.curve svg { height: 9rem; margin-top: .3rem; border: solid var(--line); border-width: 0 0 1px 1px; } .curve .ends { font-size: .75rem; color: var(--soft); }
.line { fill: none; stroke: var(--after); stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke; } .curve .grid { vector-effect: non-scaling-stroke; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; } th:first-child, .words { text-align: left; } tbody th { font-weight: 500; }
.layers td { white-space: nowrap; } .layers td.words { white-space: normal; overflow-wrap: normal; } .layers td.words:nth-child(4) { min-width: 10rem; }
.layers tbody th { min-width: 14rem; max-width: 18rem; } .layers thead th { position: sticky; top: 0; background: var(--card); }
details { margin-top: .6rem; } summary { cursor: pointer; font-weight: 600; }
pre { margin: 0; overflow-x: auto; font-size: .82rem; } code { font-size: .8rem; overflow-wrap: anywhere; } footer { text-align: center; }
@media (max-width: 40rem) { h1 { font-size: 1.45rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  .cards { grid-template-columns: 1fr 1fr; gap: .6rem; } .card .main { font-size: 1.3rem; }
  .chart .row { grid-template-columns: 1fr 7.5rem; gap: 0 .5rem; font-size: .75rem; } .chart .row > :first-child { grid-column: 1 / -1; }
  .columns .row { grid-template-columns: 3.5rem 1fr 4.5rem; } .columns .row > :first-child { grid-column: auto; } }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc; --before: #98a4b3; --after: #2266d3; --shade: #2266d31f; }
  body { padding: 0; max-width: none; font-size: 11px; print-color-adjust: exact; -webkit-print-color-adjust: exact; } section, figure, .row, tr { break-inside: avoid; }
  section:has(table), section:has(.chart), section:has(figure) { break-inside: auto; } h2 { break-after: avoid; } .scroll { overflow: visible; } table { font-size: 8px; } th, td { padding: .15rem .3rem; } }
`);
