import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from './refusal';
import { type FunctionSpec, SERVICE, type Task } from './service';

/** The table that the functions read as well. */
const TABLE = join(__dirname, '../../shared/stages.json');

/** One row: what a deployment at this stage is made of. The columns are independent; see shared/service/src/stages.rs. */
export interface Row {
  readonly stage: string;
  readonly kind: 'stage' | 'expand' | 'contract';
  /** What is deployed: all functions that run one of these. */
  readonly binaries: readonly string[];
  readonly functions: readonly FunctionSpec[];
  readonly caches: readonly ('memory' | 'redis')[];
  readonly writes_redis: boolean;
  readonly writes_read_store: boolean;
  readonly reads_from: 'write-store' | 'read-store';
  readonly queue_deployed: boolean;
  readonly writes_answer: 'result' | 'result-unless-early' | 'result-unless-async' | 'accepted';
}

/** The whole table, in the order of the path. */
export function allRows(): Row[] {
  const rows: Omit<Row, 'functions'>[] = JSON.parse(readFileSync(TABLE, 'utf8'));
  return rows.map((row) => ({
    ...row,
    functions: SERVICE.functions.filter(({ binary }) => row.binaries.includes(binary)),
  }));
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
 * way back; see Row::step in shared/service/src/stages.rs.
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
export function does(spec: FunctionSpec, ...tasks: Task[]): boolean {
  return spec.tasks.some((task) => tasks.includes(task));
}

/** Whether a function takes requests that write, and none that read. */
export function writesOnly(spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && !does(spec, 'get', 'list', 'look-up');
}

/** Whether a function writes to the write store while the client waits. */
export function appliesAtOnce(row: Row, spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && row.writes_answer !== 'accepted';
}

/** Whether a function queues commands, be it now and then. */
export function queues(row: Row, spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && row.writes_answer !== 'result';
}

/** Whether a function talks to Redis. */
export function usesRedis(row: Row, spec: FunctionSpec): boolean {
  const reads = does(spec, 'get') && row.caches.includes('redis');
  const writes = (appliesAtOnce(row, spec) || does(spec, 'ingest')) && row.writes_redis;
  return reads || writes;
}

/** Whether a function makes or opens tokens, cursors and command ids. */
export function holdsSigningKeys(spec: FunctionSpec): boolean {
  return !does(spec, 'ingest');
}
