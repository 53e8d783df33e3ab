/** Graph clean-up: the exact passes that run before every method. The model computes the same with fewer nodes. */
import type { Model } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import { verifyModel } from '../ir/verify-graph.js';
import type { MethodContext, NodeChange } from '../method.js';
import { batchNormalizationFolding, channelArithmeticFolding } from './batch-normalization-folding.js';
import { castMerging } from './cast-merging.js';
import { commonSubexpressionElimination } from './common-subexpression-elimination.js';
import { conditionalInlining } from './conditional-inlining.js';
import { ConstantEvaluator } from './constant-evaluation.js';
import { foldConstants } from './constant-folding.js';
import { constantNodes, constantNodeTensor } from './constant-nodes.js';
import { convTransposeToConv } from './conv-transpose-to-conv.js';
import { deadCodeElimination } from './dead-code-elimination.js';
import { gatherToReshape } from './gather-to-reshape.js';
import { gatherUnsqueezeMerging } from './gather-unsqueeze-merging.js';
import { identityElimination } from './identity-elimination.js';
import { ModelEditor } from './model-editor.js';
import { ModelFacts } from './model-facts.js';
import { normalizationBelowMatMul } from './normalization-below-matmul.js';
import { omittedPermutation } from './omitted-permutation.js';
import { padFolding } from './pad-folding.js';
import type { GraphPass, Pass } from './pass.js';
import { runToFixpoint } from './pass-manager.js';
import { phasesToStridedConv } from './phases-to-strided-conv.js';
import { reshapeMerging } from './reshape-merging.js';
import { reshapeThroughUnary } from './reshape-through-unary.js';
import { scatterToConcat } from './scatter-to-concat.js';
import { sharedInitializers } from './shared-initializers.js';
import { gatherSimplification, sliceSimplification } from './slice-simplification.js';
import { transposeBelowConcat, transposeMerging } from './transpose-merging.js';
import { unfoldToConv } from './unfold-to-conv.js';
import { makeNodeNamesUnique } from './unique-node-names.js';

const passes: readonly Pass[] = [
  identityElimination,
  castMerging,
  scatterToConcat,
  sliceSimplification,
  gatherSimplification,
  gatherToReshape,
  gatherUnsqueezeMerging,
  reshapeMerging,
  transposeBelowConcat,
  transposeMerging,
  omittedPermutation,
  convTransposeToConv,
  unfoldToConv,
  phasesToStridedConv,
  padFolding,
  batchNormalizationFolding,
  channelArithmeticFolding,
  normalizationBelowMatMul,
  reshapeThroughUnary,
];

const graphPasses: readonly GraphPass[] = [
  constantNodes,
  conditionalInlining,
  commonSubexpressionElimination,
  deadCodeElimination,
  sharedInitializers,
];

/** Chains of rewrites in real models end after 5 to 10 rounds. */
const roundsMax = 40;

/** The file may grow by this share of its constants, so that names and nodes stay within the promised 5 %. */
const growthShareMax = 0.03;

function constantBytes(model: Model): number {
  let bytes = 0;
  for (const graph of graphsWithin(model.graph)) {
    for (const tensor of graph.initializers.values()) bytes += tensor.data.byteLength;
    for (const node of graph.nodes) bytes += 100 + (constantNodeTensor(node)?.data.byteLength ?? 0);
  }
  return bytes;
}

/**
 * Before IR version 4 a file lists its constants among the graph inputs although no caller can override them. Constants
 * that the passes add are not listed, so the model moves to version 4 and the listed constants leave the inputs.
 * Returns the way back, for a model in which nothing else changes.
 */
function unlistConstants(model: Model): () => void {
  const { graph, irVersion } = model;
  if (irVersion >= 4) return () => undefined;
  const listed = [...graph.inputs];
  graph.inputs.splice(0, listed.length, ...listed.filter((input) => !graph.initializers.has(input)));
  model.irVersion = 4;
  return () => {
    graph.inputs.splice(0, graph.inputs.length, ...listed);
    model.irVersion = irVersion;
  };
}

/**
 * Rewrites `model` in place so that it computes the same outputs with fewer nodes, and returns one line per changed
 * node. Inputs and outputs keep names, order and types. Unknown operators are left alone. The constants of the file grow
 * by 3 % at most. Throws only when aborted or when the model is not well formed.
 */
export async function cleanUp(model: Model, context: MethodContext): Promise<NodeChange[]> {
  const relist = unlistConstants(model);
  const facts = new ModelFacts(model);
  const editor = new ModelEditor(model, facts);
  const scope = { facts, editor, opset: model.opset };
  const options = {
    roundsMax,
    evaluator: new ConstantEvaluator(model, facts, context.runtime),
    verify: () => verifyModel(model),
    signal: context.signal,
  };
  const budget = { bytesLeft: growthShareMax * constantBytes(model) };
  context.progress(0, 'clean-up: simplify');
  await runToFixpoint({ passes, graphPasses }, scope, options);
  context.progress(0.5, 'clean-up: fold constants');
  while (foldConstants(scope, budget)) {
    await runToFixpoint({ passes, graphPasses }, scope, options);
  }
  if (editor.changes.length === 0) relist();
  else makeNodeNamesUnique(model);
  context.progress(1, 'clean-up: done');
  return editor.changes;
}
