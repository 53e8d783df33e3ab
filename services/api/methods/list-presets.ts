/** GET /v1/presets: named recipes; a preset is nothing but such a document. */
import Type from 'typebox';
import { CompressionRecipe, presets } from '#contracts';
import { listOf } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';

const PresetResource = Type.Object({ object: Type.Literal('preset'), name: Type.String(), recipe: CompressionRecipe });

export function listPresets(app: Api): void {
  const data = Object.entries(presets).map(([name, recipe]) => ({ object: 'preset' as const, name, recipe: recipe as CompressionRecipe }));
  const schema = { tags: ['methods'], summary: 'List the presets', response: { 200: listOf(PresetResource), ...problemResponses } };
  app.get('/v1/presets', { config: { scope: 'any' }, schema }, () => ({
    object: 'list' as const,
    data,
    has_more: false,
    next_cursor: null,
  }));
}
