/** What the measurements need of samples: feeds for runs of any size the models take. */
export type { RunSource as EvaluationInput, SampleRun as EvaluationRun } from '../method.js';
