import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { addStacks, newApp } from '../lib/app';
import { type Config, parseConfig } from '../lib/config';
import { Packages } from '../lib/packages';
import { type FunctionSpec, SERVICE } from '../lib/service';
import { allRows, type Row, rowOf } from '../lib/stages';

const OWN = {
  issuer: 'https://issuer.example.com/',
  audience: ['watershed'],
  signingKeysSecret: 'arn:aws:secretsmanager:eu-central-1:111122223333:secret:watershed/signing-keys-AbCdEf',
};

const packages = Packages.placeholders();

/** A configuration that is complete, with what a test wants to be different. */
export function config(different: object = {}): Config {
  return parseConfig({ ...OWN, ...different }, 'the configuration of a test');
}

/** The templates of these rows, when they come from another one if any. */
export function synthesise(rows: Row[], settings: Config = config(), from?: Row): Map<string, Template> {
  const app = newApp(mkdtempSync(join(tmpdir(), 'watershed-templates-')));
  const stacks = addStacks(app, settings, rows, packages, from);
  app.synth();
  return new Map(rows.map((row, place) => [row.stage, Template.fromStack(stacks[place]!)]));
}

/** A row with what a test wants to be different. */
export function template(stage: string, different: object = {}): Template {
  return synthesise([rowOf(stage)], config(different)).get(stage)!;
}

export const ROWS = allRows();
let all: Map<string, Template> | undefined;

/** A row as `prod` has it. */
export function of(stage: string): Template {
  all ??= synthesise(ROWS);
  return all.get(stage)!;
}

/** The properties of the resources of a type, by logical id. */
export function properties(from: Template, type: string): [id: string, properties: any][] {
  return Object.entries(from.findResources(type)).map(([id, resource]) => [id, resource.Properties]);
}

/** The function of this name, as the service describes it. */
export function specOf(name: string): FunctionSpec {
  return SERVICE.functions.find((spec) => spec.name === name)!;
}

/** For tests that name functions and routes of users: the sample may be gone. */
export const WITH_USERS = { skip: !SERVICE.resources.some(({ collection }) => collection === 'users') };

/** The function of this name, as it is deployed at a stage. */
export function functionOf(from: Template, name: string): any {
  const found = properties(from, 'AWS::Lambda::Function').find(([, { FunctionName }]) =>
    FunctionName.endsWith(`-${name}`),
  );
  return found?.[1];
}
