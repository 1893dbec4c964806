import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from './refusal';

/** The table that the functions read as well. */
const TABLE = join(__dirname, '../../shared/stages.json');

/** One row: what a deployment at this stage is made of. The columns are independent; see shared/src/stages.rs. */
export interface Row {
  readonly stage: string;
  readonly kind: 'stage' | 'expand' | 'contract';
  readonly functions: readonly FunctionName[];
  readonly caches: readonly ('memory' | 'redis')[];
  readonly writes_redis: boolean;
  readonly writes_read_store: boolean;
  readonly reads_from: 'write-store' | 'read-store';
  readonly queue_deployed: boolean;
  readonly writes_answer: 'result' | 'result-unless-early' | 'result-unless-async' | 'accepted';
}

/** What a function may be asked to do. */
export type Task = 'get' | 'list' | 'look-up' | 'create' | 'change' | 'delete' | 'ingest';

/** The functions, each a binary of the workspace, and what they are there for. */
export const TASKS = {
  'create-user-fn': ['create'],
  'replace-user-fn': ['change'],
  'update-user-fn': ['change'],
  'delete-user-fn': ['delete'],
  'get-user-fn': ['get'],
  'list-users-fn': ['list'],
  'get-command-fn': ['look-up'],
  'read-fn': ['get', 'list', 'look-up'],
  'write-fn': ['create', 'change', 'delete'],
  'lith-fn': ['get', 'list', 'look-up', 'create', 'change', 'delete'],
  'ingest-fn': ['ingest'],
} as const satisfies Record<string, readonly Task[]>;

export type FunctionName = keyof typeof TASKS;

/** The whole table, in the order of the path. */
export function allRows(): Row[] {
  return JSON.parse(readFileSync(TABLE, 'utf8'));
}

/** The row of this name. */
export function rowOf(stage: string): Row {
  const rows = allRows();
  const row = rows.find((row) => row.stage === stage);
  if (row === undefined) {
    throw new Refusal(`\`${stage}\` is not a stage: choose one of ${rows.map((row) => row.stage).join(', ')}`);
  }
  return row;
}

/**
 * The row that a deployment of another one comes from: one deployment leads there, on the way to a later stage or on the
 * way back; see Row::step in shared/src/stages.rs.
 */
export function rowBefore(row: Row, from: string): Row {
  const back = allRows().reverse();
  const there = allRows().filter(({ kind }) => kind !== 'contract');
  const known = [there, back].flatMap((way) => way.filter((_, place) => way[place + 1]?.stage === row.stage));
  const found = [row, ...known].find(({ stage }) => stage === from);
  if (found === undefined) {
    const names = known.map(({ stage }) => stage).join(' or ');
    throw new Refusal(`one does not come from \`${from}\` to ${row.stage}: FROM must be ${names}`);
  }
  return found;
}

/** Whether a function has one of these tasks. */
export function does(name: FunctionName, ...tasks: Task[]): boolean {
  return TASKS[name].some((task) => tasks.includes(task));
}

/** Whether a function takes requests that write, and none that read. */
export function writesOnly(name: FunctionName): boolean {
  return does(name, 'create', 'change', 'delete') && !does(name, 'get', 'list', 'look-up');
}

/** Whether a function writes to the write store while the client waits. */
export function appliesAtOnce(row: Row, name: FunctionName): boolean {
  return does(name, 'create', 'change', 'delete') && row.writes_answer !== 'accepted';
}

/** Whether a function queues commands, be it now and then. */
export function queues(row: Row, name: FunctionName): boolean {
  return does(name, 'create', 'change', 'delete') && row.writes_answer !== 'result';
}

/** Whether a function talks to Redis. */
export function usesRedis(row: Row, name: FunctionName): boolean {
  const reads = does(name, 'get') && row.caches.includes('redis');
  const writes = (appliesAtOnce(row, name) || does(name, 'ingest')) && row.writes_redis;
  return reads || writes;
}

/** Whether a function makes or opens tokens, cursors and command ids. */
export function holdsSigningKeys(name: FunctionName): boolean {
  return !does(name, 'ingest');
}
