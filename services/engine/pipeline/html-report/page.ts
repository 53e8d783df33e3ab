/** The page as a document: its head, and the sections in the order in which a person reads. */
import type { CompressionReport } from '../report.js';
import { calibrationSection, environmentSection, outputsSection, recipeSection, secondsSection } from './appendix.js';
import { comparison, gateTable } from './comparison.js';
import { cards, header, validity, warningList } from './headline.js';
import { histograms } from './histograms.js';
import { sqnrChart, timeChart } from './layer-charts.js';
import { layerTable } from './layer-table.js';
import { learningCurves } from './learning-curves.js';
import { html, type Markup } from './markup.js';
import { nodeLists } from './node-lists.js';
import { style } from './style.js';
import { mapCodingSection, trafficSection } from './traffic-section.js';

/** Nothing is loaded and nothing runs, whatever a name in the model says. */
const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

export function page(report: CompressionReport): Markup {
  const layers = report.layers.map((layer, index) => ({ layer, index }));
  const sections = [
    header(report),
    warningList(report),
    cards(report),
    validity(report),
    comparison(report),
    gateTable(report),
    trafficSection(report),
    mapCodingSection(report),
    learningCurves(report),
    sqnrChart(layers),
    timeChart(layers),
    layerTable(layers),
    histograms(layers),
    outputsSection(report),
    nodeLists(report),
    calibrationSection(report),
    recipeSection(report),
    secondsSection(report),
    environmentSection(report),
  ];
  return html`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8" />
<meta http-equiv="Content-Security-Policy" content="${policy}" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="color-scheme" content="light dark" />
<title>Lathe compression report</title>
<style>${style}</style></head>
<body>
${sections}
<footer class="note">Every figure is one of report.json beside this page; point at it to see which.</footer>
</body></html>
`;
}
