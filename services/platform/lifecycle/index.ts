/** How processes begin, stay alive and end. */
export { Readiness, type ReadinessReport, type ReadinessState } from './readiness.js';
export { type ProcessContext, runProcess, type StartProcess } from './run-process.js';
export { serve } from './serve.js';
