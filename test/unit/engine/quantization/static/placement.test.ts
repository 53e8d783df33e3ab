import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { Model, Value } from '../../../../../services/engine/ir/index.js';
import type { ExpectedNoise } from '../../../../../services/engine/quantization/static/expected-noise.js';
import type { IntegerUnit } from '../../../../../services/engine/quantization/static/integer-units.js';
import { Placement, type PlacementRequest } from '../../../../../services/engine/quantization/static/placement.js';
import { searchUnits } from '../../../../../services/engine/quantization/static/static-candidate.js';
import { removeScratch } from '../method-fixtures.js';
import { NetworkBuilder } from './static-fixtures.js';

afterAll(removeScratch);

/** Few enough units to try all divisions: a gate, a residual connection, a product. */
function smallNetwork(): Model {
  const net = new NetworkBuilder();
  const first = net.conv(net.input('x', ['n', 3, 12, 12]), [3, 8]);
  const silu = net.node('Mul', [first, net.node('Sigmoid', [first])]);
  const sum = net.node('Add', [net.node('Relu', [net.conv(silu, [8, 8])]), silu]);
  const flat = net.node('Flatten', [net.node('GlobalAveragePool', [net.conv(sum, [8, 16])])]);
  return net.output(net.gemm(flat, [16, 5]), ['n', 5]).model;
}

const { units } = searchUnits(smallNetwork(), {});
/** Those that lie between them. */
const tensors = [...new Set(units.flatMap(({ inputs, output }) => [...inputs, output]))];

const number = fc.double({ min: 0, max: 100, noNaN: true });
const many = (count: number) => fc.array(number, { minLength: count, maxLength: count });
const requests = fc
  .record({
    float: many(units.length),
    integer: many(units.length),
    weights: many(units.length),
    rounding: many(tensors.length),
    sizes: many(tensors.length),
    fixed: number,
    outside: fc.array(fc.nat(2), { minLength: tensors.length, maxLength: tensors.length }),
  })
  .map(
    ({ float, integer, weights, rounding, sizes, fixed, outside }): PlacementRequest => ({
      units,
      times: new Map(units.map(({ name }, at) => [name, { float: float[at] ?? 0, integer: integer[at] ?? 0 }])),
      sizes: new Map(tensors.map(({ name }, at) => [name, sizes[at] ?? 0])),
      conversion: { fixed, perValue: 0.5 },
      noise: {
        weights: new Map(units.map(({ name }, at) => [name, weights[at] ?? 0])),
        tensors: new Map(tensors.map(({ name }, at) => [name, rounding[at] ?? 0])),
      },
      outsideReaders: (value) => outside[tensors.indexOf(value)] ?? 0,
    }),
  );

/** As the words say it: what each unit takes, conversions to codes once, to float for each reader, each rounding once. */
function costOf(chosen: ReadonlySet<IntegerUnit>, request: PlacementRequest): { time: number; noise: number } {
  const { noise }: { noise: ExpectedNoise } = request;
  let time = 0;
  let sum = 0;
  for (const unit of units) {
    time += request.times.get(unit.name)?.[chosen.has(unit) ? 'integer' : 'float'] ?? 0;
    if (chosen.has(unit)) sum += noise.weights.get(unit.name) ?? 0;
  }
  for (const value of tensors) {
    const { count, isRounded } = conversionsOf(value, chosen, request);
    time += count * (request.conversion.fixed + request.conversion.perValue * (request.sizes.get(value.name) ?? 0));
    if (isRounded) sum += noise.tensors.get(value.name) ?? 0;
  }
  return { time, noise: sum };
}

function conversionsOf(value: Value, chosen: ReadonlySet<IntegerUnit>, { outsideReaders }: PlacementRequest) {
  const readers = units.filter(({ inputs }) => inputs.includes(value));
  const producer = units.find(({ output }) => output === value);
  const onCodes = readers.filter((reader) => chosen.has(reader)).length;
  const isCoded = producer !== undefined && chosen.has(producer);
  const gates = readers.filter(
    ({ node }) => node.opType === 'Sigmoid' && readers.some((other) => other.inputs.includes(node.outputs[0] as Value)),
  );
  const inFloat = readers.filter((reader) => !chosen.has(reader) && !gates.includes(reader)).length + outsideReaders(value);
  if (!isCoded) return { count: Math.min(1, onCodes), isRounded: onCodes > 0 };
  return { count: producer.layer?.kind === 'dense' ? 0 : inFloat, isRounded: true };
}

const allDivisions = Array.from({ length: 2 ** units.length }, (_, mask) => new Set(units.filter((_unit, at) => mask & (1 << at))));

describe('the division into float and codes', () => {
  it('is the cheapest of all divisions at any price of noise', () => {
    fc.assert(
      fc.property(requests, fc.oneof(fc.constant(0), number), (request, price) => {
        const { units: chosen, microseconds, noise } = new Placement(request).cheapest(price);
        const own = costOf(chosen, request);
        expect(microseconds).toBeCloseTo(own.time, 6);
        expect(noise).toBeCloseTo(own.noise, 6);
        const costs = allDivisions.map((each) => costOf(each, request)).map((cost) => cost.time + price * cost.noise);
        expect(own.time + price * own.noise).toBeCloseTo(
          costs.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
          5,
        );
      }),
      { numRuns: 40 },
    );
  });

  it('brings less noise the more time it may take, and never takes more', () => {
    fc.assert(
      fc.property(requests, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }), (request, shares) => {
        const placement = new Placement(request);
        const fastest = placement.cheapest();
        expect(placement.floatTime).toBeCloseTo(costOf(new Set(), request).time, 6);
        let before = fastest.noise;
        for (const share of shares.toSorted((a, b) => a - b)) {
          const budget = fastest.microseconds + share * (placement.floatTime - fastest.microseconds);
          const quiet = placement.quietest(budget);
          expect(quiet.microseconds).toBeLessThanOrEqual(budget + 1e-6);
          expect(quiet.noise).toBeLessThanOrEqual(before + 1e-6);
          before = Math.min(before, fastest.noise);
        }
      }),
      { numRuns: 40 },
    );
  });
});
