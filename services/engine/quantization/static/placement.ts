/** Divides a model into units that compute on codes and units that compute in float: the least time, and noise at a price. */
import type { Value } from '../../ir/index.js';
import type { ExpectedNoise } from './expected-noise.js';
import { gatedByItself } from './float-gates.js';
import type { IntegerUnit } from './integer-units.js';
import { FlowNetwork } from './minimum-cut.js';
import type { ConversionCost, UnitTime } from './unit-times.js';

export interface PlacementRequest {
  readonly units: readonly IntegerUnit[];
  readonly times: ReadonlyMap<string, UnitTime>;
  /** Values of a tensor in one run, by name. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly conversion: ConversionCost;
  readonly noise: ExpectedNoise;
  /** How many readers a tensor has outside the units: float operators, and the caller. */
  outsideReaders(value: Value): number;
}

export interface Division {
  /** On codes. */
  readonly units: ReadonlySet<IntegerUnit>;
  /** Of all units, conversions included. */
  readonly microseconds: number;
  /** Noise to signal, summed over what is rounded. */
  readonly noise: number;
}

/** A tensor between units. */
interface Border {
  readonly readers: readonly IntegerUnit[];
  readonly producer: IntegerUnit | undefined;
  /** Float operators outside the units, and the caller. */
  readonly outside: number;
  /** Microseconds of converting it. */
  readonly conversion: number;
  readonly noise: number;
}

const FORBIDDEN = 1e15;

/**
 * Minimises  sum of f_u over float units + sum of q_u over integer units + sum over tensors of the conversions that their readers need:
 * one to codes when a float operator's result is read by integer units, one to float for each float reader of what an integer unit
 * makes (the runtime gives each its own); plus `price` times the noise of what is rounded: the weights of integer units, and every
 * tensor that an integer unit reads or makes, once. The energy is submodular, so that a minimum cut finds the optimum (Kolmogorov and
 * Zabih 2004). Dense layers give float results without a conversion, and the gate of x Sigmoid(x) shares that of the product.
 */
export class Placement {
  private readonly borders: readonly Border[];

  constructor(private readonly request: PlacementRequest) {
    const { units, sizes, conversion, noise } = request;
    const producers = new Map(units.map((unit) => [unit.output, unit] as const));
    const readers = new Map<Value, IntegerUnit[]>();
    for (const unit of units) for (const value of new Set(unit.inputs)) readers.set(value, [...(readers.get(value) ?? []), unit]);
    this.borders = [...new Set([...readers.keys(), ...producers.keys()])].map((value) => ({
      readers: readers.get(value) ?? [],
      producer: producers.get(value),
      outside: request.outsideReaders(value),
      conversion: conversion.fixed + conversion.perValue * (sizes.get(value.name) ?? 0),
      noise: noise.tensors.get(value.name) ?? 0,
    }));
  }

  /** The optimum where noise costs `price` microseconds per unit. */
  cheapest(price = 0): Division {
    const network = new FlowNetwork();
    const [integer, float] = [network.vertex(), network.vertex()];
    const vertices = new Map(this.request.units.map((unit) => [unit, network.vertex()] as const));
    for (const [unit, vertex] of vertices) {
      const time = this.time(unit);
      network.arc(integer, vertex, time.float);
      network.arc(vertex, float, time.integer + price * this.weightNoise(unit));
    }
    for (const border of this.borders) {
      const readers = border.readers.flatMap((unit) => vertices.get(unit) ?? []);
      const made = border.producer && vertices.get(border.producer);
      if (readers.length > 0) joinAny(network, { members: readers, to: made ?? float, cost: border.conversion });
      if (made !== undefined && !givesFloat(border.producer)) {
        network.arc(made, float, border.outside * border.conversion);
        for (const reader of converting(border)) network.arc(made, vertices.get(reader) ?? float, border.conversion);
      }
      if (price * border.noise > 0)
        joinAny(network, { members: made === undefined ? readers : [...readers, made], to: float, cost: price * border.noise });
    }
    const side = network.cut(integer, float);
    return this.priced(new Set(this.request.units.filter((unit) => side.has(vertices.get(unit) ?? -1))));
  }

  /** The least noise for which the units take no longer than `microseconds`, at any single price; the cheapest when nothing fits. */
  quietest(microseconds: number): Division {
    let best = this.cheapest();
    if (best.noise === 0) return best;
    /** Prices around that at which all noise is worth all time, as powers of two. */
    const unit = microseconds / best.noise;
    let [low, high] = [-PRICE_RANGE, PRICE_RANGE];
    for (let step = 0; step < PRICE_STEPS; step += 1) {
      const middle = (low + high) / 2;
      const division = this.cheapest(unit * 2 ** middle);
      if (division.microseconds <= microseconds) [best, low] = [division, middle];
      else high = middle;
    }
    return best;
  }

  /** Microseconds of all units in float. */
  get floatTime(): number {
    return this.priced(new Set()).microseconds;
  }

  private time(unit: IntegerUnit): UnitTime {
    return this.request.times.get(unit.name) ?? { float: 0, integer: 0 };
  }

  private weightNoise({ name }: IntegerUnit): number {
    return this.request.noise.weights.get(name) ?? 0;
  }

  private priced(chosen: ReadonlySet<IntegerUnit>): Division {
    let [microseconds, noise] = [0, 0];
    for (const unit of this.request.units) {
      const { float, integer } = this.time(unit);
      microseconds += chosen.has(unit) ? integer : float;
      if (chosen.has(unit)) noise += this.weightNoise(unit);
    }
    for (const border of this.borders) {
      const isMade = border.producer !== undefined && chosen.has(border.producer);
      const isRead = border.readers.some((reader) => chosen.has(reader));
      if (isRead && !isMade) microseconds += border.conversion;
      if (isMade && !givesFloat(border.producer))
        microseconds += border.conversion * (border.outside + converting(border).filter((reader) => !chosen.has(reader)).length);
      if (isRead || isMade) noise += border.noise;
    }
    return { units: chosen, microseconds, noise };
  }
}

const PRICE_RANGE = 12;
const PRICE_STEPS = 9;

function givesFloat(producer: IntegerUnit | undefined): boolean {
  return producer?.layer?.kind === 'dense';
}

/** Readers that would have a conversion to float of their own. */
function converting({ readers }: Border): IntegerUnit[] {
  const gates = new Set(readers.map(({ node }) => gatedByItself(node)?.gate));
  return readers.filter(({ node }) => !gates.has(node));
}

/** `cost` is paid once when any of `members` is on the integer side and `to` is not. */
function joinAny(network: FlowNetwork, { members, to, cost }: { members: readonly number[]; to: number; cost: number }): void {
  const any = network.vertex();
  for (const member of members) network.arc(member, any, FORBIDDEN);
  network.arc(any, to, cost);
}
