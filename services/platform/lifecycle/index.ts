/** How processes begin, stay alive and end. */
export { type HealthServer, type HealthServerOptions, startHealthServer } from './health-server.js';
export { Readiness, type ReadinessReport, type ReadinessState } from './readiness.js';
export { type ProcessContext, runProcess, type StartProcess } from './run-process.js';
export { serve } from './serve.js';
