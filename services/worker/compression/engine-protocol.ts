/** What the worker and the process of a job say to each other over IPC. Messages from the child are checked: a model may own it. */
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';

/** The job, as paths on this machine. Sent once; a process runs one job in its life. */
export interface RunMessage {
  readonly type: 'run';
  readonly modelPath: string;
  /** A CompressionRecipe as it came in; the child makes the plan of it. */
  readonly recipe: unknown;
  /** A model that the method distill learns from. */
  readonly teacherPath: string | null;
  readonly calibrationPath: string | null;
  readonly evaluationPath: string | null;
  /** Empty folder for the artifact and its report. */
  readonly outDir: string;
  /** Private folder for temporary files. */
  readonly scratch: string;
  /** Folder in which results that other jobs can use are kept: ranges of a model and data set, times of layers. */
  readonly cacheDir: string;
  /** Existing folder that outlives the attempt: a training that was cut off goes on from what lies there. */
  readonly checkpoints: string;
  /** Time between two checkpoints in milliseconds; null leaves it to the engine. */
  readonly checkpointEveryMs: number | null;
  /** CPU threads this job may use; null: all of the machine. */
  readonly threads: number | null;
}

/** Please stop; what is not done within the grace is ended by signals. */
export interface StopMessage {
  readonly type: 'stop';
}

export type ParentMessage = RunMessage | StopMessage;

const text = (maxLength: number) => Type.String({ maxLength });

const ChildMessage = Type.Union([
  /** Modules are loaded; a job can start at once. */
  Type.Object({ type: Type.Literal('ready') }),
  Type.Object({
    type: Type.Literal('progress'),
    phase: text(64),
    fraction: Type.Number({ minimum: 0, maximum: 1 }),
    message: text(512),
    etaSeconds: Type.Union([Type.Number({ minimum: 0 }), Type.Null()]),
  }),
  Type.Object({
    type: Type.Literal('finished'),
    gatePassed: Type.Boolean(),
    /** Absolute, inside outDir; the model itself first, then its external data. */
    modelFiles: Type.Array(text(4096), { minItems: 1, maxItems: 256 }),
    reportPath: text(4096),
    htmlReportPath: text(4096),
    /** The checks of the gate that were missed. */
    missed: Type.Array(Type.Record(Type.String(), Type.Unknown()), { maxItems: 16 }),
  }),
  Type.Object({
    type: Type.Literal('refused'),
    code: text(64),
    message: text(4096),
    details: Type.Record(Type.String(), Type.Unknown()),
  }),
]);
export type ChildMessage = Static<typeof ChildMessage>;

/** Null for anything that is not a message of ours. */
export function parseChildMessage(message: unknown): ChildMessage | null {
  return Value.Check(ChildMessage, message) ? message : null;
}
