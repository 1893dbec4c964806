import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from './refusal';
import { type FunctionSpec, SERVICE, type Task } from './service';

/** The table of stage configurations, which the functions read too. */
const TABLE = join(__dirname, '../../shared/stages.json');

/** A stage configuration. The columns are independent: see shared/service/src/stages.rs. */
export interface StageConfig {
  readonly stage: string;
  readonly kind: 'stage' | 'expand' | 'contract';
  /** The deployed binaries. All functions that run one of them are deployed. */
  readonly binaries: readonly string[];
  readonly functions: readonly FunctionSpec[];
  readonly caches: readonly ('memory' | 'redis')[];
  readonly writes_redis: boolean;
  readonly writes_read_store: boolean;
  readonly reads_from: 'write-store' | 'read-store';
  readonly queue_deployed: boolean;
  readonly writes_answer: 'result' | 'result-unless-early' | 'result-unless-async' | 'accepted';
}

/** Returns all stages, in the order of the path. */
export function allStages(): StageConfig[] {
  const rows: Omit<StageConfig, 'functions'>[] = JSON.parse(readFileSync(TABLE, 'utf8'));
  return rows.map((row) => ({
    ...row,
    functions: SERVICE.functions.filter(({ binary }) => row.binaries.includes(binary)),
  }));
}

/** Returns the stage with this name. */
export function stageOf(stage: string): StageConfig {
  const rows = allStages();
  const row = rows.find((row) => row.stage === stage);
  if (row === undefined) {
    throw new Refusal(`\`${stage}\` is not a stage: choose one of ${rows.map((row) => row.stage).join(', ')}`);
  }
  return row;
}

/**
 * Returns the stage `from`, if one deployment leads from it to `row`: forward to a later stage, or back. See `StageConfig::step` in
 * shared/service/src/stages.rs.
 */
export function stageBefore(row: StageConfig, from: string): StageConfig {
  const backward = allStages().reverse();
  const forward = allStages().filter(({ kind }) => kind !== 'contract');
  const neighbours = [forward, backward].flatMap((path) =>
    path.filter((_, index) => path[index + 1]?.stage === row.stage),
  );
  const found = [row, ...neighbours].find(({ stage }) => stage === from);
  if (found === undefined) {
    const names = neighbours.map(({ stage }) => stage).join(' or ');
    throw new Refusal(`no single deployment leads from \`${from}\` to ${row.stage}: FROM must be ${names}`);
  }
  return found;
}

/** Returns whether a function has one of these tasks. */
export function does(spec: FunctionSpec, ...tasks: Task[]): boolean {
  return spec.tasks.some((task) => tasks.includes(task));
}

/** Returns whether a function takes writes and no reads. */
export function writesOnly(spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && !does(spec, 'get', 'list', 'look-up');
}

/** Returns whether a function writes to the write store while the client waits. */
export function appliesAtOnce(row: StageConfig, spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && row.writes_answer !== 'accepted';
}

/** Returns whether a function ever queues commands. */
export function queues(row: StageConfig, spec: FunctionSpec): boolean {
  return does(spec, 'create', 'change', 'delete') && row.writes_answer !== 'result';
}

/** Returns whether a function uses Redis. */
export function usesRedis(row: StageConfig, spec: FunctionSpec): boolean {
  const reads = does(spec, 'get') && row.caches.includes('redis');
  const writes = (appliesAtOnce(row, spec) || does(spec, 'ingest')) && row.writes_redis;
  return reads || writes;
}

/** Returns whether a function creates or opens tokens, cursors and command ids. */
export function holdsSigningKeys(spec: FunctionSpec): boolean {
  return !does(spec, 'ingest');
}
