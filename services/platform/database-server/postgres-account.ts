/** Which system account Postgres runs as: it refuses to run as root, so a start by root hands it to an unprivileged one. */
import { accessSync, chownSync, constants, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { DatabaseServerError, waysOut } from './database-server-errors.js';

export interface PostgresAccount {
  /** Undefined: this process's own account. */
  readonly ids?: { readonly uid: number; readonly gid: number };
}

/** A program call, ready for spawn. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly options: { readonly uid?: number; readonly gid?: number };
}

/**
 * The account for the cluster in `clusterDir`: its owner when it exists; for root otherwise `postgres`, or `nobody` where that is
 * missing (initdb insists on an account that has a name). No account is ever created.
 */
export function chooseAccount(clusterDir: string): PostgresAccount {
  if (process.getuid?.() !== 0) return {};
  const owner = statSync(clusterDir, { throwIfNoEntry: false });
  if (owner && owner.uid !== 0) return { ids: { uid: owner.uid, gid: owner.gid } };
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const entry = accounts.find(([account]) => account === name);
    if (entry) return { ids: { uid: Number(entry[2]), gid: Number(entry[3]) } };
  }
  throw new DatabaseServerError(
    `Postgres does not run as root, and no account "postgres" or "nobody" exists. Start as a normal user. ${waysOut}`,
  );
}

export function giveTo(account: PostgresAccount, ...paths: readonly string[]): void {
  if (account.ids) for (const entry of paths) chownSync(entry, account.ids.uid, account.ids.gid);
}

/** How to call `program` as `account`, where it has to reach `program` and `folder`. */
export function launchAs(account: PostgresAccount, call: { program: string; args: readonly string[]; folder: string }): Launch {
  const { ids } = account;
  if (!ids) return { command: call.program, args: call.args, options: {} };
  if (isReachable(call.program, ids.uid) && isReachable(call.folder, ids.uid))
    return { command: call.program, args: call.args, options: ids };
  return throughClosedFolders(ids, call);
}

/** Whether every folder above `target` can be entered by others than its owner. */
function isReachable(target: string, uid: number): boolean {
  for (let folder = path.dirname(target); ; folder = path.dirname(folder)) {
    const { mode, uid: owner } = statSync(folder);
    if ((mode & 0o001) === 0 && !(owner === uid && (mode & 0o100) !== 0)) return false;
    if (folder === path.dirname(folder)) return true;
  }
}

/**
 * A folder such as /root (0700) lies above the program or the data. The account then keeps one capability, to pass through it;
 * no_setuid_fixup makes access(2) honour it too. Needs setpriv of util-linux, which Debian and its kin always have.
 */
function throughClosedFolders(
  ids: { uid: number; gid: number },
  call: { program: string; args: readonly string[]; folder: string },
): Launch {
  const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find(isExecutable);
  if (!setpriv) {
    throw new DatabaseServerError(
      `Postgres does not run as root, and the account it would run as cannot enter a folder above ${call.folder} or ${call.program}. ` +
        `Start as a normal user, or put the program and LATHE_DATA_DIR where others may enter. ${waysOut}`,
    );
  }
  const capability = '-all,+dac_override';
  const identity = [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups', '--no-new-privs', '--securebits=+no_setuid_fixup'];
  const capabilities = [`--inh-caps=${capability}`, `--ambient-caps=${capability}`, `--bounding-set=${capability}`];
  return { command: setpriv, args: [...identity, ...capabilities, '--', call.program, ...call.args], options: {} };
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
