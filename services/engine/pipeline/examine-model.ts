/** Examines a quantized model: the findings of the rules, checked against what the runtime makes of it, and where it saturates. */
import { type QuantizationState, quantizationState } from '../inspection/index.js';
import type { Model } from '../ir/index.js';
import type { Target } from '../method.js';
import { describeSaturation, diagnoseModel, type Finding, type ProductSaturation, saturationReport } from '../quantization/index.js';
import type { OrtRuntime } from '../runtime/ort-session.js';
import { type RuntimeView, viewOfRuntime } from './runtime-view.js';

export interface DiagnosedFinding extends Finding {
  /** For findings of effect 'float': whether the runtime of this machine does leave one of the nodes in float. null when it was not asked. */
  readonly confirmed: boolean | null;
}

export interface ModelDiagnosis {
  readonly quantization: QuantizationState;
  readonly findings: readonly DiagnosedFinding[];
  /** null with `refusal` when the runtime does not load the model. */
  readonly runtime: RuntimeView | null;
  readonly refusal: string | null;
  /** Nodes that the runtime leaves in float without a finding that says why. */
  readonly unexplained: readonly string[];
  readonly saturation: {
    readonly sentence: string;
    readonly exact_on: readonly Target[];
    readonly saturating: readonly ProductSaturation[];
  };
}

export async function examineModel(model: Model, runtime: OrtRuntime, scratch: string): Promise<ModelDiagnosis> {
  const seen = await viewOfRuntime(runtime, model, scratch);
  const view = 'refusal' in seen ? null : seen;
  const left = new Set(view?.unfused.map(({ node }) => node));
  const inFloat = new Set([...left, ...(view?.islands ?? [])]);
  const findings = diagnoseModel(model).map((finding) => ({
    ...finding,
    confirmed: view && finding.effect === 'float' ? finding.affects.some((node) => inFloat.has(node)) : null,
  }));
  const explained = new Set(findings.filter(({ effect }) => effect !== 'harmless').flatMap(({ affects }) => affects));
  const report = saturationReport(model);
  return {
    quantization: quantizationState(model),
    findings,
    runtime: view,
    refusal: 'refusal' in seen ? seen.refusal : null,
    unexplained: [...left].filter((node) => !explained.has(node)),
    saturation: {
      sentence: describeSaturation(report),
      exact_on: report.exact_on,
      saturating: report.products.filter(({ saturates }) => saturates),
    },
  };
}
