/** report.html: says what report.json says, whatever the names in a model are and however many layers it has. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shippedProfile, type Traffic } from '../../../../services/engine/accelerators/index.js';
import type { Target } from '../../../../services/engine/method.js';
import { exactnessOf } from '../../../../services/engine/pipeline/html-report/exactness.js';
import { renderHtmlReport } from '../../../../services/engine/pipeline/html-report.js';
import type { CompressionReport } from '../../../../services/engine/pipeline/report.js';
import { sampleLayer, sampleReport, sampleTraining } from '../../../support/sample-report.js';

interface Element {
  readonly tag: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly text: string;
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

function unescapeText(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => entities[name] ?? '');
}

/** Strict as XML: every element is closed, every attribute quoted and unique, no stray `<` or `&`. Throws otherwise. */
function parse(page: string): Element[] {
  const token = /<!DOCTYPE html>|<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z0-9:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/y;
  const elements: Element[] = [];
  const open: { tag: string; attributes: Map<string, string>; text: string }[] = [];
  while (token.lastIndex < page.length) {
    const at = token.lastIndex;
    const found = token.exec(page);
    if (!found) throw new Error(`not well-formed: ${page.slice(at, at + 80)}`);
    const [, closing, tag, attributeText = '', selfClosing, text] = found;
    if (text !== undefined) {
      if (open.at(-1)?.tag !== 'style' && /&(?!(amp|lt|gt|quot|#39);)/.test(text)) throw new Error(`stray & in ${text}`);
      for (const element of open) element.text += unescapeText(text);
    } else if (closing) {
      const last = open.pop();
      if (!last || last.tag !== tag) throw new Error(`</${tag}> closes <${last?.tag}>`);
      elements.push(last);
    } else if (tag) {
      const pairs = [...attributeText.matchAll(/([a-zA-Z0-9:-]+)="([^"]*)"/g)].map((match): [string, string] => [
        match[1] ?? '',
        unescapeText(match[2] ?? ''),
      ]);
      const element = { tag, attributes: new Map(pairs), text: '' };
      if (element.attributes.size !== pairs.length) throw new Error(`<${tag}> has an attribute twice`);
      if (selfClosing) elements.push(element);
      else open.push(element);
    }
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)?.tag}> is not closed`);
  return elements;
}

function valueAt(report: CompressionReport, path: string): unknown {
  const steps = path.split(/[.[\]]+/).filter((step) => step !== '');
  return steps.reduce<unknown>(
    (value, step) => (typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined),
    report,
  );
}

const figuresOf = (page: string) => parse(page).filter(({ tag }) => tag === 'data');

/** The number at the start of a printed figure, in the unit of report.json. */
function printed(text: string): number {
  const scales: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9, '%': 0.01, µs: 1e-3 };
  const [, number = '', unit = ''] = /^([-−\d.,e+]+)\s*(\S*)/.exec(text) ?? [];
  return Number(number.replaceAll(',', '').replace('−', '-')) * (scales[unit] ?? 1);
}

test('every figure is the one that report.json has at the place it names, to the digits that are printed', () => {
  const report: CompressionReport = JSON.parse(JSON.stringify(sampleReport({ training: [sampleTraining()] })));
  const figures = figuresOf(renderHtmlReport(report));
  expect(figures.length).toBeGreaterThan(200);
  for (const { attributes, text } of figures) {
    const path = attributes.get('title') ?? '';
    const expected = valueAt(report, path);
    expect(Number(attributes.get('value')), path).toBe(expected);
    const microseconds = path.endsWith('_us') ? 1e3 : 1;
    const shown = printed(text) * microseconds;
    expect(Math.abs(shown - Number(expected)), `${path}: ${text}`).toBeLessThanOrEqual(0.0051 * Math.abs(Number(expected)) + 5.1e-5);
  }
  const shown = new Set(figures.map(({ attributes }) => attributes.get('title')));
  const headline = ['source.bytes', 'artifact.bytes', 'size_ratio', 'source.latency_ms', 'artifact.latency_ms', 'speedup'];
  const others = ['fidelity.sqnr_db', 'fidelity.top1_agreement', 'artifact.metrics.top1', 'gate.checks[0].limit', 'layers[3].sqnr_db'];
  for (const path of [...headline, ...others, 'calibration.samples', 'seconds.static-int8', 'training[0].curve[59].accuracy'])
    expect(shown, path).toContain(path);
});

/** One convolution on an accelerator; `share` of the bytes of the source. */
function sampleTraffic(share: number): Traffic {
  const figures = {
    ...{ weight_bytes: 4_600 * share, input_bytes: 925_000 * share, output_bytes: 462_000 * share, refetch_bytes: 0, macs: 133_171_200 },
    ...{ dram_picojoules: 222_600_000 * share, sram_picojoules: 13_300_000 * share, compute_picojoules: 213_000_000 },
  };
  return { layers: [{ node: '<conv>', op_type: 'Conv', ...figures }], total: { bytes: 1_391_600 * share, ...figures } };
}

test('traffic on an accelerator and the coding of maps are told by the figures of report.json', () => {
  const coding = { map: '<map>', node: 'conv', bits: 6, values: 462_400, bits_per_value: 2.24, value_entropy: 3.19 };
  const report = sampleReport({
    target: { accelerator: 'eyeriss-16' },
    traffic: {
      accelerator: shippedProfile('eyeriss-16'),
      ...{ source: sampleTraffic(1), artifact: sampleTraffic(0.125), dram_saved: 0.875, energy_saved: 0.46, warnings: [] },
    },
    maps: [{ ...coding, delta_entropy: 2.62, encode_operations: 47, decode_operations: 8.4 }],
  });
  const figures = figuresOf(renderHtmlReport(report)).filter(({ attributes }) => /^(traffic|maps)/.test(attributes.get('title') ?? ''));
  expect(figures).toHaveLength(3 + 17 + 6);
  for (const { attributes } of figures) expect(valueAt(report, attributes.get('title') ?? '')).toBe(Number(attributes.get('value')));
  const text = (path: string) => figures.find(({ attributes }) => attributes.get('title') === path)?.text;
  expect(text('traffic.artifact.total.dram_picojoules')).toBe('27.8 µJ');
  expect(text('traffic.source.total.bytes')).toBe('1.39 MB');
  expect(text('maps[0].bits_per_value')).toBe('2.24');
});

/** x and y of each point of a line. */
function pointsOf(elements: readonly Element[]): (readonly [number, number])[][] {
  const lines = elements.filter(({ attributes }) => attributes.get('class') === 'line');
  return lines.map(({ attributes }) =>
    [...(attributes.get('d') ?? '').matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)] as const),
  );
}

test('a learning curve goes from left to right, down with the loss and up with the accuracy', () => {
  const curve = [8, 4, 2, 1].map((loss, at) => ({ epoch: at + 1, step: at + 1, loss, accuracy: at / 4, learning_rate: 0.1 }));
  const page = renderHtmlReport(sampleReport({ training: [sampleTraining({ curve })] }));
  const [loss = [], accuracy = []] = pointsOf(parse(page));
  expect(loss.map(([x]) => x)).toEqual([0, 333.3, 666.7, 1000]);
  // From 2 to 98 of a height of 100; 8, 4, 2, 1 in a linear scale.
  expect(loss.map(([, y]) => y)).toEqual([2, 56.9, 84.3, 98]);
  expect(accuracy.map(([, y]) => y)).toEqual([98, 66, 34, 2]);
  expect(page).toContain('resumed at step');
});

test('a regularizer tells how many channels came near zero', () => {
  const regularizer = { kind: 'slimming', strength: 0.001, units: 112, near_zero: 40 };
  const page = parse(renderHtmlReport(sampleReport({ training: [sampleTraining({ regularizer })] })));
  expect(page.map(({ text }) => text).join()).toContain('slimming: 40 of 112 channels near zero');
});

test('a loss that falls by powers of ten is drawn by its logarithm; without classes there is no accuracy', () => {
  const curve = [100, 10, 1].map((loss, at) => ({ epoch: at + 1, step: at + 1, loss, learning_rate: 0.1 }));
  const page = renderHtmlReport(sampleReport({ training: [sampleTraining({ curve, resumed_at: 0 })] }));
  const lines = pointsOf(parse(page));
  expect(lines.map((line) => line.map(([, y]) => y))).toEqual([[2, 50, 98]]);
  expect(page).toContain('(logarithmic)');
  expect(page).not.toContain('near zero');
  expect(page).not.toContain('resumed at step');
});

test('a curve of one point, of none, and of many thousands', () => {
  const point = { epoch: 1, step: 1, loss: 0, learning_rate: 0.1 };
  const shown = (curve: readonly (typeof point)[]) =>
    pointsOf(parse(renderHtmlReport(sampleReport({ training: [sampleTraining({ curve })] }))));
  expect(shown([point])).toEqual([[[0, 98]]]);
  expect(shown([])).toEqual([]);
  const [long = []] = shown(Array.from({ length: 50_001 }, (_, at) => ({ ...point, epoch: at, loss: 50_001 - at })));
  expect(long.length).toBeLessThanOrEqual(401);
  expect([long[0], long.at(-1)]).toEqual([
    [0, 2],
    [1000, 98],
  ]);
});

test('what was not measured is absent: no figure, no zero, no NaN', () => {
  const none = { latency_ms: null, p90_ms: null, min_ms: null, macs: null, metrics: null, compressed_bytes: null };
  const { source, artifact, fidelity } = sampleReport();
  const report = sampleReport({
    source: { ...source, ...none },
    artifact: { ...artifact, ...none },
    speedup: null,
    latency: null,
    fidelity: { ...fidelity, sqnr_db: null, cosine: null, max_abs_error: null, top1_agreement: null, outputs: [] },
    layers: [{ node: 'bare', op_type: 'Conv', form: 'float32' }],
    calibration: null,
    fusion: null,
    warnings: [],
    nodes: [],
  });
  const page = renderHtmlReport(report);
  for (const { attributes } of figuresOf(page))
    expect(valueAt(report, attributes.get('title') ?? '')).toBe(Number(attributes.get('value')));
  expect(page).not.toMatch(/NaN|undefined|null|Infinity/);
  const words = parse(page).find(({ tag }) => tag === 'body')?.text ?? '';
  expect(words).toContain('not measurable');
  expect(words).not.toMatch(/warning|Signal to noise by layer|Time by layer|Distributions|Calibration|faster|accuracy/);
});

/** Names that break out of text, attributes, comments and style sheets, and anything else. */
const hostile = fc.oneof(
  fc.constantFrom(
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onload='x",
    ']]></style><b>',
    '&lt;b&gt;',
    '--><svg/onload=x>',
    '\u0000\ud800\u202e',
  ),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: fc.constantFrom('<', '>', '"', "'", '&', '/', '=', 'a', '\ud83d', '\udc00'), maxLength: 40 }),
);

test('a name from a model is text wherever it stands: it opens no element and no attribute', () => {
  const plain = renderHtmlReport(hostileReport('name'));
  const shape = parse(plain).map(({ tag, attributes }) => `${tag} ${[...attributes.keys()]}`);
  fc.assert(
    fc.property(hostile, (name) => {
      const elements = parse(renderHtmlReport(hostileReport(name)));
      expect(elements.map(({ tag, attributes }) => `${tag} ${[...attributes.keys()]}`)).toEqual(shape);
      expect(elements.some(({ attributes }) => [...attributes.keys()].some((key) => key.startsWith('on')))).toBe(false);
    }),
    { numRuns: 60 },
  );
});

/** The name in every place that a model, a recipe or an error message can fill. */
function hostileReport(name: string): CompressionReport {
  const base = sampleReport();
  return sampleReport({
    recipe: { steps: [{ method: 'dynamic-int8', exclude: [name] }] },
    latency: {
      inputs: 'dataset',
      shapes: Object.fromEntries([[`_${name}`, [1, 2]]]),
      source_runs: 5,
      artifact_runs: 5,
      speedup_interval: { low: 1.7, high: 1.9 },
    },
    fidelity: { ...base.fidelity, outputs: base.fidelity.outputs.map((output) => ({ ...output, name })) },
    fusion: { operators: Object.fromEntries([[`_${name}`, 2]]), unfused: [{ node: name, op_type: name }] },
    nodes: [{ node: name, op_type: name, action: 'left', by: name, reason: name }],
    training: [sampleTraining({ method: name, losses: [name] })],
    layers: [sampleLayer(0, { node: name, op_type: name, form: name, fused: false, unfused_reason: name })],
    warnings: [name],
    environment: { ...base.environment, cpu: name, runtime: name, os: name },
  });
}

test('the page forbids itself to load or run anything, and holds no script, link or handler', () => {
  const elements = parse(renderHtmlReport(sampleReport()));
  const policy = elements.find(({ attributes }) => attributes.get('http-equiv') === 'Content-Security-Policy')?.attributes.get('content');
  expect(policy).toMatch(/^default-src 'none'; style-src 'unsafe-inline'; img-src data:/);
  const allowed =
    /^(html|head|meta|title|style|body|header|footer|section|div|span|p|b|i|h[1-3]|ul|li|dl|dt|dd|table|thead|tbody|tr|th|td|data|time|figure|figcaption|details|summary|pre|code|svg|rect|path|line|circle|text)$/;
  for (const { tag, attributes } of elements) {
    expect(tag).toMatch(allowed);
    for (const key of attributes.keys()) expect(key).not.toMatch(/^(on|href|src|style|action|xlink)/);
  }
});

test('5,000 layers with long names stay a page of bounded size, with the worst shown and the rest counted', () => {
  const long = 'x'.repeat(5_000);
  const layers = Array.from({ length: 5_000 }, (_, index) =>
    sampleLayer(index, { node: `${index}-${long}`, sqnr_db: index === 4_321 ? 3 : 30 + (index % 7) }),
  );
  const report = sampleReport({
    layers,
    nodes: layers.map(({ node }, index) => ({
      node,
      op_type: 'Conv',
      action: 'left',
      by: 'static-int8',
      reason: `reason ${index} ${long}`,
    })),
    warnings: layers.map(({ node }) => `warning: ${node}`),
    recipe: { steps: [{ method: 'static-int8', exclude: layers.map(({ node }) => node) }] },
  });
  const page = renderHtmlReport(report);
  expect(page.length).toBeLessThan(1_000_000);
  const words = parse(page).find(({ tag }) => tag === 'body')?.text ?? '';
  expect(words).toContain('The 200 layers of 5,000 layers that lose most');
  expect(words).toContain('4321-x');
  expect(words).toContain('4,950 more warnings');
});

test('the page says on which processors the answer is the same', () => {
  const saturation = (exact_on: readonly Target[]) => ({ saturation: { exact_on, saturating: [], explanation: '' } });
  expect(exactnessOf(saturation(['x64', 'x64-vnni', 'arm64'])).verdict).toBe('every x64 CPU');
  expect(exactnessOf(saturation(['x64-vnni', 'arm64'])).verdict).toBe('x64 CPUs with VNNI only');
});
