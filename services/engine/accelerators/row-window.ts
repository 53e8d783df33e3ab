/** How an operator walks over the rows of its input. */
import { intsAttribute, type Node } from '../ir/index.js';
import { operatorTraits } from '../ops/index.js';

/** `rows` of the input that the first row of the output needs, and how many more each further row does (a fraction where it makes more rows). */
export interface RowWindow {
  readonly rows: number;
  readonly stride: number;
}

/**
 * Conv and pooling: (k - 1) * dilation + 1 rows, stride s. ConvTranspose makes s rows of each: k / s rows, stride 1 / s. Pointwise: one
 * row. Everything else needs its whole input.
 */
export function rowWindow(node: Node, { rows, kernel }: { readonly rows: number; readonly kernel: number | undefined }): RowWindow {
  const size = intsAttribute(node, 'kernel_shape', undefined)?.[0] ?? kernel ?? 1;
  const stride = intsAttribute(node, 'strides', undefined)?.[0] ?? 1;
  const dilation = intsAttribute(node, 'dilations', undefined)?.[0] ?? 1;
  const reach = (size - 1) * dilation + 1;
  if (/Transpose$/.test(node.opType) && node.opType.startsWith('Conv'))
    return { rows: Math.min(rows, Math.ceil(reach / stride)), stride: 1 / stride };
  if (/Conv/.test(node.opType) || (/Pool$/.test(node.opType) && !node.opType.startsWith('Global')))
    return { rows: Math.min(rows, reach), stride };
  return operatorTraits(node.domain, node.opType)?.category === 'elementwise' ? { rows: 1, stride: 1 } : { rows, stride: 0 };
}
