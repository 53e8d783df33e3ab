/** The thread that reads an uploaded model: whatever a hostile file does to it, the API lives on. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { EngineError, externalDataLocations, inspectModelFile } from '#engine/inspection';
import type { InspectionAnswer, InspectionTask } from './inspect-upload.js';

function answer({ modelPath }: InspectionTask): InspectionAnswer {
  try {
    const locations = [...new Set(externalDataLocations(modelPath))];
    const missing = locations.filter((location) => !existsSync(path.join(path.dirname(modelPath), location)));
    if (missing.length > 0) return { outcome: 'external_data_missing', missing };
    return { outcome: 'inspected', inspection: { ...inspectModelFile(modelPath) }, externalData: locations };
  } catch (error) {
    if (error instanceof EngineError) return { outcome: 'refused', code: error.code, message: error.message };
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { outcome: 'failed', message: text };
  }
}

parentPort?.postMessage(answer(workerData as InspectionTask));
