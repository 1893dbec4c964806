import type { Template } from 'aws-cdk-lib/assertions';
import type { Config } from '../lib/config';
import { type StageConfig, stageOf } from '../lib/stages';
import { synthesise } from './support';

/** Every stage, with the stages to which one deployment leads from it. */
export const NEIGHBOURS: [from: StageConfig, rows: StageConfig[]][] = [
  ['single-responsibility', 'lambda-lith'],
  ['lambda-lith', 'single-responsibility', 'read-write'],
  ['read-write', 'lambda-lith', 'memory-cache'],
  ['memory-cache', 'read-write', 'redis-cache-expand'],
  ['redis-cache-expand', 'memory-cache', 'redis-cache'],
  ['redis-cache', 'redis-cache-expand', 'read-store-expand'],
  ['read-store-expand', 'redis-cache', 'read-store'],
  ['read-store', 'read-store-expand', 'cqrs-idle'],
  ['cqrs-idle', 'read-store', 'cqrs-expand'],
  ['cqrs-drain', 'cqrs-idle'],
  ['cqrs-expand', 'cqrs-drain', 'cqrs'],
  ['cqrs', 'cqrs-expand'],
].map(([from, ...rows]) => [stageOf(from!), rows.map(stageOf)]);

/** A step from one stage to another. */
export interface Move {
  readonly from: StageConfig;
  readonly to: StageConfig;
  /** The template that is deployed with `FROM`. cdk-nag has checked it. */
  readonly during: Template;
  readonly title: string;
}

/** Returns every step from a stage to an adjacent one. */
export function moves(settings: Config): Move[] {
  return NEIGHBOURS.flatMap(([from, rows]) => {
    const templates = synthesise(rows, settings, from);
    return rows.map((to) => ({ from, to, during: templates.get(to.stage)!, title: `${from.stage} to ${to.stage}` }));
  });
}
