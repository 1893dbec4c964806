import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { addStacks, newApp } from '../lib/app';
import { type Config, parseConfig } from '../lib/config';
import { Packages } from '../lib/packages';
import { type FunctionSpec, SERVICE } from '../lib/service';
import { allStages, type StageConfig, stageOf } from '../lib/stages';

const OWN = {
  issuer: 'https://issuer.example.com/',
  audience: ['watershed'],
  signingKeysSecret: 'arn:aws:secretsmanager:eu-central-1:111122223333:secret:watershed/signing-keys-AbCdEf',
};

const packages = Packages.placeholders();

/** Returns a complete configuration, with the values that a test changes. */
export function config(changes: object = {}): Config {
  return parseConfig({ ...OWN, ...changes }, 'the configuration of a test');
}

/** Returns the templates of these stages, as steps from another stage if `from` is set. */
export function synthesise(
  rows: StageConfig[],
  settings: Config = config(),
  from?: StageConfig,
): Map<string, Template> {
  const app = newApp(mkdtempSync(join(tmpdir(), 'watershed-templates-')));
  const stacks = addStacks(app, settings, rows, packages, from);
  app.synth();
  return new Map(rows.map((row, index) => [row.stage, Template.fromStack(stacks[index]!)]));
}

/** Returns the template of a stage, with the values that a test changes. */
export function template(stage: string, changes: object = {}): Template {
  return synthesise([stageOf(stage)], config(changes)).get(stage)!;
}

export const STAGES = allStages();
let all: Map<string, Template> | undefined;

/** Returns the template of a stage with the base `prod`. */
export function prod(stage: string): Template {
  all ??= synthesise(STAGES);
  return all.get(stage)!;
}

/** Returns the properties of all resources of a type, by logical id. */
export function properties(from: Template, type: string): [id: string, properties: any][] {
  return Object.entries(from.findResources(type)).map(([id, resource]) => [id, resource.Properties]);
}

/** Returns the function with this name, as the service describes it. */
export function specOf(name: string): FunctionSpec {
  return SERVICE.functions.find((spec) => spec.name === name)!;
}

/** The option of tests that name functions and routes of users. They are skipped if that sample is removed. */
export const WITH_USERS = { skip: !SERVICE.resources.some(({ collection }) => collection === 'users') };

/** Returns the properties of the function with this name in a template. */
export function functionOf(from: Template, name: string): any {
  const found = properties(from, 'AWS::Lambda::Function').find(([, { FunctionName }]) =>
    FunctionName.endsWith(`-${name}`),
  );
  return found?.[1];
}
