/** `npm run docs`: writes the pages of docs/reference that are tables in the code: settings, problems, methods, accelerators. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorTable, methods, presets, queueCatalog, webhookEventTypes } from '#contracts';
import { shippedProfiles } from '#engine';
import { describeConfig } from '#platform/config';

const folder = join(import.meta.dirname, 'reference');
const generated = '<!-- Written by `npm run docs`; edit the code it comes from. -->';

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
const code = (text: string): string => (text === '' ? '' : `\`${text}\``);

function configurationPage(): string {
  const rows = describeConfig().map(({ key, type, default: preset, secret, description }) => [
    code(key),
    type === 'string' && secret ? 'string, secret' : type,
    code(preset),
    description,
  ]);
  return [
    '# Configuration',
    generated,
    'All settings are environment variables, read once at start. A wrong or unknown value stops the process; the message lists every fault.',
    table(['Variable', 'Type', 'Default', 'Meaning'], rows),
    '',
  ].join('\n\n');
}

function problemsPage(): string {
  const rows = Object.entries(errorTable).map(([name, { status, title, retryable }]) => [
    code(name),
    String(status),
    title,
    retryable ? 'yes' : 'no',
  ]);
  return [
    '# Problems',
    generated,
    'Errors are `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). `code` is stable and meant for programs; `detail` is meant for people. The same codes stand in `error.code` of a failed job; the status column is then without meaning.',
    table(['Code', 'HTTP status', 'Title', 'Can a retry help?'], rows),
    '',
  ].join('\n\n');
}

interface OptionSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, OptionSchema>>;
  readonly description?: string;
  /** Those of a tuple one by one. */
  readonly items?: OptionSchema | readonly OptionSchema[];
  readonly anyOf?: readonly OptionSchema[];
}

function typeOf(schema: OptionSchema): string {
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.anyOf) return schema.anyOf.map((branch) => branchOf(branch) ?? typeOf(branch)).join(' or ');
  const { items } = schema;
  if (schema.type !== 'array' || !items) return schema.type ?? '';
  return 'length' in items ? `[${items.map(typeOf).join(', ')}]` : `list of: ${typeOf(items)}`;
}

/** A branch that its `kind` or `name` tells from the others: that, and the fields that go with it. */
function branchOf({ properties = {} }: OptionSchema): string | null {
  const [tag, ...fields] = Object.entries(properties);
  if (!tag || !['kind', 'name'].includes(tag[0])) return null;
  const [field, { const: only, enum: several = [String(only)] }] = tag;
  return `{ ${[`${field}: ${several.map(code).join(', ')}`, ...fields.map(([name]) => name)].join('; ')} }`;
}

function methodsPage(): string {
  const sections = Object.entries(methods).map(([name, { title, description, needs, schema }]) => {
    const options = Object.entries((schema as { properties: Record<string, OptionSchema> }).properties).filter(([key]) => key !== 'method');
    const rows = options.map(([key, option]) => [code(key), typeOf(option), option.description ?? '']);
    const needed: readonly string[] = needs;
    return [
      `## ${code(name)}: ${title}`,
      description,
      ...(needed.length === 0 ? [] : [`Needs ${needed.join(' and ')}.`]),
      rows.length === 0 ? 'No options.' : table(['Option', 'Type', 'Meaning'], rows),
    ].join('\n\n');
  });
  return ['# Methods', generated, `Steps of a recipe. Presets: ${Object.keys(presets).map(code).join(', ')}.`, ...sections, ''].join(
    '\n\n',
  );
}

function acceleratorsPage(): string {
  const sections = shippedProfiles.map(({ name, title, source, buffers, words, scales, dataflow, picojoules }) => {
    const range = (widths: readonly number[]): string => (widths.length > 4 ? `${widths[0]} to ${widths.at(-1)}` : widths.join(', '));
    const rows = [
      ['bytes on the chip for weights', buffers.weight_bytes.toLocaleString('en-US')],
      ['bytes on the chip for maps', buffers.map_bytes.toLocaleString('en-US')],
      ['bits of a word of weights', range(words.weights)],
      ['bits of a word of maps', range(words.maps)],
      ['scales', scales === 'powers-of-two' ? 'powers of two' : 'any'],
      ['dataflow', `${dataflow.kind}${'keeps_maps' in dataflow && dataflow.keeps_maps ? ', maps stay where they fit' : ''}`],
      ['pJ per byte of memory', String(picojoules.dram_byte)],
      ['pJ per byte of buffers', String(picojoules.sram_byte)],
      ...picojoules.multiply
        .filter(({ bits }) => [2, 4, 8, 16].includes(bits))
        .map((entry) => [`pJ per multiplication, ${entry.bits} bit`, String(Number(entry.picojoules.toPrecision(3)))]),
    ];
    return [`## ${code(name)}: ${title}`, source, table(['Figure', 'Value'], rows)].join('\n\n');
  });
  return [
    '# Accelerators',
    generated,
    'The profiles that come with Lathe, for `"target": {"accelerator": NAME}` in a recipe and `lathe inspect MODEL --target NAME`. [How they are used](../guides/embedded.md).',
    ...sections,
    '',
  ].join('\n\n');
}

function eventsPage(): string {
  return [
    '# Events and queues',
    generated,
    `Webhook events: ${webhookEventTypes.map(code).join(', ')}.`,
    `Queues: ${Object.keys(queueCatalog).map(code).join(', ')}. A queue entry is a wake-up that carries ids; the database row is the truth.`,
    '',
  ].join('\n\n');
}

await mkdir(folder, { recursive: true });
await writeFile(join(folder, 'configuration.md'), configurationPage());
await writeFile(join(folder, 'problems.md'), problemsPage());
await writeFile(join(folder, 'methods.md'), methodsPage());
await writeFile(join(folder, 'events.md'), eventsPage());
await writeFile(join(folder, 'accelerators.md'), acceleratorsPage());
