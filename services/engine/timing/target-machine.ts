/** Whether times measured on this machine say anything about the machine that the artifact is for. */
import type { MethodContext } from '../method.js';

export function runsOnTarget({ target }: Pick<MethodContext, 'target'>): boolean {
  return (target === 'arm64') === (process.arch === 'arm64');
}
