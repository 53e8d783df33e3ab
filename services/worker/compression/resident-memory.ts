/** Resident memory of a process, from the kernel: what a limit on the JavaScript heap does not see. */
import { readFileSync } from 'node:fs';

/** VmRSS of /proc/<pid>/status (proc_pid_status(5)), in bytes; null where there is no such file. */
export function residentBytes(pid: number): number | null {
  try {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return line?.[1] === undefined ? null : Number(line[1]) * 1024;
  } catch {
    return null;
  }
}
