/** A model made ready for differentiation, with its parameters as constants again: what an analysis of structure reads. */
import { attributeOf, cloneModel, type Model } from '../../ir/index.js';
import { parameterTensor, type TrainableModel } from '../trainable-model.js';

/** Names stay. The statistics of batches are no outputs any more, as they would hold all channels. */
export function withStoredParameters({ model, parameters, statistics }: TrainableModel): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const stored = new Map([...parameters, ...statistics.flatMap(({ mean, variance }) => [mean, variance])].map((each) => [each.name, each]));
  for (const input of graph.inputs) {
    const parameter = stored.get(input.name);
    if (parameter) graph.initializers.set(input, parameterTensor(parameter));
  }
  graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...graph.inputs.filter(({ name }) => !stored.has(name)));
  const observed = new Set(statistics.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]));
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...graph.outputs.filter(({ name }) => !observed.has(name)));
  for (const node of graph.nodes) {
    if (node.opType !== 'BatchNormalization') continue;
    node.attributes.set('training_mode', attributeOf.int(0));
    node.truncateOutputs(1);
  }
  return copy;
}
