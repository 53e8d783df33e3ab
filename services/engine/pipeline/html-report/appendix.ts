/** How the artifact came about: calibration, recipe, seconds by phase, outputs, environment, digests. */
import type { CompressionReport } from '../report.js';
import { asCosine, asCount, asDecibels, asNumber, asSeconds, figure } from './figures.js';
import { html, type Insertable, type Markup, shortName } from './markup.js';
import { bar, rowChart } from './row-chart.js';

export function calibrationSection({ calibration }: CompressionReport): Markup | null {
  if (!calibration) return null;
  const { method, samples, samples_given, tensors, seconds, from_cache } = calibration;
  return html`<section><h2>Calibration</h2><p>Ranges by <b>${method}</b> from ${figure('calibration.samples', samples, asCount)} of ${figure('calibration.samples_given', samples_given, asCount)} samples, ${figure('calibration.tensors', tensors, asCount)} tensors, ${figure('calibration.seconds', seconds, asSeconds)}${from_cache ? ', taken from the cache' : null}.</p></section>`;
}

export function secondsSection({ seconds }: CompressionReport): Markup | null {
  const phases = Object.entries(seconds);
  if (phases.length === 0) return null;
  const most = Math.max(...phases.map(([, value]) => value), Number.MIN_VALUE);
  const rows = phases.map(([phase, value]) => ({
    name: phase,
    marks: bar((100 * value) / most, 'after'),
    figures: figure(`seconds.${phase}`, value, asSeconds),
  }));
  return html`<section><h2>Where the time went</h2>${rowChart({ label: 'Wall seconds by phase', rows })}</section>`;
}

const OUTPUTS_MAX = 50;

export function outputsSection({ fidelity }: CompressionReport): Markup | null {
  if (fidelity.outputs.length < 2) return null;
  const shown = fidelity.outputs.slice(0, OUTPUTS_MAX);
  const omitted =
    fidelity.outputs.length > shown.length ? html`<p class="note">The first ${shown.length} of ${fidelity.outputs.length}.</p>` : null;
  return html`<section><h2>Fidelity by output</h2>${omitted}<div class="scroll"><table><thead><tr><th>output</th><th>SQNR</th><th>cosine</th><th>largest error</th></tr></thead><tbody>${shown.map(
    ({ name, sqnr_db, cosine, max_abs_error }, index) => html`<tr><th scope="row">${shortName(name, 60)}</th>
<td>${figure(`fidelity.outputs[${index}].sqnr_db`, sqnr_db, asDecibels)}</td><td>${figure(`fidelity.outputs[${index}].cosine`, cosine, asCosine)}</td><td>${figure(`fidelity.outputs[${index}].max_abs_error`, max_abs_error, asNumber)}</td></tr>`,
  )}</tbody></table></div></section>`;
}

const RECIPE_LENGTH = 20_000;

export function recipeSection({ recipe }: CompressionReport): Markup {
  const text = JSON.stringify(recipe, null, 2);
  const shown = text.length > RECIPE_LENGTH ? `${text.slice(0, RECIPE_LENGTH)}\n… report.json has the rest` : text;
  return html`<section><h2>Recipe</h2><pre>${shown}</pre></section>`;
}

export function environmentSection({ environment, source, artifact, schema_version }: CompressionReport): Markup {
  const facts: readonly (readonly [string, Insertable])[] = [
    ['processor', environment.cpu],
    ['instruction set', `${environment.isa} (${environment.flags.join(', ')})`],
    [
      'threads, cores',
      [figure('environment.threads', environment.threads, asCount), ', ', figure('environment.cores', environment.cores, asCount)],
    ],
    ['runtime', environment.runtime],
    ['lathe, node', `${environment.lathe}, ${environment.node}`],
    ['system', environment.os],
    ['source SHA-256', html`<code>${source.sha256}</code>`],
    ['artifact SHA-256', html`<code>${artifact.sha256}</code>`],
    ['schema of report.json', figure('schema_version', schema_version, asCount)],
  ];
  return html`<section><h2>Environment</h2><dl>${facts.map(([term, fact]) => html`<dt>${term}</dt><dd>${fact}</dd>`)}</dl></section>`;
}
