/** What a process has opened, closed in reverse order: whoever depends on something is closed before it. */
import type { Logger } from '../observability/index.js';

export class ShutdownStack {
  private readonly steps: { readonly name: string; readonly close: () => Promise<unknown> }[] = [];
  private running: Promise<boolean> | undefined;

  constructor(private readonly logger: Logger) {}

  push(name: string, close: () => Promise<unknown>): void {
    this.steps.push({ name, close });
  }

  get closing(): boolean {
    return this.running !== undefined;
  }

  /** Closes everything once; a step that fails does not keep the next ones from running. Resolves to whether all went well. */
  close(): Promise<boolean> {
    this.running ??= this.closeAll();
    return this.running;
  }

  private async closeAll(): Promise<boolean> {
    let clean = true;
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      const startedAt = performance.now();
      try {
        await step.close();
        this.logger.debug({ step: step.name, ms: Math.round(performance.now() - startedAt) }, 'closed');
      } catch (err) {
        clean = false;
        this.logger.error({ err, step: step.name }, 'could not close');
      }
    }
    return clean;
  }
}
