/** What was done to the nodes: counts by method; the nodes left alone by reason, collapsed. */
import type { NodeChange } from '../../method.js';
import type { CompressionReport } from '../report.js';
import { plural } from './figures.js';
import { html, type Markup, shortName } from './markup.js';

const GROUPS_MAX = 60;
const NAMES_MAX = 40;

interface Group {
  readonly by: string;
  readonly reason: string;
  readonly nodes: readonly NodeChange[];
}

function grouped(nodes: readonly NodeChange[], keyOf: (node: NodeChange) => string): NodeChange[][] {
  const groups = new Map<string, NodeChange[]>();
  for (const node of nodes) {
    const key = keyOf(node);
    const group = groups.get(key);
    if (group) group.push(node);
    else groups.set(key, [node]);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length);
}

export function nodeLists({ nodes, fusion }: CompressionReport): Markup | null {
  if (nodes.length === 0 && !fusion) return null;
  return html`<section><h2>Nodes</h2>${actions(nodes)}${leftAlone(nodes)}${operators(fusion)}</section>`;
}

const ACTIONS_MAX = 40;

function actions(nodes: readonly NodeChange[]): Markup | null {
  if (nodes.length === 0) return null;
  const groups = grouped(nodes, ({ by, action }) => JSON.stringify([by, action])).slice(0, ACTIONS_MAX);
  const words = groups.map((group) => `${shortName(group[0]?.by ?? '', 60)} ${group[0]?.action} ${plural(group.length, 'node')}`);
  return html`<p>${words.join(' · ')}</p>`;
}

function leftAlone(nodes: readonly NodeChange[]): Markup | null {
  const left = nodes.filter(({ action }) => action === 'left');
  if (left.length === 0) return null;
  const groups: Group[] = grouped(left, ({ by, reason }) => JSON.stringify([by, reason])).map((group) => ({
    by: group[0]?.by ?? '',
    reason: group[0]?.reason ?? '',
    nodes: group,
  }));
  const more = groups.length - GROUPS_MAX;
  return html`<details><summary>${plural(left.length, 'node')} left alone, and why</summary><div class="scroll"><table><thead><tr><th>nodes</th><th class="words">why</th><th class="words">which</th></tr></thead><tbody>${groups
    .slice(0, GROUPS_MAX)
    .map(groupRow)}</tbody></table></div>${more > 0 ? html`<p>${plural(more, 'more reason')} in report.json.</p>` : null}</details>`;
}

function groupRow({ by, reason, nodes }: Group): Markup {
  const names = nodes.slice(0, NAMES_MAX).map(({ node, op_type }) => `${shortName(node, 60)} (${shortName(op_type, 40)})`);
  const more = nodes.length - names.length;
  return html`<tr><td>${plural(nodes.length, 'node')}</td><td class="words">${shortName(reason, 300)} <span class="note">${shortName(by, 60)}</span></td><td class="words">${names.join(', ')}${more > 0 ? ` and ${more} more` : null}</td></tr>
`;
}

function operators(fusion: CompressionReport['fusion']): Markup | null {
  if (!fusion) return null;
  const counts = Object.entries(fusion.operators).sort(([, a], [, b]) => b - a);
  const shown = counts.slice(0, GROUPS_MAX).map(([name, count]) => `${count} × ${shortName(name, 60)}`);
  const unfused = fusion.unfused.slice(0, NAMES_MAX).map(({ node, op_type }) => `${shortName(node, 60)} (${op_type})`);
  const more = fusion.unfused.length - unfused.length;
  return html`<details><summary>What the runtime made of the artifact: ${plural(counts.length, 'kind')} of operators</summary><p>${shown.join(', ')}</p>${
    unfused.length > 0
      ? html`<p>Computed in float on weights that are dequantized at every run: ${unfused.join(', ')}${more > 0 ? ` and ${more} more` : null}</p>`
      : null
  }</details>`;
}
