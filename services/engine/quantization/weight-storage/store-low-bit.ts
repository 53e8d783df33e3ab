/** Storage of convolutions and recurrent layers in few bits: smaller in the file, the same float32 computation once it is loaded. */
import { EngineError } from '../../engine-errors.js';
import { float32Values, type Model, type Node } from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { channelCount, channelDepth, fromRows, toRows } from '../../layers/channel-layout.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import type { LayerReport, MethodContext, MethodOutcome, NodeChange } from '../../method.js';
import { type RoundedLayer, type RoundingAlgorithm, roundLayer } from './layer-rounding.js';
import { type LowBitOptions, storageAlgorithm } from './options.js';
import { type PlannedWeight, planStorage } from './planned-weights.js';
import { roundOnSamples } from './rounding-on-samples.js';
import type { SequentialLayer, SequentialResult } from './sequential-layer.js';
import { StoredWeights } from './stored-weight.js';

const METHOD = 'weight-only';

/** Stores the weights of Conv, ConvTranspose, LSTM, GRU and RNN, in branches and bodies, too. Edits the model in place. */
export async function storeLowBit(model: Model, options: LowBitOptions, context: MethodContext): Promise<MethodOutcome> {
  const storage = new LowBitStorage(model, options, context);
  return storage.run();
}

/** One stored weight, as the report tells of it. */
interface Stored {
  readonly planned: PlannedWeight;
  readonly bytes: number;
  readonly rounded: SequentialResult;
  /** 10 log10(sum w^2 / sum (w - w')^2) */
  readonly weightSqnr: number;
  readonly algorithm: RoundingAlgorithm;
}

class LowBitStorage {
  private readonly store: WeightStore;
  private readonly writer: StoredWeights;
  private readonly stored: Stored[] = [];

  constructor(
    private readonly model: Model,
    private readonly options: LowBitOptions,
    private readonly context: MethodContext,
  ) {
    this.store = new WeightStore(model);
    this.writer = new StoredWeights(this.store, model.opset);
  }

  async run(): Promise<MethodOutcome> {
    const { weights, left } = planStorage(this.model, this.store, this.options);
    const algorithm = this.algorithm(weights);
    const isSequential = (weight: PlannedWeight): boolean =>
      needsInputs(algorithm) && weight.kind === 'convolution' && weight.bits < 8 && weight.nodes[0]?.graph === this.model.graph;
    for (const weight of weights) if (!isSequential(weight)) this.write(weight, this.roundAlone(weight, algorithm), algorithm);
    this.writer.finish();
    await this.writeSequentially(weights.filter(isSequential), algorithm);
    this.writer.finish();
    const changes = left.map(({ node, reason }) => this.change(node, 'left', reason));
    return { nodes: [...this.changes(), ...changes], layers: this.layers() };
  }

  /** What rounds below 8 bits. */
  private algorithm(weights: readonly PlannedWeight[]): RoundingAlgorithm {
    const chosen = storageAlgorithm(this.options.algorithm);
    const hasSamples = this.context.calibration !== undefined;
    if (chosen && needsInputs(chosen) && !hasSamples && weights.some(({ kind, bits }) => kind === 'convolution' && bits < 8)) {
      throw new EngineError(
        'recipe_invalid',
        `The algorithm '${chosen}' rounds convolutions on real inputs: give a data set, or use 'mse', which needs none.`,
      );
    }
    return chosen ?? (hasSamples ? 'adaround' : 'mse');
  }

  private roundAlone({ constant, layout, bits }: PlannedWeight, algorithm: RoundingAlgorithm): RoundedLayer {
    const rows = toRows(float32Values(constant.tensor), layout);
    const layer = { rows, channels: channelCount(layout), depth: channelDepth(layout), bits };
    return roundLayer(layer, bits === 8 ? 'rtn' : algorithm);
  }

  private async writeSequentially(weights: readonly PlannedWeight[], algorithm: RoundingAlgorithm): Promise<void> {
    const { calibration: samples } = this.context;
    if (!samples || weights.length === 0) return;
    const layers = weights.flatMap((weight): SequentialLayer[] => {
      const [node] = weight.nodes;
      return node ? [{ node, weight: weight.constant, layout: weight.layout, bits: weight.bits }] : [];
    });
    const results = await roundOnSamples({ model: this.model, layers, algorithm, samples, context: this.context });
    for (const weight of weights) {
      const [node] = weight.nodes;
      const result = node && results.get(node);
      if (!result) continue;
      this.write(weight, result, algorithm);
      if (result.biasShift) shiftBias(this.store, node, result.biasShift);
    }
  }

  private write(planned: PlannedWeight, rounded: SequentialResult, algorithm: RoundingAlgorithm): void {
    this.context.signal.throwIfAborted();
    const { constant, layout, bits } = planned;
    const rows = toRows(float32Values(constant.tensor), layout);
    const depth = channelDepth(layout);
    let [signal, noise] = [0, 0];
    for (const [at, value] of rows.entries()) {
      signal += value ** 2;
      noise += (value - (rounded.codes[at] ?? 0) * (rounded.scales[Math.floor(at / depth)] ?? 1)) ** 2;
    }
    const codes = fromRows(rounded.codes, layout, Int8Array);
    const bytes = this.writer.write(constant, { bits, codes, scales: rounded.scales, layout });
    this.stored.push({ planned, bytes, rounded, weightSqnr: 10 * Math.log10(signal / noise), algorithm: bits === 8 ? 'rtn' : algorithm });
  }

  private byNode(): Map<Node, Stored[]> {
    const lists = new Map<Node, Stored[]>();
    for (const stored of this.stored) for (const node of stored.planned.nodes) lists.set(node, [...(lists.get(node) ?? []), stored]);
    return lists;
  }

  private changes(): NodeChange[] {
    return [...this.byNode()].map(([node, stored]) => this.change(node, 'changed', stored.map(sentence).join('; ')));
  }

  private layers(): LayerReport[] {
    return [...this.byNode()].map(([node, stored]) => {
      const bits = Math.min(...stored.map(({ planned }) => planned.bits));
      const sqnr = stored[0]?.rounded.sqnr;
      return {
        node: reportName(node),
        op_type: node.opType,
        form: bits === 8 ? 'int8 stored' : `${bits} bit stored`,
        bytes_before: stored.reduce((sum, { planned }) => sum + planned.constant.tensor.data.byteLength, 0),
        bytes_after: stored.reduce((sum, { bytes }) => sum + bytes, 0),
        ...(sqnr === undefined ? {} : { sqnr_local_db: sqnr }),
      };
    });
  }

  private change(node: Node, action: NodeChange['action'], reason: string): NodeChange {
    return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
  }
}

function needsInputs(algorithm: RoundingAlgorithm): boolean {
  return algorithm !== 'rtn' && algorithm !== 'mse';
}

function sentence({ planned, rounded, weightSqnr, algorithm }: Stored): string {
  const { constant, bits, layout } = planned;
  const how = rounded.sqnr === undefined && rounded.blockError === undefined ? '' : `, rounded on its inputs by ${algorithm}`;
  const block = rounded.blockError === undefined ? '' : ` (its block errs ${rounded.blockError.toFixed(2)} times what gptq left)`;
  const bias = rounded.biasShift ? ', bias corrected' : '';
  return `weight "${constant.value.name}" stored in ${bits} bits with ${channelCount(layout)} scales (${weightSqnr.toFixed(1)} dB)${how}${block}${bias}, widened when the model is loaded`;
}
